"""From passage means to emotion directions: the one seam where the choices of method are named.

Method: Sofroniew et al. 2026, "Extraction": an emotion's mean minus the mean over all emotions, with
the leading principal components of emotionally neutral dialogues projected out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int

from foreshock.errors import TextError

Matrix = Float[np.ndarray, "passage hidden"]


@dataclass(frozen=True, slots=True)
class Recipe:
    """How directions are estimated. The defaults are the paper's; the study compares the others."""

    centre: Literal["topic", "grand"] = "topic"
    """`topic`: each topic's mean is taken off first, so that what a story is about cancels; falls back to
    `grand` where the corpus is not crossed (an emotion lacks a topic)."""
    denoise: float = 0.5
    """Share of the neutral dialogues' variance whose principal components are projected out; 0: none."""
    whiten: float | None = None
    """None: plain difference of means. Else that difference in the metric of the scatter within emotions
    (linear discriminant), shrunk by this much (0 … 1) towards the identity."""

    def describe(self) -> str:
        """One phrase for tables and provenance."""
        parts = [f"{self.centre}-centred", f"denoised {self.denoise:.0%}" if self.denoise else "not denoised"]
        return ", ".join(parts + ([f"whitened (shrinkage {self.whiten})"] if self.whiten is not None else []))

    def to_json(self) -> dict[str, Any]:
        """For a file's manifest."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Estimate:
    """Directions at one layer and what is needed to read along them."""

    directions: Float[np.ndarray, "emotion hidden"]
    mean: Float[np.ndarray, " hidden"]
    """Grand mean of the fitted passages: a reading of 0."""
    spread: Float[np.ndarray, " emotion"]
    """Standard deviation of the fitted passages' projections on the unit directions: a reading of 1."""

    def read(self, residuals: Float[np.ndarray, "*any hidden"]) -> Float[np.ndarray, "*any emotion"]:
        """Standardised projections of residuals on the unit directions."""
        return (residuals - self.mean) @ unit(self.directions).T / self.spread


def unit(directions: Float[np.ndarray, "*any hidden"]) -> Float[np.ndarray, "*any hidden"]:
    """Directions at length 1; a direction of length 0 stays 0."""
    norms = np.linalg.norm(directions, axis=-1, keepdims=True)
    return np.divide(directions, norms, out=np.zeros_like(directions), where=norms > 1e-12)


def estimate(
    residuals: Matrix,
    emotion: Int[np.ndarray, " passage"],
    topic: Int[np.ndarray, " passage"],
    count: int,
    recipe: Recipe,
    neutral: Float[np.ndarray, "component hidden"] | None = None,
) -> Estimate:
    """Directions of emotions 0 … count - 1 from passage means at one layer.

    Args:
        residuals: passage means.
        emotion, topic: number of each passage's emotion and topic.
        neutral: orthonormal rows from `neutral_basis`, projected out.

    Raises:
        TextError: an emotion has no passage, or there are fewer than two emotions.
    """
    per_emotion = np.bincount(emotion, minlength=count)
    if count < 2 or (per_emotion == 0).any():
        raise TextError(
            "Vectors are differences between emotions: give at least two emotions, each with at least one passage."
        )
    mean = residuals.mean(0, dtype=np.float64).astype(residuals.dtype)
    centred = residuals - mean
    if recipe.centre == "topic" and is_crossed(emotion, topic, count):
        centred = centred - group_means(centred, topic, int(topic.max()) + 1)[topic]
    directions = group_means(centred, emotion, count)
    directions -= directions.mean(0)
    if recipe.whiten is not None:
        directions = _whitened(centred - directions[emotion], directions, recipe.whiten)
    if neutral is not None and len(neutral):
        directions = directions - (directions @ neutral.T) @ neutral
    spread = ((residuals - mean) @ unit(directions).T).std(0)
    return Estimate(directions, mean, np.maximum(spread, 1e-12))


def is_crossed(emotion: Int[np.ndarray, " passage"], topic: Int[np.ndarray, " passage"], count: int) -> bool:
    """Whether every emotion has every topic that occurs, equally often."""
    topics = np.unique(topic)
    table = np.zeros((count, int(topic.max()) + 1), int)
    np.add.at(table, (emotion, topic), 1)
    table = table[:, topics]
    return bool(len(topics) > 1 and (table > 0).all() and (table == table[0]).all())


def group_means(rows: Matrix, group: Int[np.ndarray, " passage"], count: int) -> Float[np.ndarray, "group hidden"]:
    """Mean of the rows of each group; 0 for an empty one."""
    member = (group == np.arange(count)[:, None]).astype(rows.dtype)
    return np.asarray(member @ rows / np.maximum(member.sum(1), 1)[:, None])


def neutral_basis(neutral: Matrix, share: float) -> Float[np.ndarray, "component hidden"]:
    """Leading principal components of neutral texts that together explain at least `share` of their variance."""
    if share <= 0 or len(neutral) < 2:
        return np.zeros((0, neutral.shape[1]), np.float32)
    _, sizes, components = np.linalg.svd(neutral - neutral.mean(0), full_matrices=False)
    explained = np.cumsum(sizes**2) / np.sum(sizes**2)
    return np.asarray(components[: int(np.searchsorted(explained, share)) + 1])


def _whitened(
    within: Matrix, directions: Float[np.ndarray, "emotion hidden"], shrink: float
) -> Float[np.ndarray, "emotion hidden"]:
    scatter = within.T @ within / len(within)
    ridge = np.trace(scatter) / len(scatter) * np.eye(len(scatter))
    return np.asarray(np.linalg.solve((1 - shrink) * scatter + shrink * ridge, directions.T).T)


def numbered(
    labels: Sequence[str], names: Sequence[str] | None = None
) -> tuple[Int[np.ndarray, " passage"], list[str]]:
    """Labels as numbers into a list of names (sorted, unless given)."""
    names = sorted(set(labels)) if names is None else list(names)
    place = {name: number for number, name in enumerate(names)}
    return np.array([place[label] for label in labels], dtype=np.int64), names
