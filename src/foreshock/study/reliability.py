"""Would other topics have given the same vectors? Split-half reliability, by topic."""

from __future__ import annotations

from typing import Any

import numpy as np

from foreshock.model import EMBEDDING
from foreshock.study import charts
from foreshock.study.crossval import fitted_on, split_topics
from foreshock.study.finding import Finding
from foreshock.study.nulls import against, bootstrap, generator, shuffled_within
from foreshock.study.subject import Subject

SPLITS = 20
DRAWS = 1000


def run(subject: Subject) -> list[Finding]:
    """Cosine of each vector with itself between random halves of the topics."""
    if len(subject.topics) < 2:
        return []
    random = generator(subject.seed, "split half")
    layer = subject.reading_layer
    cosines = np.mean([_halves(subject, subject.emotion, layer, random) for _ in range(SPLITS)], axis=0)
    words = np.mean([_halves(subject, subject.emotion, EMBEDDING, random) for _ in range(SPLITS)], axis=0)
    value = float(np.median(cosines))
    draws = [
        float(np.median(_halves(subject, shuffled_within(subject.emotion, subject.topic, random), layer, random)))
        for _ in range(DRAWS)
    ]
    rows: list[dict[str, Any]] = [
        {"emotion": w, "cosine": float(c)} for w, c in zip(subject.emotions, cosines, strict=True)
    ]
    rows.sort(key=lambda row: row["cosine"])
    return [Finding(
        id="split-half",
        claim="A vector comes out alike from different topics",
        statistic=f"median over emotions of the cosine between halves of {len(subject.topics)} topics",
        estimate=value,
        interval=bootstrap(len(cosines), lambda picked: float(np.median(cosines[picked])), random),
        null=against("labels shuffled within topics", value, draws),
        published=None,
        worthwhile=0.4,
        how_to_read=(
            "The topics are split in two halves many times, and each emotion's vector from one half is compared with that from the other. "
            "Near 1: more texts would hardly move the vector; near 0: it is noise."
        ),
        baselines={"the model's embedding layer": float(np.median(words))},
        floor=float(np.median(words)),
        notes=(f"Corrected for full length (Spearman-Brown): {2 * value / (1 + value):.2f}.",),
        table=tuple(rows),
        charts=(
            charts.bars("split-half", "Split-half cosine of each vector; the dashed rule is the mean with shuffled labels", rows, "cosine", "emotion", float(np.mean(draws))),
        ),
    )]  # fmt: skip


def _halves(subject: Subject, emotion: np.ndarray, layer: int, random: np.random.Generator) -> np.ndarray:
    """Cosine of each emotion's directions from two random halves of the topics."""
    first = split_topics(subject, random)
    return np.asarray((fitted_on(subject, layer, first, emotion) * fitted_on(subject, layer, ~first, emotion)).sum(1))
