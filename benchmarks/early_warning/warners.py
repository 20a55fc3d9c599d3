"""What could warn: scores of a message as far as it has gone, learned from other scenarios or not learned at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from jaxtyping import Bool, Float
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegressionCV
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.early_warning.talks import Talk
from foreshock.model.sentence_embedder import embed_sentences

WINDOW = 16
"""Tokens that a running score is averaged over."""
STEP = 8
"""Tokens between two looks of a warner that reads text."""
INNER = 5
"""Folds that choose the regularisation."""
SKIP = 4
"""First tokens of a message that no running score is taken on."""
Labels = Bool[np.ndarray, " talk"]


class Warner(Protocol):
    """Learns from whole or partial messages, then scores messages as far as they have gone."""

    def fit(self, talks: Sequence[Talk], ends: Sequence[int | None]) -> None:
        """Learn to tell misaligned from honest messages, each read up to a token (None: to its end)."""

    def score(self, talk: Talk, end: int | None) -> float:
        """Of the message up to a token, as a whole; the larger the more alarming."""

    def path(self, talk: Talk) -> Float[np.ndarray, " look"]:
        """Running scores along the message."""

    def places(self, talk: Talk) -> list[int]:
        """How many tokens had been seen at each look."""


def _labels(talks: Sequence[Talk]) -> Labels:
    return np.array([talk.ending == "misaligned" for talk in talks])


def _logistic(features: np.ndarray, talks: Sequence[Talk]) -> LogisticRegressionCV:
    """Ridge logistic regression; scenarios stay whole in the folds that choose the penalty."""
    groups, labels = [talk.scenario for talk in talks], _labels(talks)
    folds = list(StratifiedGroupKFold(INNER, shuffle=True, random_state=0).split(features, labels, groups))
    return LogisticRegressionCV(
        Cs=np.logspace(-4, 1, 6), cv=folds, l1_ratios=(0.0,), scoring="neg_log_loss", max_iter=2000, use_legacy_attributes=False
    ).fit(features, labels)  # fmt: skip


@dataclass
class Linear:
    """A projection of residuals on some directions, weighed by logistic regression, or by 1 where there is only one."""

    directions: Float[np.ndarray, "direction hidden"]
    learned: bool = True

    def __post_init__(self) -> None:
        self.weight = self.directions[0] if not self.learned else np.zeros(self.directions.shape[1])

    def fit(self, talks: Sequence[Talk], ends: Sequence[int | None]) -> None:
        """See `Warner`."""
        if not self.learned:
            return
        means = np.stack([self._mean(talk, end) for talk, end in zip(talks, ends, strict=True)])
        scaler = StandardScaler().fit(means @ self.directions.T)
        model = _logistic(scaler.transform(means @ self.directions.T), talks)
        self.weight = (model.coef_[0] / scaler.scale_) @ self.directions

    @staticmethod
    def _mean(talk: Talk, end: int | None) -> Float[np.ndarray, " hidden"]:
        return talk.residuals[:end].astype(np.float32).mean(0)

    def score(self, talk: Talk, end: int | None) -> float:
        """See `Warner`."""
        return float(self._mean(talk, end) @ self.weight)

    def path(self, talk: Talk) -> Float[np.ndarray, " look"]:
        """See `Warner`."""
        return _smooth(talk.residuals.astype(np.float32) @ self.weight)

    def places(self, talk: Talk) -> list[int]:
        """See `Warner`."""
        return _every_token(talk)


@dataclass
class Surprise:
    """How unlikely the model finds the words; nothing is learned."""

    sign: float = 1.0

    def fit(self, talks: Sequence[Talk], ends: Sequence[int | None]) -> None:
        """See `Warner`."""

    def score(self, talk: Talk, end: int | None) -> float:
        """See `Warner`."""
        return self.sign * float(talk.losses[:end].mean())

    def path(self, talk: Talk) -> Float[np.ndarray, " look"]:
        """See `Warner`."""
        return _smooth(self.sign * talk.losses)

    def places(self, talk: Talk) -> list[int]:
        """See `Warner`."""
        return _every_token(talk)


@dataclass
class Text:
    """Features of the words so far, weighed by logistic regression."""

    features: Callable[[Sequence[str]], np.ndarray] | None
    """None: TF-IDF, fitted to what is learned from."""

    def fit(self, talks: Sequence[Talk], ends: Sequence[int | None]) -> None:
        """See `Warner`."""
        texts = [talk.until(end) for talk, end in zip(talks, ends, strict=True)]
        if self.features is None:
            self.of = (
                make_pipeline(TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), min_df=2)).fit(texts).transform
            )
        else:
            self.of = self.features
        self.model = _logistic(self.of(texts), talks)

    def score(self, talk: Talk, end: int | None) -> float:
        """See `Warner`."""
        return float(self.model.decision_function(self.of([talk.until(end)]))[0])

    def path(self, talk: Talk) -> Float[np.ndarray, " look"]:
        """See `Warner`: the words of the newest tokens, as many as a running score of readings looks at, and more."""
        texts = [talk.text[talk.own[max(0, k - 2 * WINDOW)][0] : talk.own[k - 1][1]] for k in self.places(talk)]
        return np.asarray(self.model.decision_function(self.of(texts)))

    def places(self, talk: Talk) -> list[int]:
        """See `Warner`."""
        return list(range(min(WINDOW, len(talk)), len(talk) + 1, STEP))


@dataclass
class Lexicon:
    """Unpleasantness of the words by a list of rated words (VADER); nothing is learned."""

    rate: Callable[[str], float]

    def fit(self, talks: Sequence[Talk], ends: Sequence[int | None]) -> None:
        """See `Warner`."""

    def score(self, talk: Talk, end: int | None) -> float:
        """See `Warner`."""
        return -self.rate(talk.until(end))

    def path(self, talk: Talk) -> Float[np.ndarray, " look"]:
        """See `Warner`."""
        return np.array([-self.rate(talk.text[talk.own[max(0, k - 2 * WINDOW)][0] : talk.own[k - 1][1]]) for k in self.places(talk)])  # fmt: skip

    def places(self, talk: Talk) -> list[int]:
        """See `Warner`."""
        return list(range(min(WINDOW, len(talk)), len(talk) + 1, STEP))


def embedder(folder: Path) -> Callable[[Sequence[str]], np.ndarray]:
    """The sentence embedder as features; a text is embedded once."""
    known: dict[str, np.ndarray] = {}

    def features(texts: Sequence[str]) -> np.ndarray:
        if new := [text for text in dict.fromkeys(texts) if text not in known]:
            known.update(zip(new, embed_sentences(new, folder), strict=True))
        return np.stack([known[text] for text in texts])

    return features


def _every_token(talk: Talk) -> list[int]:
    return list(range(min(SKIP, len(talk) - 1) + 1, len(talk) + 1))


def _smooth(values: Float[np.ndarray, " token"]) -> Float[np.ndarray, " look"]:
    """Mean of the newest tokens, from the SKIP-th on."""
    own = values[min(SKIP, len(values) - 1) :]
    sums = np.cumsum(np.concatenate([[0.0], own]))
    ends = np.arange(1, len(own) + 1)
    starts = np.maximum(0, ends - WINDOW)
    return (sums[ends] - sums[starts]) / (ends - starts)
