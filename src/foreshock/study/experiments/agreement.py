"""Do layers agree about which emotions are alike? Representational similarity over layers (paper, "Geometry")."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from foreshock.model import EMBEDDING
from foreshock.study import charts
from foreshock.study.crossval import fitted_on, split_topics
from foreshock.study.finding import Finding
from foreshock.study.nulls import against, bootstrap, correlation, generator, pairs_of
from foreshock.study.subject import Subject

DRAWS = 1000
INTERVAL_DRAWS = 200
SPLITS = 2
APART = 3
"""Layers nearer to the reading layer than this share most of their numbers with it, and are left out."""
Cosines = Float[np.ndarray, "emotion emotion"]


def run(subject: Subject) -> list[Finding]:
    """Mean correlation of the reading layer's cosine map with those of layers well apart from it.

    The two layers' vectors are fitted on different topics: otherwise they would share the noise of their texts, and
    vectors of nothing at all would agree from layer to layer.
    """
    chosen = subject.reading_layer
    others = [k for k in subject.layers if k != EMBEDDING and abs(k - chosen) >= APART]
    if not others or len(subject.emotions) < 4 or len(subject.topics) < 2:
        return []
    random = generator(subject.seed, "agreement")
    maps = [_half_maps(subject, random) for _ in range(SPLITS)]

    def agreement(a: int, b: int, rows: np.ndarray, permuted: np.ndarray) -> float:
        return float(np.mean([similarity(first[a], second[b], rows, permuted) for first, second in maps]))

    def overall(rows: np.ndarray, permuted: np.ndarray) -> float:
        return float(np.mean([agreement(chosen, k, rows, permuted) for k in others]))

    def resampled(rows: np.ndarray) -> float:
        return overall(rows, rows)

    everyone = np.arange(len(subject.emotions))
    value = overall(everyone, everyone)
    words_alone = agreement(chosen, EMBEDDING, everyone, everyone)
    itself = agreement(chosen, chosen, everyone, everyone)
    draws = [overall(everyone, random.permutation(everyone)) for _ in range(DRAWS)]
    cells = [
        {"layer": str(a), "with": str(b), "r": agreement(a, b, everyone, everyone)}
        for a in subject.layers
        for b in subject.layers
    ]
    return [
        Finding(
            id="layer-agreement",
            claim="Layers agree about which emotions are alike",
            statistic=f"mean correlation of cosine maps, layer {chosen} with layers {APART} or more away, on other topics",
            estimate=value,
            interval=bootstrap(len(everyone), resampled, random, draws=INTERVAL_DRAWS),
            null=against("emotions shuffled at one of the layers", value, draws),
            published="stable from early to late layers (no figure given)",
            worthwhile=0.3,
            how_to_read=(
                "Each cell compares the cosine maps of two layers, fitted on different topics; 1 means that they rank all pairs of emotions alike. "
                "The diagonal is the ceiling that the noise of the texts leaves; the first row is the embeddings, which know no more than words."
            ),
            baselines={"the model's embedding layer": words_alone, f"layer {chosen} with itself": itself},
            floor=words_alone,
            charts=(
                charts.heatmap(
                    "layer-agreement",
                    "Correlation of cosine maps between layers (-1: the embeddings)",
                    cells, "layer", "with", "r", [str(k) for k in subject.layers], limit=1.0,
                ),
            ),
        )
    ]  # fmt: skip


def _half_maps(subject: Subject, random: np.random.Generator) -> tuple[dict[int, Cosines], dict[int, Cosines]]:
    """Cosine maps at every layer, from one random half of the topics and from the other."""
    half = split_topics(subject, random)

    def maps(rows: np.ndarray) -> dict[int, Cosines]:
        directions = {layer: fitted_on(subject, layer, rows) for layer in subject.layers}
        return {layer: np.asarray(found @ found.T) for layer, found in directions.items()}

    return maps(half), maps(~half)


def similarity(a: Cosines, b: Cosines, rows: np.ndarray, permuted: np.ndarray) -> float:
    """Correlation of two cosine maps over the pairs of `rows`, those of `b` under the names `permuted`.

    A row drawn twice is no pair with itself.
    """
    upper = pairs_of(rows)
    return correlation(a[np.ix_(rows, rows)][upper], b[np.ix_(permuted, permuted)][upper])
