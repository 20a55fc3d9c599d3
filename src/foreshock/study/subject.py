"""What every experiment works on: a model with its texts read once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int

from foreshock.activations import PassageMeans
from foreshock.emotions import in_cluster_order
from foreshock.errors import TextError
from foreshock.model import LanguageModel
from foreshock.texts import Passage
from foreshock.vectors import EmotionVectors, Recipe
from foreshock.vectors.estimation import is_crossed, neutral_basis, numbered

MOST_PARTS = 8
"""Parts that passages without crossed topics are dealt into for cross-validation."""


@dataclass
class Subject:
    """A model under study. Passages and their means go row by row."""

    model: LanguageModel
    passages: Sequence[Passage]
    """The passages that are fitted, `split: fit`."""
    means: PassageMeans
    test_passages: Sequence[Passage]
    """Passages on topics that never take part in fitting; may be empty."""
    test_means: PassageMeans | None
    neutral: PassageMeans | None
    recipe: Recipe
    seed: int
    vectors: EmotionVectors | None = None
    """Set once the reading layer is chosen."""

    @cached_property
    def emotions(self) -> list[str]:
        """The emotions studied, in cluster order."""
        return in_cluster_order({p.emotion for p in self.passages})

    @cached_property
    def emotion(self) -> Int[np.ndarray, " passage"]:
        """Number of each passage's emotion in `emotions`."""
        return numbered([p.emotion for p in self.passages], self.emotions)[0]

    @cached_property
    def topic(self) -> Int[np.ndarray, " passage"]:
        """Number of each passage's topic in `topics`."""
        return self._topics[0]

    @property
    def topics(self) -> list[str]:
        """The topics of the fitted passages, or the parts they were dealt into."""
        return self._topics[1]

    @cached_property
    def _topics(self) -> tuple[Int[np.ndarray, " passage"], list[str]]:
        """Topics where every emotion has every topic; else each emotion's passages dealt into equal parts."""
        topic, names = numbered([p.topic for p in self.passages])
        if is_crossed(self.emotion, topic, len(self.emotions)):
            return topic, names
        fewest = int(np.bincount(self.emotion).min())
        if fewest < 2:
            short = self.emotions[int(np.bincount(self.emotion).argmin())]
            raise TextError(
                f"{short!r} has {fewest} passage; every emotion needs two or more to be tested on the other."
            )
        parts = min(fewest, MOST_PARTS)
        dealt = np.empty(len(self.passages), np.int64)
        for emotion in range(len(self.emotions)):
            rows = np.flatnonzero(self.emotion == emotion)
            dealt[rows] = np.arange(len(rows)) % parts
        return dealt, [f"part {part + 1}" for part in range(parts)]

    def basis(self, layer: int, share: float | None = None) -> Float[np.ndarray, "component hidden"]:
        """Neutral components at a layer, up to `share` of their variance (the recipe's by default)."""
        if self.neutral is None:
            return np.zeros((0, self.model.hidden), np.float32)
        return neutral_basis(self.neutral.at(layer), self.recipe.denoise if share is None else share)

    @property
    def fitted(self) -> EmotionVectors:
        """The vectors; an experiment that needs them runs after they are fitted."""
        assert self.vectors is not None
        return self.vectors
