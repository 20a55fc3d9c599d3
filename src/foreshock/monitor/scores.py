"""Scores: one number a token, from the readings of one or several emotions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float
from sklearn.linear_model import LogisticRegressionCV
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from foreshock.emotions import lookup
from foreshock.errors import CalibrationError, UnknownEmotion

FOLDS = 5
"""Folds of the cross-validation that chooses how strongly a learned score is regularised."""


@dataclass(frozen=True)
class Score:
    """(Σ weight · reading − mean) / spread.

    Raises:
        UnknownEmotion: a word is not in the catalogue.
        CalibrationError: no weight differs from 0, or a number is not finite.
    """

    weights: Mapping[str, float]
    """Emotion → weight, e.g. `{"desperate": 1, "calm": -1}`."""
    mean: float = 0.0
    spread: float = 1.0
    """Of the sum over tokens of benign conversations; `calibrate` measures both."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "weights", {lookup(word).word: float(w) for word, w in self.weights.items()})
        if not all(map(math.isfinite, (*self.weights.values(), self.mean, self.spread))) or self.spread <= 0:
            raise CalibrationError("A score's weights, mean and spread are finite numbers, and its spread is above 0.")
        if not any(self.weights.values()):
            raise CalibrationError("A score weighs no emotion; name at least one, e.g. {'desperate': 1}.")

    def of(self, values: Float[np.ndarray, "token emotion"], emotions: Sequence[str]) -> Float[np.ndarray, " token"]:
        """The score of each token. Raises `UnknownEmotion` where an emotion was not read."""
        return (np.asarray(values, np.float64) @ self.row(emotions) - self.mean) / self.spread

    def row(self, emotions: Sequence[str]) -> Float[np.ndarray, " emotion"]:
        """The weight of each emotion that was read. Raises `UnknownEmotion` where one with a weight was not."""
        if missing := set(self.weights) - set(emotions):
            raise UnknownEmotion(f"The readings have no {sorted(missing)[0]!r}; they have: {', '.join(emotions)}.")
        return np.array([self.weights.get(word, 0.0) for word in emotions])

    def standardised(self, sums: Float[np.ndarray, " token"]) -> Score:
        """The same score with the mean and the spread that its weighted sums have over benign tokens."""
        if len(sums) < 2 or not np.ptp(sums):
            raise CalibrationError(
                "The benign conversations have too few counted tokens to standardise a score; give more or longer ones."
            )
        return replace(self, mean=float(np.mean(sums)), spread=float(np.std(sums)))


def learned(
    readings: Float[np.ndarray, "turn emotion"],
    misaligned: Bool[np.ndarray, " turn"],
    scenarios: Sequence[str],
    emotions: Sequence[str],
    seed: int = 0,
) -> Score:
    """A score whose weights tell misaligned turns from honest ones: logistic regression on mean readings of turns.

    How strongly it is regularised (ridge) is chosen by cross-validation that keeps each scenario in one fold, since
    turns of one scenario are alike in much beside their conduct. The intercept goes: a threshold is calibrated anyhow.
    The conversations learnt from must not be calibrated on.

    Raises:
        CalibrationError: a fold would lack one kind of turn: there are too few scenarios.
    """
    labels, groups = np.asarray(misaligned, bool), np.asarray(scenarios)
    scenarios_of = [len(set(groups[labels == kind])) for kind in (False, True)]
    if min(scenarios_of) < FOLDS:
        raise CalibrationError(
            f"Honest turns come from {scenarios_of[0]} scenarios and misaligned ones from {scenarios_of[1]}; "
            f"a learned score needs at least {FOLDS} of each."
        )
    scaler = StandardScaler()
    folds = list(StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed).split(readings, labels, groups))
    model = LogisticRegressionCV(
        Cs=10, cv=folds, l1_ratios=(0.0,), scoring="neg_log_loss", use_legacy_attributes=False, max_iter=1000
    )
    make_pipeline(scaler, model).fit(readings, labels)
    weights = model.coef_[0] / scaler.scale_
    return Score(dict(zip(emotions, weights.tolist(), strict=True)))
