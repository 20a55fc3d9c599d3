"""What the formats have in common: a vector for each of some layers, added after its block at every token."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from foreshock.errors import SteeringError, VectorsError, WrongModel
from foreshock.vectors import Direction

if TYPE_CHECKING:
    from foreshock.model import LanguageModel
    from foreshock.model.steered import Write
    from foreshock.steering import Steering

CONVENTION = "layer k is the residual stream after block k, counted from 0"


@dataclass(frozen=True, eq=False)
class ControlVector:
    """Vectors that are added to the residual stream; layer k: after block k, from 0.

    `model.steered(vector)` applies it, `0.5 * vector` scales it. Two are not added here: combine the doses of one
    `Steering` instead.

    Raises:
        VectorsError: a number is not finite, layers and vectors do not go together, or `about` is not what it should be.
    """

    layers: tuple[int, ...]
    values: Float[np.ndarray, "layer hidden"]
    """In the units of the stream itself, whole strength."""
    about: dict[str, Any] = field(default_factory=dict)
    """What is known of its making, as plain data: `model` (a dict: name, fingerprint, …), emotions and strengths."""

    def __post_init__(self) -> None:
        if not self.layers or not all(type(layer) is int and layer >= 0 for layer in self.layers):
            raise VectorsError(f"A control vector needs layers numbered by whole numbers from 0 on, not {self.layers}.")
        if self.values.ndim != 2 or len(self.values) != len(self.layers) or len(set(self.layers)) < len(self.layers):
            raise VectorsError("A control vector needs one vector of the hidden size for each of its layers.")
        if not np.isfinite(self.values).all():
            raise VectorsError("The control vector holds NaN or infinity; make it again.")
        if not isinstance(self.about, dict) or not isinstance(self.about.get("model", {}), dict):
            raise VectorsError(
                "What a control vector says of its making has to be a table, and so its model; make it again."
            )

    @classmethod
    def of(cls, steering: Steering) -> ControlVector:
        """What a steering adds, at its strengths (see `Steering.vector`).

        Raises:
            SteeringError: the steering is of some tokens only; other programs' files know no spans.
        """
        if steering.span != "all":
            raise SteeringError("A control vector acts on all tokens; leave the span out.")
        made_on = steering.vectors.manifest.get("model", {})
        about = {
            "model": made_on,
            "doses": dict(steering.doses),
            "unit": "mean residual norms at the layer",
            "residual_norms": [steering.vectors.norm_at(layer) for layer in steering.where],
            "layer_convention": CONVENTION,
            "foreshock": version("foreshock"),
        }
        values = np.stack([steering.vector(layer) for layer in steering.where]).astype(np.float32)
        return cls(tuple(map(int, steering.where)), values, about)

    def __mul__(self, factor: float) -> ControlVector:
        scaled = {"scale": factor * self.about.get("scale", 1.0)}
        return replace(self, values=(factor * self.values).astype(np.float32), about=self.about | scaled)

    __rmul__ = __mul__

    @property
    def direction(self) -> Direction:
        """The same as a `Direction`, for adding, or for its cosines with emotions of the same layers."""
        return Direction(str(self.about.get("name", "control vector")), self.layers, self.values)

    @property
    def blocks(self) -> int:
        """How many blocks its model has; where that is not known, as many as its layers need."""
        return int(self.about.get("model", {}).get("layers") or max(self.layers) + 1)

    def writes(self, model: LanguageModel) -> list[Write]:
        """What to add on this model.

        Raises:
            WrongModel: it is known to be of another model, or its vectors have another size than the stream.
        """
        import torch

        from foreshock.model.steered import Write

        made_on = self.about.get("model", {})
        other = made_on.get("fingerprint") not in (None, model.fingerprint)
        if other or self.values.shape[1] != model.hidden:
            raise WrongModel(
                f"This control vector is of {made_on.get('name', 'another model')} (hidden size {self.values.shape[1]}), "
                f"not of {model.name} (hidden size {model.hidden}); open that model, or make a vector for this one."
            )
        return [
            Write(layer, torch.from_numpy(vector))
            for layer, vector in zip(self.layers, self.values, strict=True)
            if vector.any()
        ]
