"""Where steering acts and the text still holds together: the steering layer and the usable strength, by measurement."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from foreshock.model.continuation import Continuation
from foreshock.study.measures.words import specific_of_each, word_effects
from foreshock.study.nulls import generator
from foreshock.study.subject import Arrays, Subject
from foreshock.vectors.estimation import unit

FRAMES = ("Well, to be honest I feel", "Everyone could see that the driver was")
"""Neutral beginnings used to choose; the figures are measured on other ones."""
STRENGTHS = (0.02, 0.05, 0.1, 0.2, 0.35, 0.5)
LAYERS = 10
"""Layers on the map, evenly over the first nine tenths of the depth."""
DEEPEST = 0.6
"""Share of the depth within which the steering layer is chosen. Nearer to the end a vector acts on the next word
directly, as the logit lens shows, and hardly on what the model goes on to compute."""
COHERENT = 0.25
"""Nats a token by which neutral text may become unlikelier (perplexity × 1.28) at a usable strength."""
PROBES = 6
"""Emotions whose vectors, both ways, stand for all when coherence is measured."""
EMOTIONS = 32
"""Most emotions whose own words choose the layer."""
TEXTS, LENGTH = 4, 48
"""Neutral texts, and tokens of each, that coherence is measured on."""


@dataclass(frozen=True, slots=True)
class Range:
    """The steering layer, the usable strength there, and the map they were read off."""

    layer: int
    strength: float
    """Largest strength tried at which neutral text stays coherent; units of the mean residual norm."""
    map: list[dict[str, Any]]
    """One row a layer and strength: own-word `effect` (nats) and `loss` (nats a token)."""
    notes: tuple[str, ...]


def choose_range(subject: Subject) -> Range:
    """The layer in the first part of the depth whose own-word effect is largest at its own usable strength."""
    layers = [layer for layer in _spread(subject.model.layers) if layer in subject.layers] or [subject.reading_layer]
    rows = [row for layer in layers for row in _measured(subject, layer)]
    deepest = max(DEEPEST * (subject.model.layers - 1), layers[0])
    candidates = [_usable(rows, layer) for layer in layers if layer <= deepest]
    best = max(candidates, key=lambda row: row["effect"])
    notes = (
        f"Steering layer {best['layer']} of {subject.model.layers}, usable up to strength {best['strength']:g}: there neutral text "
        f"becomes unlikelier by {best['loss']:.2f} nats a token (limit {COHERENT:g}).",
        f"The reading layer is {subject.reading_layer}.",
    )
    return Range(best["layer"], best["strength"], rows, notes)


def _usable(rows: list[dict[str, Any]], layer: int) -> dict[str, Any]:
    """The strongest coherent row of a layer; its weakest row where none is coherent."""
    own = [row for row in rows if row["layer"] == layer]
    return max((row for row in own if row["loss"] <= COHERENT), key=lambda row: row["strength"], default=own[0])


def _spread(count: int) -> list[int]:
    last = max(0, round(0.9 * (count - 1)))
    return sorted({round(layer) for layer in np.linspace(min(1, last), last, LAYERS)})


def _measured(subject: Subject, layer: int) -> list[dict[str, Any]]:
    """Effect and loss at every strength at one layer."""
    made_by = [layer, STRENGTHS, FRAMES, COHERENT, PROBES, EMOTIONS, TEXTS, LENGTH, subject.emotions, subject.seed, subject.vectors_hash]  # fmt: skip

    def compute() -> Arrays:
        return {"effect": _effect(subject, layer), "loss": _loss(subject, layer)}

    found = subject.kept("steering-range", made_by, compute)
    return [
        {"layer": layer, "strength": strength, "effect": float(effect), "loss": float(loss)}
        for strength, effect, loss in zip(STRENGTHS, found["effect"], found["loss"], strict=True)
    ]


def _effect(subject: Subject, layer: int) -> np.ndarray:
    words = np.linspace(0, len(subject.emotions) - 1, min(EMOTIONS, len(subject.emotions))).round().astype(int)
    writes = _writes(subject, layer, unit(subject.fitted.at(layer)[words]))
    effects = specific_of_each(word_effects(subject, layer, writes, FRAMES)).reshape(len(STRENGTHS), len(words), -1)
    return effects[:, np.arange(len(words)), words].mean(1)


def _loss(subject: Subject, layer: int) -> np.ndarray:
    """Mean rise of the loss of neutral texts over a few emotions, steered both ways."""
    random = generator(subject.seed, "coherence")
    probes = random.permutation(len(subject.emotions))[:PROBES]
    directions = unit(subject.fitted.at(layer)[probes])
    writes = torch.from_numpy(_writes(subject, layer, np.concatenate([directions, -directions])))
    rows = torch.cat([torch.zeros_like(writes[:1]), writes])
    risen = []
    for text in neutral_texts(subject):
        losses = Continuation(subject.model, text, layer).losses(rows, text).cpu().numpy()
        risen.append((losses[1:] - losses[0]).reshape(len(STRENGTHS), -1).mean(1))
    return np.mean(risen, axis=0)


def neutral_texts(subject: Subject) -> list[list[int]]:
    """Tokens of a few neutral texts: the library's dialogues, or the plainest there is when it has none."""
    if subject.library.neutral:
        turns = [" ".join(turn.content for turn in d.turns) for d in subject.library.neutral[:: max(1, len(subject.library.neutral) // TEXTS)]]  # fmt: skip
    else:
        turns = ["The table is made of wood. It has four legs and stands in the kitchen, next to the door."]
    encoded = [subject.model.encode(text).ids[:LENGTH] for text in turns[:TEXTS]]
    return [ids for ids in encoded if len(ids) > 1]


def _writes(subject: Subject, layer: int, directions: np.ndarray) -> np.ndarray:
    """Every direction at every strength, strength by strength."""
    norm = subject.norm_at(layer)
    return np.concatenate([strength * norm * directions for strength in STRENGTHS]).astype(np.float32)
