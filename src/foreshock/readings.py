"""Readings: how far each token's residual goes along each emotion vector.

A reading says what is operative at a token for what comes next; it is no lasting mood and no experience.
Unit: standard deviations of the passage means the vectors were fitted on; 0 is the average passage.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.ndimage import uniform_filter1d
from torch.nn import functional

from foreshock.activations import BLOCK, SKIP
from foreshock.errors import TextError
from foreshock.model import LanguageModel, Tokens
from foreshock.model.stream import Residual
from foreshock.model.work import Tell, in_order, silent
from foreshock.vectors import EmotionVectors, Readout

if TYPE_CHECKING:
    import polars

BLOCK_TOKENS = 65_536
"""Tokens after which a block of texts is full: their readings, and nothing else, are in memory together."""


@dataclass(frozen=True, slots=True)
class Readings:
    """Readings of one text at one layer: a row a token, a column an emotion."""

    tokens: Tokens
    emotions: tuple[str, ...]
    layer: int
    values: Float[np.ndarray, "token emotion"]

    def counted(self) -> Bool[np.ndarray, " token"]:
        """Tokens that means are over: the messages' own words, without the first few where the attention sink sits.

        A text too short for that is represented by its last token.
        """
        own = np.array(self.tokens.content)
        own[:SKIP] = False
        if not own.any():
            own[-1] = True
        return own

    def mean(self) -> dict[str, float]:
        """Mean reading of each emotion over the counted tokens."""
        return self._named(self.values[self.counted()].mean(0))

    def by_turn(self) -> list[tuple[int, str, dict[str, float]]]:
        """Number, role and mean reading of each turn's own words."""
        turns, content = np.array(self.tokens.turns), np.array(self.tokens.content)
        found = []
        for turn in sorted(set(self.tokens.turns)):
            rows = (turns == turn) & content
            if rows.any():
                role = self.tokens.roles[int(np.flatnonzero(rows)[0])]
                found.append((turn, role, self._named(self.values[rows].mean(0))))
        return found

    def smoothed(self, window: int) -> Readings:
        """The same, averaged over `window` neighbouring tokens; single tokens are noisy. 1 changes nothing.

        A centred moving average over the counted tokens of a turn: of an even window one more token lies before than
        after. It never reaches into another turn; near a turn's ends it is over the tokens that are there. Tokens that
        are not counted (the template's, and the attention sink's, whose readings are beyond any scale) stay as they are.

        For looking at finished texts: it sees what comes after a token. Monitoring rules use trailing means instead.

        Raises:
            TextError: the window is less than 1.
        """
        if window < 1:
            raise TextError(f"A window of {window} tokens holds none; give at least 1.")
        if window == 1:
            return self
        values, turns, counted = self.values.astype(np.float64), np.array(self.tokens.turns), self.counted()
        for turn in sorted(set(self.tokens.turns)):
            own = counted & (turns == turn)
            if own.any():
                near = uniform_filter1d(np.ones(own.sum()), window, mode="constant")
                values[own] = uniform_filter1d(values[own], window, axis=0, mode="constant") / near[:, None]
        return replace(self, values=values.astype(self.values.dtype))

    def top(self, count: int = 5) -> list[tuple[str, float]]:
        """The emotions that read highest on average."""
        return sorted(self.mean().items(), key=lambda pair: -pair[1])[:count]

    def to_frame(self) -> polars.DataFrame:
        """One row a token: its text, characters, role, turn, and a column for each emotion."""
        import polars

        tokens: dict[str, Any] = {
            "token": self.tokens.pieces(),
            "start": [start for start, _ in self.tokens.spans],
            "end": [end for _, end in self.tokens.spans],
            "role": self.tokens.roles,
            "turn": self.tokens.turns,
        }
        return polars.DataFrame(tokens | {word: self.values[:, k] for k, word in enumerate(self.emotions)})

    def _named(self, row: Float[np.ndarray, " emotion"]) -> dict[str, float]:
        return {word: float(value) for word, value in zip(self.emotions, row, strict=True)}


def read(
    model: LanguageModel, vectors: EmotionVectors, texts: Iterable[Tokens], layer: int | None = None
) -> Iterator[Readings]:
    """Readings of each text, in order; texts may be more than memory holds.

    Raises:
        WrongModel: the vectors were made on another model.
        VectorsError: the vectors lack the layer.
    """
    layers = None if layer is None else [layer]
    return (readings for (readings,) in read_layers(model, vectors, texts, layers))


def read_layers(
    model: LanguageModel,
    vectors: EmotionVectors,
    texts: Iterable[Tokens],
    layers: Sequence[int] | None = None,
    budget: int = 2048,
) -> Iterator[list[Readings]]:
    """Readings of each text at several layers, in the layers' order, from one forward pass.

    Args:
        texts: read once, a block ahead; may be more than memory holds.
        layers: left out: the reading layer.
        budget: most tokens in a batch, padding included.

    Raises:
        WrongModel: the vectors were made on another model.
        VectorsError: the vectors lack a layer.
        NotFinite: the model gives NaN or infinity.
    """
    vectors.check_model(model.fingerprint, model.name)
    readouts = [vectors.readout(layer) for layer in layers or [vectors.reading_layer]]
    work = partial(_read_block, readouts=readouts, budget=budget)
    for block in in_order(model.each(work, enumerate(_blocks(texts)))):
        yield from block


def read_by(model: LanguageModel, readout: Readout, texts: Iterable[Tokens], budget: int = 4096) -> Iterator[Readings]:
    """Readings by one readout, in this process: what a worker does. The readout is not checked to be of this model.

    Raises:
        NotFinite: the model gives NaN or infinity.
    """
    for block in _blocks(texts):
        yield from (readings for (readings,) in _read_block(model, block, silent, [readout], budget))


def _read_block(
    model: LanguageModel, block: list[Tokens], _tell: Tell, readouts: list[Readout], budget: int
) -> list[list[Readings]]:
    wanted = sorted({readout.layer for readout in readouts})
    found: dict[int, list[Readings]] = {}
    for batch in model.batches([text.ids for text in block], budget):
        hidden = model.residuals(batch, wanted)
        values = [_projected(one, hidden[one.layer]) for one in readouts]
        for place, row in enumerate(batch.rows):
            text = block[row]
            found[row] = [
                Readings(text, one.emotions, one.layer, own[place, : len(text)].copy())
                for one, own in zip(readouts, values, strict=True)
            ]
    return [found[row] for row in range(len(block))]


def _blocks(texts: Iterable[Tokens]) -> Iterator[list[Tokens]]:
    """Texts by the few hundred, so that batches can be sorted by length, and fewer of them where they are long."""
    block: list[Tokens] = []
    size = 0
    for text in texts:
        block.append(text)
        size += len(text)
        if len(block) == BLOCK or size >= BLOCK_TOKENS:
            yield block
            block, size = [], 0
    if block:
        yield block


def _projected(readout: Readout, hidden: Residual) -> Float[np.ndarray, "batch token emotion"]:
    """In torch, whose threads NumPy's would fight: that took a third of a corpus's time."""
    W, b = torch.from_numpy(readout.W).to(hidden.device), torch.from_numpy(readout.b).to(hidden.device)
    return functional.linear(hidden.float(), W, b).cpu().numpy()


def project(readout: Readout, residuals: Float[np.ndarray, "token hidden"]) -> Float[np.ndarray, "token emotion"]:
    """Readings of residuals: one matrix product."""
    return np.asarray(residuals @ readout.W.T + readout.b)
