"""Held-out readings: vectors fitted on some topics, read on the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.stats import rankdata

from foreshock.study.subject import Subject
from foreshock.vectors import Recipe
from foreshock.vectors.estimation import estimate

Scores = Float[np.ndarray, "passage emotion"]


@dataclass(frozen=True, slots=True)
class Skill:
    """How well readings tell emotions apart. Chance: top-1 1/n, rank (n + 1)/2, AUROC 0.5."""

    top1: float
    rank: float
    """Mean rank of the true emotion among all, 1 is best."""
    auroc: Float[np.ndarray, " emotion"]
    """One emotion against all others, over passages."""


def held_out(
    subject: Subject,
    layer: int,
    recipe: Recipe | None = None,
    emotion: Int[np.ndarray, " passage"] | None = None,
) -> Scores:
    """Readings of each fitted passage by vectors that never saw its topic (leave one topic out).

    Args:
        emotion: other labels than the true ones, for a null.
    """
    recipe = recipe or subject.recipe
    emotion = subject.emotion if emotion is None else emotion
    residuals = subject.means.at(layer)
    basis = subject.basis(layer, recipe.denoise)
    scores = np.empty((len(residuals), len(subject.emotions)), np.float32)
    for test in folds(subject.topic):
        train = ~test
        fitted = estimate(residuals[train], emotion[train], subject.topic[train], len(subject.emotions), recipe, basis)
        scores[test] = fitted.read(residuals[test])
    return scores


def folds(topic: Int[np.ndarray, " passage"]) -> list[Bool[np.ndarray, " passage"]]:
    """The passages of one topic after another."""
    return [topic == t for t in np.unique(topic)]


def skill(scores: Scores, emotion: Int[np.ndarray, " passage"]) -> Skill:
    """Top-1, mean rank and AUROC of readings against the true emotions."""
    own = scores[np.arange(len(scores)), emotion][:, None]
    # Ties count half, so that constant readings score chance.
    rank = 1 + (scores > own).sum(1) + ((scores == own).sum(1) - 1) / 2
    return Skill(float((rank == 1).mean()), float(rank.mean()), auroc(scores, emotion))


def auroc(scores: Scores, emotion: Int[np.ndarray, " passage"]) -> Float[np.ndarray, " emotion"]:
    """One-versus-rest AUROC of each column; NaN for an emotion with no passage."""
    ranks = rankdata(scores, axis=0)
    positive = emotion[:, None] == np.arange(scores.shape[1])
    hits = positive.sum(0)
    with np.errstate(invalid="ignore"):
        return np.asarray(((ranks * positive).sum(0) - hits * (hits + 1) / 2) / (hits * (len(scores) - hits)))


def mean_auroc(scores: Scores, emotion: Int[np.ndarray, " passage"]) -> float:
    """Mean over the emotions that have passages."""
    return float(np.nanmean(auroc(scores, emotion)))


def best_layer(subject: Subject, layers: Sequence[int]) -> tuple[int, dict[int, Skill], Scores]:
    """Choose the reading layer by leave-one-topic-out AUROC.

    Returns:
        the layer, the skill at every layer, and *nested* readings: each topic is read at the layer that
        was best on the other topics, so that the choice does not flatter the figure.
    """
    scores = {layer: held_out(subject, layer) for layer in layers}
    skills = {layer: skill(scores[layer], subject.emotion) for layer in layers}
    chosen = max(layers, key=lambda layer: float(np.nanmean(skills[layer].auroc)))
    nested = np.empty_like(scores[chosen])
    for test in folds(subject.topic):
        rest = ~test
        pick = max(layers, key=lambda layer: mean_auroc(scores[layer][rest], subject.emotion[rest]))
        nested[test] = scores[pick][test]
    return chosen, skills, nested
