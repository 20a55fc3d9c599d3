"""Would other topics have given the same vectors? Split-half reliability, by topic."""

from __future__ import annotations

from typing import Any

import numpy as np

from foreshock.model import EMBEDDING
from foreshock.study import charts
from foreshock.study.crossval import fitted_on
from foreshock.study.finding import Chart, Finding
from foreshock.study.nulls import against, bootstrap, generator, shuffled_within
from foreshock.study.subject import Subject

SPLITS = 20
DRAWS = 1000


def run(subject: Subject) -> list[Finding]:
    """Cosine of each vector with itself between random halves of the topics."""
    if len(subject.topics) < 2:
        return []
    random = generator(subject.seed, "split half")
    layer, half = subject.reading_layer, len(subject.topics) // 2
    cosines = np.mean([_halves(subject, subject.emotion, layer, half, random) for _ in range(SPLITS)], axis=0)
    words = np.mean([_halves(subject, subject.emotion, EMBEDDING, half, random) for _ in range(SPLITS)], axis=0)
    value, floor = float(np.median(cosines)), float(np.median(words))
    draws = [
        float(np.median(_halves(subject, shuffled_within(subject.emotion, subject.topic, random), layer, half, random)))
        for _ in range(DRAWS)
    ]
    rows: list[dict[str, Any]] = [
        {"emotion": w, "cosine": float(c)} for w, c in zip(subject.emotions, cosines, strict=True)
    ]
    rows.sort(key=lambda row: row["cosine"])
    caption = "Split-half cosine of each vector; the dashed rule is the mean with shuffled labels"
    return [
        Finding(
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
            baselines={"the model's embedding layer": floor},
            floor=floor,
            notes=(
                f"Corrected for full length (Spearman-Brown): {2 * value / (1 + value):.2f}.",
                f"By the same formula a cosine of 0.6 takes about {_topics_for(0.6, value, half)} topics in each half.",
            ),
            table=tuple(rows),
            charts=(
                charts.bars("split-half", caption, rows, "cosine", "emotion", float(np.mean(draws))),
                _learning_curve(subject, layer, random),
            ),
        )
    ]


def _halves(subject: Subject, emotion: np.ndarray, layer: int, size: int, random: np.random.Generator) -> np.ndarray:
    """Cosine of each emotion's directions between two random sets of `size` topics that share none."""
    topics = random.permutation(len(subject.topics))
    halves = [np.isin(subject.topic, topics[:size]), np.isin(subject.topic, topics[-size:])]
    if size == len(subject.topics) // 2:
        halves[1] = ~halves[0]  # an odd topic is not lost
    first, second = (fitted_on(subject, layer, rows, emotion) for rows in halves)
    return np.asarray((first * second).sum(1))


def _topics_for(wanted: float, cosine: float, size: int) -> str:
    """Topics in a half for a split-half cosine of `wanted`, given that of halves of `size` (Spearman-Brown)."""
    if not 0 < cosine < 1:
        return "more than can be told"
    return f"{size * wanted * (1 - cosine) / (cosine * (1 - wanted)):.1f}"


def _learning_curve(subject: Subject, layer: int, random: np.random.Generator) -> Chart:
    rows = [
        {"topics in each half": size, "median cosine": float(np.median(np.mean([_halves(subject, subject.emotion, at, size, random) for _ in range(SPLITS)], axis=0))), "series": name}
        for name, at in (("readings", layer), ("embedding layer", EMBEDDING))
        for size in range(1, len(subject.topics) // 2 + 1)
    ]  # fmt: skip
    caption = "Learning curve: agreement of vectors by the number of topics (stories an emotion) in each half"
    return charts.lines("split-half-learning", caption, rows, "topics in each half", "median cosine", "series")
