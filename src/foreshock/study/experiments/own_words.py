"""Does steering along a vector make the emotion's own words likelier? Also picks the steering layer and its range.

Paper, "Steering": a vector added to the residual stream raises words of its emotion. Strengths are in units of the
mean residual norm at the layer (see `Steering` in architecture.md).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from foreshock.model import EMBEDDING
from foreshock.study import charts
from foreshock.study.finding import Chart, Finding
from foreshock.study.measures.steering_range import COHERENT, Range, choose_range
from foreshock.study.measures.words import Effects, specific, specific_of_each, word_effects
from foreshock.study.nulls import (
    against,
    beside,
    bootstrap,
    corrected_p,
    dealt_out,
    generator,
    harder,
    random_directions,
    shuffled_over,
)
from foreshock.study.subject import Arrays, Subject
from foreshock.vectors.estimation import unit

FRAMES = (
    "The one word for how I am right now is",
    "He looked out of the window. Inside he was",
    "Asked about that morning, she said that it had left her",
    "Dear diary, today everything makes me",
)
"""Neutral beginnings that an emotion word can follow. Other ones are used to choose the layer and the strength."""
RANDOM = 128
"""Random directions; each draw of the null deals them out to the emotions anew."""
DRAWS = 1000
SHOWN = 40
"""Most emotions on the heat map."""


def run(subject: Subject) -> list[Finding]:
    """How much more a vector raises its own emotion's words than other emotions' words, at the chosen range.

    Sets the steering layer and the usable strength of the subject's vectors, which later commands take as defaults.
    """
    chosen = choose_range(subject)
    subject.vectors = replace(subject.fitted, steering_layer=chosen.layer, usable_strength=chosen.strength)
    vectors, embedded, drawn = _effects(subject, chosen)
    own = specific(vectors)
    value = float(own.mean())
    random = generator(subject.seed, "own words")
    table = specific_of_each(drawn)
    words = np.arange(len(own))
    null, other = harder(
        against(
            f"{len(table)} random directions of equal norm, in the span of the activations",
            value,
            dealt_out(table, random, DRAWS),
        ),
        against("vectors shuffled over emotions", value, shuffled_over(specific_of_each(vectors), random, DRAWS)),
    )
    floor = float(specific(embedded).mean())
    p = (1 + (table >= own).sum(0)) / (1 + len(table))
    q = corrected_p([float(one) for one in p])
    ranks = [int(1 + (vectors[:, k] > vectors[k, k]).sum()) for k in words]
    rows: list[dict[str, Any]] = [
        {"emotion": word, "effect (nats)": float(own[k]), "rank of own vector": ranks[k], "p": float(p[k]), "q": q[k]}
        for k, word in enumerate(subject.emotions)
    ]  # fmt: skip
    return [
        Finding(
            id="own-words",
            claim="Steering along a vector makes the words of its emotion likelier",
            statistic=f"nats by which a vector raises its own word over other emotions' words, strength {chosen.strength:g} at layer {chosen.layer}",
            estimate=value,
            interval=bootstrap(len(own), lambda picked: float(own[picked].mean()), random),
            null=null,
            published="own-word steering works (no figure given)",
            worthwhile=0.25,
            how_to_read=(
                "A row is a vector added to the stream, a column an emotion word: red where that word becomes likelier than under the other vectors. "
                "The claim is the diagonal; the map of layers and strengths shows where steering acts and where the text breaks."
            ),
            baselines={"vectors of the model's embedding layer, at the same norm": floor},
            floor=floor,
            notes=(
                *chosen.notes,
                f"Own word raised most by its own vector (of {len(own)}): {ranks.count(1)}; "
                f"median rank {np.median(ranks):g}. Significant alone at q 0.05: {sum(one <= 0.05 for one in q)}.",
                beside(other),
                "A word that the tokenizer splits is stood for by its first piece.",
            ),
            table=tuple(sorted(rows, key=lambda row: -row["effect (nats)"])),
            charts=(_matrix(subject, vectors), *_range_charts(chosen)),
        )
    ]


def _effects(subject: Subject, chosen: Range) -> tuple[Effects, Effects, Effects]:
    """Rise of each emotion word in nats when steering: the vectors, those of the embedding layer, random directions."""
    layer = chosen.layer
    directions = np.concatenate(
        [
            unit(subject.fitted.at(layer)),
            unit(subject.fitted.at(EMBEDDING)),
            random_directions(subject.means.at(layer), RANDOM, generator(subject.seed, "own words, directions")),
        ]
    )
    writes = chosen.strength * subject.norm_at(layer) * directions
    made_by = [layer, chosen.strength, FRAMES, RANDOM, subject.emotions, subject.seed, subject.vectors_hash]

    def compute() -> Arrays:
        return {"effects": word_effects(subject, layer, writes, FRAMES)}

    effects = subject.kept("own-words", made_by, compute)["effects"]
    count = len(subject.emotions)
    return effects[:count], effects[count : 2 * count], effects[2 * count :]


def _matrix(subject: Subject, effects: Effects) -> Chart:
    """Effects less the column's mean, for as many emotions as a reader can take in."""
    words = subject.emotions[:: max(1, -(-len(subject.emotions) // SHOWN))]
    rows = [subject.emotions.index(word) for word in words]
    centred = effects - effects.mean(0)
    cells = [
        {"steered": subject.emotions[i], "word": subject.emotions[j], "nats": float(centred[i, j])}
        for i in rows
        for j in rows
    ]
    limit = round(float(np.quantile(np.abs(centred), 0.99)), 2)
    caption = "Rise of each emotion word (across) when steering along each vector (down), less the word's mean rise"
    return charts.heatmap("own-words", caption, cells, "word", "steered", "nats", words, limit=limit)


def _range_charts(chosen: Range) -> tuple[Chart, Chart]:
    return (
        charts.heatmap(
            "steering-effect",
            "Own-word effect (nats) by layer and strength, on other frames than the figure",
            [{**row, "layer": str(row["layer"]), "strength": str(row["strength"])} for row in chosen.map],
            "strength", "layer", "effect", [], limit=max(0.1, round(max(abs(row["effect"]) for row in chosen.map), 2)),
        ),
        charts.lines(
            "steering-coherence",
            f"What steering costs neutral text, nats a token, by strength; usable up to {COHERENT:g}",
            [{"strength": row["strength"], "loss": row["loss"], "layer": f"layer {row['layer']}"} for row in chosen.map],
            "strength", "loss", "layer",
        ),
    )  # fmt: skip
