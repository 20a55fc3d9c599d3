"""Passage means of a corpus → the emotion vectors of a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from foreshock.activations import SpanMeans
from foreshock.emotions import in_cluster_order
from foreshock.texts import Passage
from foreshock.vectors.emotion_vectors import EmotionVectors
from foreshock.vectors.estimation import Recipe, estimate, neutral_basis, numbered


def fit_vectors(
    passages: Sequence[Passage],
    means: SpanMeans,
    neutral: SpanMeans | None,
    reading_layer: int,
    recipe: Recipe | None = None,
    manifest: dict[str, Any] | None = None,
) -> EmotionVectors:
    """Emotion vectors on every layer of `means`, which has one row for each of `passages`.

    Args:
        neutral: means of emotionally neutral dialogues on the same layers; None: no denoising.
        reading_layer: the layer readings are taken at by default.

    Raises:
        TextError: fewer than two emotions.
        VectorsError: the numbers are not finite.
    """
    recipe = recipe or Recipe()
    emotion, words = numbered([p.emotion for p in passages], in_cluster_order({p.emotion for p in passages}))
    topic, _ = numbered([p.topic for p in passages])
    empty = np.zeros((0, means.values.shape[2]), np.float32)
    bases = [neutral_basis(neutral.at(k), recipe.denoise) if neutral is not None else empty for k in means.layers]
    at_layers = [
        estimate(means.at(k), emotion, topic, len(words), recipe, basis)
        for k, basis in zip(means.layers, bases, strict=True)
    ]
    return EmotionVectors(
        emotions=tuple(words),
        layers=means.layers,
        directions=np.stack([e.directions for e in at_layers]).astype(np.float32),
        mean=np.stack([e.mean for e in at_layers]).astype(np.float32),
        spread=np.stack([e.spread for e in at_layers]).astype(np.float32),
        residual_norm=means.moments.mean_norm.astype(np.float32),
        neutral=tuple(basis.astype(np.float32) for basis in bases),
        reading_layer=reading_layer,
        manifest={**(manifest or {}), "recipe": recipe.to_json()},
    )
