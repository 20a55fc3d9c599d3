"""Steering: emotions added to the residual stream while a model runs.

    with model.steered(Steering({"calm": 0.05}, vectors)):
        model.model.generate(...)

A strength is in units of the mean residual norm at the layer, so 0.05 adds a vector a twentieth as long as what stands
there (paper, "Steering"). Small models hardly move at 0.05 and fall apart at 0.5, so sweep, and look at the coherence.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from foreshock.errors import SteeringError
from foreshock.model import LanguageModel
from foreshock.model.places import Characters, Span
from foreshock.model.steered import Write
from foreshock.vectors import EmotionVectors
from foreshock.vectors.estimation import unit

__all__ = ["BeyondRange", "Characters", "Span", "Steering"]


class BeyondRange(UserWarning):
    """A strength is larger than the largest at which this model's text was measured to stay coherent."""


@dataclass(frozen=True)
class Steering:
    """Emotions and their strengths, where on the stream, and at which tokens.

    Raises:
        UnknownEmotion: the vectors lack an emotion.
        VectorsError: they lack a layer.
        SteeringError: a strength is no finite number, or there is no layer.
    """

    doses: Mapping[str, float]
    """Emotion → strength, in mean residual norms at the layer; negative takes the emotion away."""
    vectors: EmotionVectors
    layers: Sequence[int] | None = None
    """Layers after which the whole strength is added; None: the steering layer that the study measured."""
    span: Span = "all"

    def __post_init__(self) -> None:
        for emotion, strength in self.doses.items():
            if not math.isfinite(strength):
                raise SteeringError(f"The strength of {emotion!r} is {strength}; give a finite number, e.g. 0.05.")
        if not self.where:
            raise SteeringError("A steering needs a layer; leave `layers` out for the one that the study measured.")
        for layer in self.where:
            self.vector(layer)

    @property
    def where(self) -> tuple[int, ...]:
        """The layers that are written to."""
        return tuple(self.layers) if self.layers is not None else (default_layer(self.vectors),)

    def vector(self, layer: int) -> Float[np.ndarray, " hidden"]:
        """What is added after a layer."""
        total = np.zeros(self.vectors.directions.shape[-1], np.float32)
        for emotion, strength in self.doses.items():
            total += strength * unit(self.vectors[emotion].at(layer))
        return total * self.vectors.norm_at(layer)

    @property
    def strength(self) -> float:
        """Length of what is added, in mean residual norms; the largest over the layers."""
        lengths = (np.linalg.norm(self.vector(layer)) / self.vectors.norm_at(layer) for layer in self.where)
        return max((float(length) for length in lengths), default=0.0)

    def beyond(self) -> str | None:
        """A sentence where the strength is larger than what the text was measured to bear; else None."""
        usable = self.vectors.usable_strength
        if usable is None or self.strength <= usable * 1.001:
            return None
        return (
            f"Strength {self.strength:.3g} is beyond {usable:g}, the largest at which neutral text stayed coherent "
            f"on this model (steering layer {self.vectors.steering_layer}); the text may fall apart."
        )

    def writes(self, model: LanguageModel) -> list[Write]:
        """What to add on this model; nothing for strength 0.

        Raises:
            WrongModel: the vectors were made on another model.
        """
        self.vectors.check_model(model.fingerprint, model.name)
        if not any(self.doses.values()):
            return []
        if sentence := self.beyond():
            warnings.warn(sentence, BeyondRange, stacklevel=2)
        return [Write(layer, torch.from_numpy(self.vector(layer)), self.span) for layer in self.where]


def default_layer(vectors: EmotionVectors) -> int:
    """The measured steering layer; the reading layer where steering was not measured."""
    return vectors.reading_layer if vectors.steering_layer is None else vectors.steering_layer
