"""Do the main axes of the vectors go with valence and arousal? (paper, "Geometry")"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from foreshock.emotions import lookup
from foreshock.model import EMBEDDING
from foreshock.study import charts
from foreshock.study.finding import Chart, Finding
from foreshock.study.nulls import against, bootstrap, correlation, generator
from foreshock.study.subject import Subject
from foreshock.vectors.estimation import unit

DRAWS = 2000
SHOWN_AXES = 4
Ratings = Mapping[str, float | None]
SOURCE = {
    "valence": "human ratings (VADER's lexicon, Hutto & Gilbert 2014)",
    "arousal": "one judge, a language model, 1-7 (as the study used a judge; not human data)",
}
PUBLISHED = {"valence": "r = 0.81 (PC1 26 % of variance)", "arousal": "r = 0.66 (PC2 15 % of variance)"}


@dataclass(frozen=True, slots=True)
class Axes:
    """Principal axes of the unit vectors at one layer."""

    places: Float[np.ndarray, "emotion axis"]
    share: Float[np.ndarray, " axis"]
    """Share of variance."""


def principal_axes(subject: Subject, layer: int) -> Axes:
    """PCA of the unit vectors after `layer`."""
    directions = unit(subject.fitted.at(layer))
    left, sizes, _ = np.linalg.svd(directions - directions.mean(0), full_matrices=False)
    return Axes(left * sizes, sizes**2 / (sizes**2).sum())


def run(subject: Subject) -> list[Finding]:
    """PC1 with valence and PC2 with arousal, each with the other axes beside it."""
    return [_axis(subject, 0, "valence", 0.5), _axis(subject, 1, "arousal", 0.4)]


def ratings(subject: Subject, what: str) -> Ratings:
    """Ratings of the studied emotions: the user's own where given, else the catalogue's."""
    return subject.norms.get(what) or {word: getattr(lookup(word), what) for word in subject.emotions}


def _axis(subject: Subject, axis: int, what: str, worthwhile: float) -> Finding:
    given = ratings(subject, what)
    known = [n for n, word in enumerate(subject.emotions) if given.get(word) is not None]
    rated = np.array([given[subject.emotions[n]] for n in known], float)

    def fit(layer: int, k: int) -> float:
        """|r| of axis k: an axis has no sign of its own."""
        return abs(correlation(principal_axes(subject, layer).places[known, k], rated))

    here = principal_axes(subject, subject.reading_layer)
    coordinate = here.places[known, axis]
    turn = -1.0 if correlation(coordinate, rated) < 0 else 1.0
    value = fit(subject.reading_layer, axis)
    random = generator(subject.seed, what)
    draws = [abs(correlation(coordinate, random.permutation(rated))) for _ in range(DRAWS)]
    words_alone = fit(EMBEDDING, axis)
    shown = range(min(SHOWN_AXES, here.places.shape[1]))
    others = {f"{what} with PC{k + 1}": fit(subject.reading_layer, k) for k in shown if k != axis}
    source = "the user's file" if what in subject.norms else SOURCE[what]
    return Finding(
        id=f"pc{axis + 1}-{what}",
        claim=f"Principal axis {axis + 1} of the vectors goes with {what}",
        statistic=f"|Pearson r| of PC{axis + 1} with {what} over {len(known)} words",
        estimate=value,
        interval=bootstrap(len(known), lambda rows: correlation(turn * coordinate[rows], rated[rows]), random),
        null=against(f"{what} shuffled over words, sign free", value, draws),
        published=PUBLISHED[what],
        worthwhile=worthwhile,
        how_to_read=(
            f"Each point is an emotion vector on the first two principal axes; colour is {what}, from {source}. "
            f"The claim holds when the colours run along axis {axis + 1} and shuffled ratings do not."
        ),
        baselines=others | {f"the model's embedding layer, PC{axis + 1}": words_alone},
        floor=words_alone,
        notes=(
            f"PC1 carries {here.share[0]:.0%} of the vectors' variance, PC2 {here.share[1]:.0%}.",
            f"Ratings: {source}.",
        ),
        charts=(_map(subject, here, turn, axis, given, what), _by_layer(subject, known, rated, axis, what)),
    )


def _map(subject: Subject, axes: Axes, turn: float, axis: int, given: Ratings, what: str) -> Chart:
    """The emotions on the plane of the first two axes, turned so that the axis in question grows with the rating."""
    places = axes.places.copy()
    places[:, axis] *= turn
    rows = [
        {"PC1": float(places[n, 0]), "PC2": float(places[n, 1]), "emotion": word, what: given.get(word), "cluster": lookup(word).cluster}
        for n, word in enumerate(subject.emotions)
    ]  # fmt: skip
    caption = f"Emotion vectors on their first two axes, coloured by {what}"
    return charts.scatter(f"axes-{what}", caption, rows, "PC1", "PC2", "emotion", what, "Q")


def _by_layer(subject: Subject, known: list[int], rated: np.ndarray, axis: int, what: str) -> Chart:
    rows = []
    for layer in subject.layers:
        axes = principal_axes(subject, layer)
        figures = {
            f"|r| of PC{axis + 1} with {what}": abs(correlation(axes.places[known, axis], rated)),
            f"share of variance on PC{axis + 1}": float(axes.share[axis]),
        }
        rows += [{"layer": layer, "value": figure, "series": name} for name, figure in figures.items()]
    caption = f"The same at every layer (-1: the embeddings): PC{axis + 1} and {what}"
    return charts.lines(f"axes-{what}-by-layer", caption, rows, "layer", "value", "series", subject.reading_layer)
