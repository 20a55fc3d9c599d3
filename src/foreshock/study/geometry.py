"""The shape of the emotion space: clusters in the cosine map, valence and arousal on its main axes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from foreshock.emotions import lookup
from foreshock.study import charts
from foreshock.study.finding import Chart, Finding
from foreshock.study.nulls import against, bootstrap, generator
from foreshock.study.subject import Subject
from foreshock.vectors.estimation import unit

DRAWS = 2000
Ratings = Mapping[str, float | None]


def clusters(subject: Subject) -> Finding:
    """Are vectors of one published cluster closer to each other than to the rest?"""
    words = subject.emotions
    cosines = subject.fitted.cosines()
    cluster = np.array([lookup(word).cluster for word in words])
    upper = np.triu_indices(len(words), 1)

    def contrast(labels: np.ndarray, rows: np.ndarray | None = None) -> float:
        """Mean cosine within clusters less the mean between; a word drawn twice is no pair with itself."""
        picked = np.arange(len(words)) if rows is None else rows
        i, j = picked[upper[0]], picked[upper[1]]
        same, other = labels[i] == labels[j], i != j
        if not (same & other).any() or not (~same & other).any():
            return np.nan
        return float(cosines[i, j][same & other].mean() - cosines[i, j][~same & other].mean())

    random = generator(subject.seed, "clusters")
    value = contrast(cluster)
    cells = [
        {"emotion": a, "with": b, "cosine": float(cosines[i, j])}
        for i, a in enumerate(words)
        for j, b in enumerate(words)
    ]
    return Finding(
        id="cosine-map",
        claim="Vectors of one published cluster of emotions are closer to each other than to the rest",
        statistic="mean cosine within clusters less mean cosine between them",
        estimate=value,
        interval=bootstrap(len(words), lambda rows: contrast(cluster, rows), random),
        null=against(
            "cluster names shuffled over emotions", value, [contrast(random.permutation(cluster)) for _ in range(DRAWS)]
        ),
        published="clear blocks (no figure given)",
        worthwhile=0.1,
        how_to_read=(
            "Both axes list the emotions cluster by cluster, from the pleasant clusters to the unpleasant. "
            "Blocks along the diagonal are clusters that the model keeps together; the large blocks are valence."
        ),
        notes=_odd_ones(words, cosines),
        charts=(
            charts.heatmap(
                "cosine-map",
                "Cosine of every pair of emotion vectors",
                cells,
                "emotion",
                "with",
                "cosine",
                words,
                limit=round(float(np.quantile(np.abs(cosines[upper]), 0.99)), 2),
            ),
        ),
    )


def axes(subject: Subject, norms: Mapping[str, Ratings] | None = None) -> list[Finding]:
    """Does the first principal axis go with valence and the second with arousal?

    Args:
        norms: a user's own ratings, `{"valence": {word: value}, "arousal": {…}}`, in place of the built-in ones.
    """
    directions = unit(subject.fitted.at(subject.fitted.reading_layer))
    centred = directions - directions.mean(0)
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    share = sizes**2 / (sizes**2).sum()
    places = left * sizes
    norms = norms or {}
    valence = norms.get("valence") or {word: lookup(word).valence for word in subject.emotions}
    arousal = norms.get("arousal") or {word: lookup(word).arousal for word in subject.emotions}
    return [
        _axis(
            subject, places, share, 0, "valence", valence, "r = 0.81 (PC1 26 % of variance)", 0.5, "valence" in norms
        ),
        _axis(
            subject, places, share, 1, "arousal", arousal, "r = 0.66 (PC2 15 % of variance)", 0.4, "arousal" in norms
        ),
    ]


def _axis(
    subject: Subject, places: np.ndarray, share: np.ndarray, axis: int, what: str, ratings: Ratings, published: str,
    worthwhile: float, own: bool,
) -> Finding:  # fmt: skip
    known = [(n, word) for n, word in enumerate(subject.emotions) if ratings.get(word) is not None]
    rated = np.array([ratings[word] for _, word in known], float)
    coordinate = places[[n for n, _ in known], axis]
    if len(known) > 2 and np.corrcoef(coordinate, rated)[0, 1] < 0:
        places[:, axis] *= -1  # an axis has no sign of its own: turn it so that it grows with the rating
        coordinate = -coordinate
    correlation = _correlation(coordinate, rated)
    value = correlation(np.arange(len(known)))
    random = generator(subject.seed, what)
    draws = [abs(_correlation(coordinate, random.permutation(rated))(np.arange(len(known)))) for _ in range(DRAWS)]
    others = {
        f"{what} with PC{k + 1}": abs(_correlation(places[[n for n, _ in known], k], rated)(np.arange(len(known))))
        for k in range(min(4, places.shape[1]))
        if k != axis
    }
    source = "the user's file" if own else _SOURCE[what]
    return Finding(
        id=f"pc{axis + 1}-{what}",
        claim=f"Principal axis {axis + 1} of the vectors goes with {what}",
        statistic=f"|Pearson r| of PC{axis + 1} with {what} over {len(known)} words",
        estimate=value,
        interval=bootstrap(len(known), correlation, random),
        null=against(f"{what} shuffled over words, sign free", value, draws),
        published=published,
        worthwhile=worthwhile,
        how_to_read=(
            f"Each point is an emotion vector on the first two principal axes; colour is {what}, from {source}. "
            f"The claim holds when the colours run along axis {axis + 1} and shuffled ratings do not."
        ),
        baselines=others,
        notes=(f"PC1 carries {share[0]:.0%} of the vectors' variance, PC2 {share[1]:.0%}.", f"Ratings: {source}."),
        charts=(_map(subject, places, ratings, what),),
    )


_SOURCE = {
    "valence": "human ratings (VADER's lexicon, Hutto & Gilbert 2014)",
    "arousal": "one judge, a language model, 1-7 (as the study used a judge; not human data)",
}


def _correlation(x: Float[np.ndarray, " word"], y: Float[np.ndarray, " word"]) -> Callable[[np.ndarray], float]:
    def of(rows: np.ndarray) -> float:
        if np.ptp(x[rows]) == 0 or np.ptp(y[rows]) == 0:
            return float("nan")
        return float(np.corrcoef(x[rows], y[rows])[0, 1])

    return of


def _map(subject: Subject, places: np.ndarray, ratings: Ratings, what: str) -> Chart:
    rows = [
        {"PC1": float(places[n, 0]), "PC2": float(places[n, 1]), "emotion": word, what: ratings.get(word), "cluster": lookup(word).cluster}
        for n, word in enumerate(subject.emotions)
    ]  # fmt: skip
    return charts.scatter(
        f"axes-{what}",
        f"Emotion vectors on their first two axes, coloured by {what}",
        rows,
        "PC1",
        "PC2",
        "emotion",
        what,
        "Q",
    )


def _odd_ones(words: list[str], cosines: np.ndarray) -> tuple[str, ...]:
    """The nearest and the most opposed pairs, in words."""
    pairs: list[tuple[float, Any, Any]] = sorted(
        (float(cosines[i, j]), words[i], words[j]) for i in range(len(words)) for j in range(i)
    )
    near = ", ".join(f"{a} and {b} ({c:.2f})" for c, a, b in reversed(pairs[-4:]))
    far = ", ".join(f"{a} and {b} ({c:.2f})" for c, a, b in pairs[:4])
    return (f"Nearest: {near}.", f"Most opposed: {far}.")
