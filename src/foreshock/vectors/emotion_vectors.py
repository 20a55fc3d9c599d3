"""The emotion vectors of one model, in one `.safetensors` file that describes itself."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from foreshock.emotions import lookup
from foreshock.errors import UnknownEmotion, VectorsError, WrongModel
from foreshock.files import write_bytes
from foreshock.vectors.direction import Direction
from foreshock.vectors.estimation import unit

FORMAT = 1
"""Version of the file format. A file of a newer one is refused."""
STRONGEST = 2.0
"""Largest strength of an emotion that a server adds, in mean residual norms: far beyond what text bears, and far from
overflow."""


@dataclass(frozen=True, slots=True)
class Readout:
    """Centring, denoising and standardisation folded into one affine map: reading = W · residual + b."""

    emotions: tuple[str, ...]
    layer: int
    W: Float[np.ndarray, "emotion hidden"]
    b: Float[np.ndarray, " emotion"]


@dataclass(frozen=True)
class EmotionVectors:
    """Directions of emotions in the residual stream of one model. Layer k: after block k, from 0."""

    emotions: tuple[str, ...]
    layers: tuple[int, ...]
    directions: Float[np.ndarray, "layer emotion hidden"]
    """Denoised differences of means, not normalised."""
    mean: Float[np.ndarray, "layer hidden"]
    """Grand mean of the passages: where readings are 0."""
    spread: Float[np.ndarray, "layer emotion"]
    """Standard deviation of the passages' projections: a reading of 1."""
    residual_norm: Float[np.ndarray, " layer"]
    """Mean residual norm over tokens: the unit of steering strength."""
    neutral: tuple[Float[np.ndarray, "component hidden"], ...]
    """The neutral components projected out, layer by layer."""
    reading_layer: int
    """The layer chosen for reading, by cross-validation."""
    steering_layer: int | None = None
    """The layer at which steering acts best, by measurement; None where that was not measured."""
    usable_strength: float | None = None
    """The largest strength tried there that leaves neutral text coherent, in mean residual norms."""
    manifest: dict[str, Any] = field(default_factory=dict)
    """Model, texts, recipe, versions and seed that made this file."""

    def __post_init__(self) -> None:
        for name in ("directions", "mean", "spread", "residual_norm"):
            if not np.isfinite(getattr(self, name)).all():
                raise VectorsError(
                    f"The vectors' {name} holds NaN or infinity; make them again (--dtype float32 may help)."
                )

    def __len__(self) -> int:
        return len(self.emotions)

    def __contains__(self, word: str) -> bool:
        return word in self.emotions

    def __getitem__(self, word: str) -> Direction:
        """The direction of one emotion on all layers. Raises `UnknownEmotion`."""
        return Direction(self.emotions[self._place(word)], self.layers, self.directions[:, self._place(word)])

    def at(self, layer: int) -> Float[np.ndarray, "emotion hidden"]:
        """All directions after one layer. Raises `VectorsError` when the file lacks it."""
        return self.directions[self._layer(layer)]

    def norm_at(self, layer: int) -> float:
        """Mean residual norm over tokens after a layer: the unit of steering strength. Raises `VectorsError`."""
        return float(self.residual_norm[self._layer(layer)])

    def cosines(self, layer: int | None = None) -> Float[np.ndarray, "emotion emotion"]:
        """Cosine of every pair of emotions at one layer (the reading layer by default)."""
        directions = unit(self.at(self.reading_layer if layer is None else layer))
        return np.asarray(directions @ directions.T)

    def readout(self, layer: int | None = None, emotions: Sequence[str] | None = None) -> Readout:
        """The affine map from a residual to readings, in standard deviations of the fitted passages."""
        layer = self.reading_layer if layer is None else layer
        k = self._layer(layer)
        rows = [self._place(word) for word in (emotions or self.emotions)]
        weights = unit(self.directions[k, rows]) / self.spread[k, rows, None]
        words = tuple(self.emotions[row] for row in rows)
        return Readout(words, layer, weights.astype(np.float32), (-weights @ self.mean[k]).astype(np.float32))

    def check_model(self, fingerprint: str, name: str) -> None:
        """Raises `WrongModel` unless these vectors were made on the model with this fingerprint."""
        made_on = self.manifest.get("model", {})
        if made_on.get("fingerprint") != fingerprint:
            raise WrongModel(
                f"These vectors were made on {made_on.get('name', 'another model')} ({made_on.get('fingerprint')}), "
                f"not on {name} ({fingerprint}); open that model, or make vectors for this one with `foreshock study`."
            )

    def _place(self, word: str) -> int:
        word = lookup(word).word
        if word not in self.emotions:
            raise UnknownEmotion(f"These vectors have no {word!r}; they have: {', '.join(self.emotions)}.")
        return self.emotions.index(word)

    def _layer(self, layer: int) -> int:
        if layer not in self.layers:
            raise VectorsError(f"These vectors have no layer {layer}; they have {list(self.layers)}.")
        return self.layers.index(layer)

    def save(self, path: Path | str) -> None:
        """Write the file. Raises `OutputError`."""
        tensors = {name: np.ascontiguousarray(getattr(self, name), np.float32) for name in _TENSORS}
        for layer, basis in zip(self.layers, self.neutral, strict=True):
            tensors[f"neutral.{layer}"] = np.ascontiguousarray(basis, np.float32)
        header = {
            "format": FORMAT,
            "emotions": self.emotions,
            "layers": self.layers,
            "reading_layer": self.reading_layer,
            "steering_layer": self.steering_layer,
            "usable_strength": self.usable_strength,
            "layer_convention": "layer k is the residual stream after block k, counted from 0; -1 is the embeddings",
            "manifest": self.manifest,
        }
        write_bytes(Path(path), save(tensors, metadata={"foreshock": json.dumps(header)}))

    @classmethod
    def load(cls, path: Path | str) -> EmotionVectors:
        """Read a file written by `save`.

        Raises:
            VectorsError: missing, truncated, not such a file, or of a newer format.
        """
        path = Path(path)
        if not path.is_file():
            raise VectorsError(f"There is no vectors file {path}; make one with `foreshock study`.")
        try:
            with safe_open(path, framework="numpy") as file:
                header = json.loads((file.metadata() or {}).get("foreshock", "null"))
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        except (SafetensorError, OSError, json.JSONDecodeError) as problem:
            raise VectorsError(f"{path} is damaged or not a safetensors file ({problem}); make it again.") from problem
        if not isinstance(header, dict) or "format" not in header:
            raise VectorsError(f"{path} is a safetensors file without Foreshock's header; give a vectors.safetensors.")
        if header["format"] > FORMAT:
            raise VectorsError(
                f"{path} has format {header['format']} and this Foreshock reads up to {FORMAT}; update foreshock."
            )
        try:
            layers = tuple(header["layers"])
            return cls(
                emotions=tuple(header["emotions"]),
                layers=layers,
                neutral=tuple(tensors[f"neutral.{layer}"] for layer in layers),
                reading_layer=header["reading_layer"],
                steering_layer=header.get("steering_layer"),
                usable_strength=header.get("usable_strength"),
                manifest=header["manifest"],
                **{name: tensors[name] for name in _TENSORS},
            )
        except KeyError as problem:
            raise VectorsError(f"{path} lacks {problem}; it is damaged, make it again.") from problem


_TENSORS = ("directions", "mean", "spread", "residual_norm")
