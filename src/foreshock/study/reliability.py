"""Would other topics have given the same vectors? Split-half reliability, by topic."""

from __future__ import annotations

from typing import Any

import numpy as np

from foreshock.study import charts
from foreshock.study.finding import Finding
from foreshock.study.nulls import against, bootstrap, generator, shuffled_within
from foreshock.study.subject import Subject
from foreshock.vectors.estimation import estimate, unit

SPLITS = 20
DRAWS = 1000


def run(subject: Subject) -> Finding | None:
    """Cosine of each vector with itself between random halves of the topics; None with under two topics."""
    if len(subject.topics) < 2:
        return None
    random = generator(subject.seed, "split half")
    cosines = np.mean([_halves(subject, subject.emotion, random) for _ in range(SPLITS)], axis=0)
    value = float(np.median(cosines))
    draws = [
        float(np.median(_halves(subject, shuffled_within(subject.emotion, subject.topic, random), random)))
        for _ in range(DRAWS)
    ]
    rows: list[dict[str, Any]] = [
        {"emotion": w, "cosine": float(c)} for w, c in zip(subject.emotions, cosines, strict=True)
    ]
    rows.sort(key=lambda row: row["cosine"])
    return Finding(
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
        notes=(f"Corrected for full length (Spearman-Brown): {2 * value / (1 + value):.2f}.",),
        table=tuple(rows),
        charts=(
            charts.bars("split-half", "Split-half cosine of each vector; the dashed rule is the mean with shuffled labels", rows, "cosine", "emotion", float(np.mean(draws))),
        ),
    )  # fmt: skip


def _halves(subject: Subject, emotion: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Cosine of each emotion's directions from two random halves of the topics."""
    layer = subject.fitted.reading_layer
    count, basis = len(subject.emotions), subject.basis(layer)
    topics = random.permutation(len(subject.topics))
    first = np.isin(subject.topic, topics[: len(topics) // 2])
    halves = [
        unit(
            estimate(
                subject.means.at(layer)[rows], emotion[rows], subject.topic[rows], count, subject.recipe, basis
            ).directions
        )
        for rows in (first, ~first)
    ]
    return np.asarray((halves[0] * halves[1]).sum(1))
