"""What could warn: scores of a message as far as it has gone, learned from other scenarios or not learned at all."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from jaxtyping import Float
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegressionCV
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from foreshock.model.sentence_embedder import embed_sentences
from foreshock.monitor.rules import Detector, Extreme, Level
from foreshock.monitor.scores import FOLDS, learned
from foreshock.study.measures.warning.talks import Talk

WINDOW = 16
"""Tokens that a running score of readings is averaged over."""
STEP, SEEN = 8, 32
"""A warner that reads text looks every `STEP` tokens at the newest `SEEN`: at more than a running score of readings."""
Stream = tuple[Float[np.ndarray, " look"], list[int]]
"""Scores along a message, and how many of its tokens had come at each."""


class Warner(Protocol):
    """Learns from messages, then scores others."""

    detector: Detector
    """Makes running statistics of a stream."""

    def fit(self, talks: Sequence[Talk]) -> None:
        """Learn to tell misaligned messages from the others."""

    def score(self, talk: Talk) -> float:
        """Of a message as a whole; the larger the more alarming."""

    def stream(self, talk: Talk) -> Stream:
        """Scores along the message; none of them depends on what comes later."""


@dataclass
class Projection:
    """Residuals along one direction; nothing is learned."""

    weight: Float[np.ndarray, " hidden"]
    detector: Detector = field(default_factory=lambda: Level(WINDOW))

    def fit(self, talks: Sequence[Talk]) -> None:
        """See `Warner`."""

    def score(self, talk: Talk) -> float:
        """See `Warner`."""
        return float(_mean(talk) @ self.weight)

    def stream(self, talk: Talk) -> Stream:
        """See `Warner`."""
        return talk.residuals.astype(np.float32) @ self.weight, _every(talk)


class Learned(Projection):
    """Mean residuals along several directions, weighed by ridge logistic regression.

    Args:
        words: names of the emotions whose directions they are: the score is then the monitor's own. Without, it is the
            same regression (`ridge`).
    """

    def __init__(self, directions: Float[np.ndarray, "direction hidden"], words: Sequence[str] = ()) -> None:
        super().__init__(np.zeros(directions.shape[1]))
        self.directions, self.words = directions, words

    def fit(self, talks: Sequence[Talk]) -> None:
        """See `Warner`."""
        features = np.stack([_mean(talk) for talk in talks]) @ self.directions.T
        if not self.words:
            scaler = StandardScaler().fit(features)
            weights = ridge(scaler.transform(features), talks).coef_[0] / scaler.scale_
        else:
            # The penalties tried reach so far down that some do not converge; they are not the ones chosen.
            with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):
                score = learned(features, _labels(talks), [talk.scenario for talk in talks], self.words)
            weights = np.array([score.weights[word] for word in self.words])
        self.weight = weights @ self.directions


@dataclass
class Surprise:
    """How unlikely, or how likely, the model finds the words; which of the two warns is learned."""

    sign: float = 1.0
    detector: Detector = field(default_factory=lambda: Level(WINDOW))

    def fit(self, talks: Sequence[Talk]) -> None:
        """See `Warner`."""
        told = roc_auc_score(_labels(talks), [talk.losses.mean() for talk in talks])
        self.sign = 1.0 if told >= 0.5 else -1.0

    def score(self, talk: Talk) -> float:
        """See `Warner`."""
        return self.sign * float(talk.losses.mean())

    def stream(self, talk: Talk) -> Stream:
        """See `Warner`."""
        return self.sign * talk.losses, _every(talk)


@dataclass
class Text:
    """Features of the words so far, weighed by ridge logistic regression."""

    features: Callable[[Sequence[str]], Any] | None = None
    """None: TF-IDF, fitted to what is learned from."""
    detector: Detector = field(default_factory=Extreme)

    def fit(self, talks: Sequence[Talk]) -> None:
        """See `Warner`."""
        texts = [talk.words() for talk in talks]
        self.of = self.features or make_pipeline(TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2))).fit(texts).transform  # fmt: skip
        self.model = ridge(self.of(texts), talks)

    def score(self, talk: Talk) -> float:
        """See `Warner`."""
        return float(self.model.decision_function(self.of([talk.words()]))[0])

    def stream(self, talk: Talk) -> Stream:
        """See `Warner`."""
        looks = _looks(talk)
        return np.asarray(self.model.decision_function(self.of(_windows(talk)))), looks


def ridge(features: Any, talks: Sequence[Talk]) -> LogisticRegressionCV:
    """The regression of `monitor.scores.learned`, on features of any kind and with a scorer that costs less."""
    labels, groups = _labels(talks), [talk.scenario for talk in talks]
    folds = list(StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0).split(np.zeros(len(talks)), labels, groups))
    model = LogisticRegressionCV(
        Cs=10, cv=folds, l1_ratios=(0.0,), scoring=_likelihood, use_legacy_attributes=False, max_iter=1000
    )
    with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):
        return model.fit(features, labels)


def _likelihood(model: LogisticRegressionCV, features: Any, labels: np.ndarray) -> float:
    """Mean log-likelihood; scikit-learn's own `neg_log_loss` takes ten times as long as the fit itself."""
    margin = model.decision_function(features) * np.where(labels == model.classes_[1], 1, -1)
    return -float(np.logaddexp(0, -margin).mean())


def embedder(folder: Path, talks: Sequence[Talk]) -> Callable[[Sequence[str]], Float[np.ndarray, "text feature"]]:
    """The sentence embedder as features; all that will be asked about `talks` is embedded here and once."""
    asked = [text for talk in talks for text in (talk.words(), talk.words(0, talk.onset), *_windows(talk))]
    texts = sorted(set(asked), key=len)  # texts of one length need no padding
    known = dict(zip(texts, embed_sentences(texts, folder), strict=True))
    return lambda wanted: np.stack([known[text] for text in wanted])


def _windows(talk: Talk) -> list[str]:
    return [talk.words(max(0, end - SEEN), end) for end in _looks(talk)]


def _looks(talk: Talk) -> list[int]:
    return list(range(min(WINDOW, len(talk)), len(talk) + 1, STEP))


def _every(talk: Talk) -> list[int]:
    return list(range(1, len(talk) + 1))


def _mean(talk: Talk) -> Float[np.ndarray, " hidden"]:
    return np.asarray(talk.residuals.astype(np.float32).mean(0))


def _labels(talks: Sequence[Talk]) -> np.ndarray:
    return np.array([talk.misaligned for talk in talks])
