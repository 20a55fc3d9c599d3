"""Readings: how far each token's residual goes along each emotion vector.

A reading says what is operative at a token for what comes next; it is no lasting mood and no experience.
Unit: standard deviations of the passage means the vectors were fitted on; 0 is the average passage.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float

from foreshock.activations import SKIP, read_tokens
from foreshock.model import LanguageModel, Tokens
from foreshock.vectors import EmotionVectors, Readout

if TYPE_CHECKING:
    import polars


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
    vectors.check_model(model.fingerprint, model.name)
    readout = vectors.readout(layer)
    texts, kept = itertools.tee(texts)
    for tokens, hidden in zip(kept, read_tokens(model, texts, readout.layer), strict=False):
        yield Readings(tokens, readout.emotions, readout.layer, project(readout, hidden.float().cpu().numpy()))


def project(readout: Readout, residuals: Float[np.ndarray, "token hidden"]) -> Float[np.ndarray, "token emotion"]:
    """Readings of residuals: one matrix product."""
    return np.asarray(residuals @ readout.W.T + readout.b)
