"""One emotion's direction at every kept layer, behaving like the vector it is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from foreshock.errors import VectorsError


@dataclass(frozen=True, eq=False)
class Direction:
    """A named direction of the residual stream; adds, subtracts and scales.

    `vectors["calm"] - 0.5 * vectors["desperate"]` is a Direction too.
    """

    name: str
    layers: tuple[int, ...]
    values: Float[np.ndarray, "layer hidden"]

    def __add__(self, other: Direction) -> Direction:
        return self._with(other, f"{self.name} + {other.name}", 1.0)

    def __sub__(self, other: Direction) -> Direction:
        return self._with(other, f"{self.name} - {other.name}", -1.0)

    def __mul__(self, factor: float) -> Direction:
        return Direction(f"{factor:g} · ({self.name})", self.layers, self.values * factor)

    __rmul__ = __mul__

    def __truediv__(self, divisor: float) -> Direction:
        return self * (1 / divisor)

    def __neg__(self) -> Direction:
        return self * -1.0

    def at(self, layer: int) -> Float[np.ndarray, " hidden"]:
        """The direction after one layer. Raises `VectorsError` when that layer was not kept."""
        if layer not in self.layers:
            raise VectorsError(f"{self.name} has no layer {layer}; it has {list(self.layers)}.")
        return self.values[self.layers.index(layer)]

    def unit(self) -> Direction:
        """The same direction at length 1 on every layer."""
        norms = np.linalg.norm(self.values, axis=1, keepdims=True)
        return Direction(self.name, self.layers, self.values / np.maximum(norms, 1e-12))

    def cosine(self, other: Direction) -> Float[np.ndarray, " layer"]:
        """Cosine with another direction, layer by layer."""
        self._check(other)
        return np.asarray((self.unit().values * other.unit().values).sum(1))

    def _with(self, other: Direction, name: str, sign: float) -> Direction:
        self._check(other)
        return Direction(name, self.layers, self.values + sign * other.values)

    def _check(self, other: Direction) -> None:
        if self.layers != other.layers or self.values.shape != other.values.shape:
            raise VectorsError(
                f"{self.name} and {other.name} are on different layers or models; combine vectors of one file."
            )
