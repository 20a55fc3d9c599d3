"""Held-out readings: vectors fitted on some topics, read on the others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.stats import rankdata

from foreshock.model import EMBEDDING
from foreshock.study.subject import Subject
from foreshock.vectors import Recipe
from foreshock.vectors.estimation import estimate, unit

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


def split_topics(subject: Subject, random: np.random.Generator) -> Bool[np.ndarray, " passage"]:
    """The passages of a random half of the topics."""
    topics = random.permutation(len(subject.topics))
    return np.isin(subject.topic, topics[: len(topics) // 2])


def fitted_on(
    subject: Subject, layer: int, rows: Bool[np.ndarray, " passage"], emotion: Int[np.ndarray, " passage"] | None = None
) -> Float[np.ndarray, "emotion hidden"]:
    """Unit directions at a layer from some of the passages, with other labels than the true ones if given."""
    labels = subject.emotion if emotion is None else emotion
    residuals, count = subject.means.at(layer)[rows], len(subject.emotions)
    fitted = estimate(residuals, labels[rows], subject.topic[rows], count, subject.recipe, subject.basis(layer))
    return unit(fitted.directions)


def folds(topic: Int[np.ndarray, " passage"]) -> list[Bool[np.ndarray, " passage"]]:
    """The passages of one topic after another."""
    return [topic == t for t in np.unique(topic)]


def skill(scores: Scores, emotion: Int[np.ndarray, " passage"]) -> Skill:
    """Top-1, mean rank and AUROC of readings against the true emotions."""
    rank = ranks(scores, emotion)
    return Skill(float((rank == 1).mean()), float(rank.mean()), auroc(scores, emotion))


def ranks(scores: Scores, emotion: Int[np.ndarray, " passage"]) -> Float[np.ndarray, " passage"]:
    """Place of each passage's own emotion among all that are read, 1 the best; ties count half, so that constant
    readings score chance."""
    own = scores[np.arange(len(scores)), emotion][:, None]
    return np.asarray(1 + (scores > own).sum(1) + ((scores == own).sum(1) - 1) / 2)


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


@dataclass(frozen=True, slots=True)
class Choice:
    """The reading layer and how it was chosen."""

    layer: int
    skills: dict[int, Skill]
    """Skill at every layer, by leave-one-topic-out."""
    nested: Scores
    """Each topic read at the layer that was best on the other topics, so that choosing flatters no figure."""


def best_layer(subject: Subject) -> Choice:
    """Choose the reading layer by leave-one-topic-out AUROC among the studied layers."""
    layers = [layer for layer in subject.layers if layer != EMBEDDING]
    scores = {layer: held_out(subject, layer) for layer in layers}
    skills = {layer: skill(scores[layer], subject.emotion) for layer in layers}
    chosen = max(layers, key=lambda layer: float(np.nanmean(skills[layer].auroc)))
    nested = np.empty_like(scores[chosen])
    for test in folds(subject.topic):
        rest = ~test
        pick = max(layers, key=lambda layer: mean_auroc(scores[layer][rest], subject.emotion[rest]))
        nested[test] = scores[pick][test]
    return Choice(chosen, skills, nested)
