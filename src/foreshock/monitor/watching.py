"""Streaming readings: what `foreshock.readings.read` says of a finished text, said while the model runs over it.

A pass of the model, whether it takes in a prompt, a part of one or a single new token, gives the readings of its own
tokens and no others, so the cost of a token does not grow with the conversation, and nothing is kept here.

**Steering.** Contexts entered earlier see the stream first. Inside of `model.steered(…)` the readings are of the stream
as it goes on, with what was added at the watched layer; outside of it, of the stream before that.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from foreshock.errors import MonitorError
from foreshock.model import LanguageModel, Site
from foreshock.model.language_model import check_finite
from foreshock.model.places import STATE, Places, placed
from foreshock.model.stream import Reader, Residual
from foreshock.vectors import EmotionVectors

NO_ID = -1
"""In place of a token's id where the model was given embeddings."""


@dataclass(frozen=True, slots=True)
class Block:
    """Readings of the tokens that one pass has run over in one row of its batch."""

    row: int
    start: int
    """Absolute position of the first of these tokens; 0 begins a text, padding left out."""
    ids: Int[np.ndarray, " token"]
    values: Float[np.ndarray, "token layer emotion"]
    """In the unit of `foreshock.readings`: standard deviations of the passages the vectors were fitted on."""
    cache: object | None = None
    """The key-value cache that the pass was given; it tells batches that run in turn apart."""


class Watch:
    """The emotions of some vectors, read at some layers of a running model.

    Args:
        layers: where to read; left out: the vectors' reading layer.
        emotions: which ones; left out: all.

    Raises:
        WrongModel: the vectors were made on another model.
        VectorsError, UnknownEmotion: they lack a layer or an emotion.
    """

    def __init__(
        self,
        model: LanguageModel,
        vectors: EmotionVectors,
        layers: Sequence[int] | None = None,
        emotions: Sequence[str] | None = None,
    ) -> None:
        vectors.check_model(model.fingerprint, model.name)
        self.model = model
        self.layers = tuple(sorted(set(layers or [vectors.reading_layer])))
        readouts = [vectors.readout(layer, emotions) for layer in self.layers]
        self.emotions = readouts[0].emotions
        self._maps = [(torch.from_numpy(readout.W), torch.from_numpy(readout.b)) for readout in readouts]

    def readings(self, hidden: Float[Tensor, "token hidden"], k: int) -> Float[np.ndarray, "token emotion"]:
        """Readings of residuals after the k-th watched layer."""
        W, b = self._maps[k] = tuple(part.to(hidden.device) for part in self._maps[k])  # type: ignore[assignment]
        return functional.linear(hidden.detach().float(), W, b).cpu().numpy()

    @contextlib.contextmanager
    def on(self, take: Callable[[list[Block]], object]) -> Iterator[None]:
        """Every pass inside hands its blocks to `take`, a block a row, once the deepest watched layer has run.

        Raises:
            NotFinite: (in the pass) readings are NaN or infinite.
            MonitorError: (in the pass) the model keeps a state that does not say where its tokens stand.
        """
        decoder: nn.Module = self.model.anatomy.decoder
        with placed(decoder) as places:
            running = _Pass(self.layers, self._maps, places, take)
            handle = decoder.register_forward_pre_hook(running.begin, with_kwargs=True)
            try:
                with self.model.hooked({Site(layer): running.reader(k) for k, layer in enumerate(self.layers)}):
                    yield
            finally:
                handle.remove()


class _Pass:
    """The running pass: its token ids, and the readings of the layers that have run."""

    def __init__(
        self,
        layers: tuple[int, ...],
        maps: list[tuple[Tensor, Tensor]],
        places: Places,
        take: Callable[[list[Block]], object],
    ) -> None:
        self.layers, self.maps, self.places, self.take = layers, list(maps), places, take
        self.ids: Tensor | None = None
        self.mask: Any = None
        self.cache: object | None = None
        self.streams: list[Residual] = []

    def begin(self, _decoder: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.ids = kwargs.get("input_ids", args[0] if args else None)
        self.mask, self.cache = kwargs.get("attention_mask"), kwargs.get("past_key_values")
        self.streams = []

    def reader(self, k: int) -> Reader:
        def read(hidden: Residual) -> None:
            self.streams.append(hidden.detach().to(torch.float32, copy=True))
            if k == len(self.layers) - 1:
                self.take(self._blocks())

        return read

    def _readings(self) -> Float[np.ndarray, "batch token layer emotion"]:
        """All layers' products one after the other once the pass got there: between the model's own kernels, each would
        begin with cold caches."""
        found = []
        for k, stream in enumerate(self.streams):
            W, b = self.maps[k]
            if W.device != stream.device:
                W, b = self.maps[k] = W.to(stream.device), b.to(stream.device)
            found.append(functional.linear(stream, W, b).cpu().numpy())
        self.streams = []
        return np.stack(found, 2)

    def _blocks(self) -> list[Block]:
        if self.places.unclear == STATE:
            raise MonitorError(f"A conversation cannot be followed: {STATE}; read the finished text instead.")
        values = self._readings()
        positions: Int[np.ndarray, "batch token"] = self.places.positions.cpu().numpy()
        real: Bool[np.ndarray, "batch token"] = np.asarray(positions >= 0)
        if isinstance(self.mask, Tensor) and self.mask.ndim == 2:  # a static cache comes with ready-made masks
            real &= self.mask[:, -positions.shape[1] :].cpu().numpy().astype(bool)  # what is padded on the right
        ids = np.full_like(positions, NO_ID) if self.ids is None else self.ids.cpu().numpy()
        whole: Bool[np.ndarray, " batch"] = np.atleast_1d(real.all(1))
        blocks = []
        for row in np.flatnonzero(real.any(1)).tolist():
            own = slice(None) if whole[row] else real[row]  # of whole rows nothing is copied
            blocks.append(Block(row, int(positions[row, own][0]), ids[row, own], values[row, own], self.cache))
        if not np.isfinite(values[real] if not whole.all() else values).all():
            for k, layer in enumerate(self.layers):
                check_finite(torch.from_numpy(values[real][:, k]), layer)
        return blocks
