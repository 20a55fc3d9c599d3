"""Emotion vectors that are known beforehand, without fitting: directions as they are, at every layer asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from foreshock.model import LanguageModel
from foreshock.model.planted import EMOTIONS
from foreshock.vectors import EmotionVectors


def exact(
    model: LanguageModel,
    directions: Float[np.ndarray, "emotion hidden"],
    layers: Sequence[int],
    emotions: Sequence[str] = EMOTIONS,
    norms: Sequence[float] | None = None,
    **changed: Any,
) -> EmotionVectors:
    """Readings are plain projections; the reading layer is the last one, and mean residual norms are 1 if not given."""
    n, (count, hidden) = len(layers), directions.shape
    given: dict[str, Any] = {
        "emotions": tuple(emotions),
        "layers": tuple(layers),
        "directions": np.stack([directions] * n),
        "mean": np.zeros((n, hidden), np.float32),
        "spread": np.ones((n, count), np.float32),
        "residual_norm": np.array(norms or [1.0] * n, np.float32),
        "neutral": (np.zeros((0, hidden), np.float32),) * n,
        "reading_layer": layers[-1],
        "manifest": {"model": {"fingerprint": model.fingerprint}},
    }
    return EmotionVectors(**(given | changed))
