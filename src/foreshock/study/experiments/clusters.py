"""Do the vectors fall into the study's clusters? The cosine map, and k-means with k = 10 (paper, "Geometry")."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

from foreshock.emotions import clusters, lookup
from foreshock.model import EMBEDDING
from foreshock.study import charts
from foreshock.study.finding import Chart, Finding
from foreshock.study.nulls import against, bootstrap, generator
from foreshock.study.subject import Subject
from foreshock.vectors.estimation import unit

DRAWS = 2000
STARTS = 10
"""k-means is started this often; the tightest result counts."""
SUBSAMPLES = 50
"""k-means on random four fifths of the emotions, for an interval."""
Cosines = Float[np.ndarray, "emotion emotion"]


def run(subject: Subject) -> list[Finding]:
    """The contrast of the cosine map, and the agreement of k-means with the published clusters."""
    return [_contrast(subject), *([_k_means(subject)] if len(subject.emotions) >= 30 else [])]


def _contrast(subject: Subject) -> Finding:
    words = subject.emotions
    cosines = subject.fitted.cosines()
    cluster = np.array([lookup(word).cluster for word in words])
    random = generator(subject.seed, "clusters")
    value, words_alone = contrast(cosines, cluster), contrast(subject.fitted.cosines(EMBEDDING), cluster)
    everyone = np.arange(len(words))
    return Finding(
        id="cosine-map",
        claim="Vectors of one published cluster of emotions are closer to each other than to the rest",
        statistic="mean cosine within clusters less mean cosine between them",
        estimate=value,
        interval=bootstrap(len(words), lambda rows: contrast(cosines, cluster, rows), random),
        null=against(
            "cluster names shuffled over emotions",
            value,
            [contrast(cosines, random.permutation(cluster), everyone) for _ in range(DRAWS)],
        ),
        published="clear blocks (no figure given)",
        worthwhile=0.1,
        how_to_read=(
            "Both axes list the emotions in the order of a hierarchical clustering, so that neighbours on an axis are alike. "
            "Blocks along the diagonal are groups that the model keeps together; hover to see whether they are published clusters."
        ),
        baselines={"the model's embedding layer": words_alone},
        floor=words_alone,
        notes=_odd_ones(words, cosines),
        charts=(_map(words, cosines),),
    )


def contrast(cosines: Cosines, labels: np.ndarray, rows: np.ndarray | None = None) -> float:
    """Mean cosine within labels less the mean between them, over these rows; a row drawn twice is no pair with itself.

    NaN where there is no pair of one kind.
    """
    picked = np.arange(len(cosines)) if rows is None else rows
    upper = np.triu_indices(len(picked), 1)
    i, j = picked[upper[0]], picked[upper[1]]
    same, other = labels[i] == labels[j], i != j
    if not (same & other).any() or not (~same & other).any():
        return float("nan")
    return float(cosines[i, j][same & other].mean() - cosines[i, j][~same & other].mean())


def _k_means(subject: Subject) -> Finding:
    words = subject.emotions
    cluster = np.array([clusters().index(lookup(word).cluster) for word in words])
    count = len(set(cluster))
    random = generator(subject.seed, "k-means")

    def grouped(layer: int, rows: np.ndarray) -> np.ndarray:
        directions = unit(subject.fitted.at(layer)[rows])
        return np.asarray(KMeans(count, n_init=STARTS, random_state=subject.seed).fit_predict(directions))

    everyone = np.arange(len(words))
    found = grouped(subject.reading_layer, everyone)
    value = float(adjusted_rand_score(cluster, found))
    words_alone = float(adjusted_rand_score(cluster, grouped(EMBEDDING, everyone)))
    size = 4 * len(words) // 5
    parts = [random.permutation(len(words))[:size] for _ in range(SUBSAMPLES)]
    drawn = np.array([adjusted_rand_score(cluster[rows], grouped(subject.reading_layer, rows)) for rows in parts])
    # A part of m of n emotions varies less than a new sample would, by the factor √((n - m) / m).
    low, high = value + np.quantile(drawn - drawn.mean(), (0.025, 0.975)) * np.sqrt(size / (len(words) - size))
    return Finding(
        id="k-means",
        claim=f"k-means with k = {count} finds the published clusters",
        statistic="adjusted Rand index with the published clusters (chance 0, equal 1)",
        estimate=value,
        interval=(float(low), float(high)),
        null=against(
            "cluster names shuffled over emotions",
            value,
            [float(adjusted_rand_score(random.permutation(cluster), found)) for _ in range(DRAWS)],
        ),
        published="k = 10 named clusters, which are what is compared with",
        worthwhile=0.2,
        how_to_read=(
            "The vectors are grouped without being told the clusters; the table lists what came together. "
            "1 means the same groups as on the published model, 0 what chance gives."
        ),
        baselines={"the model's embedding layer": words_alone},
        floor=words_alone,
        notes=(
            f"The interval is from random four fifths of the emotions, {SUBSAMPLES} times, widened to a full sample's.",
        ),
        table=_groups(words, found, cluster),
    )


def _groups(words: list[str], found: np.ndarray, cluster: np.ndarray) -> tuple[dict[str, Any], ...]:
    names = clusters()
    rows: list[dict[str, Any]] = []
    for group in np.unique(found):
        members = np.flatnonzero(found == group)
        nearest = np.bincount(cluster[members]).argmax()
        share = float((cluster[members] == nearest).mean())
        listed = ", ".join(words[k] for k in members)
        rows.append({"mostly": names[nearest], "share": share, "emotions": len(members), "members": listed})
    return tuple(sorted(rows, key=lambda row: names.index(row["mostly"])))


def _map(words: list[str], cosines: Cosines) -> Chart:
    apart = squareform(np.clip(1 - cosines, 0, 2), checks=False)
    order = [words[k] for k in leaves_list(linkage(apart, "average", optimal_ordering=True))]
    place = {word: k for k, word in enumerate(words)}
    cells = [
        {
            "emotion": a,
            "with": b,
            "cosine": float(cosines[place[a], place[b]]),
            "clusters": f"{lookup(a).cluster} / {lookup(b).cluster}",
        }
        for a in order
        for b in order
    ]
    limit = round(float(np.quantile(np.abs(cosines[np.triu_indices(len(words), 1)]), 0.99)), 2)
    return charts.heatmap("cosine-map", "Cosine of every pair of emotion vectors", cells, "emotion", "with", "cosine", order, limit=limit)  # fmt: skip


def _odd_ones(words: list[str], cosines: Cosines) -> tuple[str, ...]:
    """The nearest and the most opposed pairs, in words."""
    pairs = sorted((float(cosines[i, j]), words[i], words[j]) for i in range(len(words)) for j in range(i))
    near = ", ".join(f"{a} and {b} ({c:.2f})" for c, a, b in reversed(pairs[-4:]))
    far = ", ".join(f"{a} and {b} ({c:.2f})" for c, a, b in pairs[:4])
    return (f"Nearest: {near}.", f"Most opposed: {far}.")
