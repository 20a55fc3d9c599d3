"""In vLLM's worker: what was read of each request, until it is fetched."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from foreshock.interop.vllm_request import Asked

KEEP, KEEP_BYTES = 1024, 2**30
"""Finished requests whose readings wait to be fetched, and the bytes that these may take; the oldest go first."""
_REMEMBERED = 65536
"""Dropped requests that are known to have been dropped."""


class Record:
    """What was read of one request: a row a token, from the first that is to be read, and the emotions asked for.

    A request that is thrown out and begun anew writes its rows again.
    """

    def __init__(self, inner: str, asked: Asked, columns: Int[np.ndarray, " emotion"], first: int) -> None:
        self.inner, self.asked, self.columns, self.first = inner, asked, columns, first
        self.end = self.handed = 0
        """Rows there are; rows there were when they were last handed out."""
        self._tokens = np.zeros(0, np.int32)
        self._values = np.zeros((0, len(columns)), np.float32)

    def put(self, position: int, tokens: Int[np.ndarray, " token"], values: Float[np.ndarray, "token all"]) -> None:
        """Copy the readings of all emotions of the tokens from a position of the request on; nothing else is held."""
        begin = position - self.first
        end = begin + len(tokens)
        if end > len(self._tokens):
            more = max(end, len(self._tokens) * 3 // 2) - len(self._tokens)
            self._tokens = np.concatenate([self._tokens, np.full(more, -1, np.int32)])
            self._values = np.concatenate([self._values, np.full((more, len(self.columns)), np.nan, np.float32)])
        self._tokens[begin:end], self._values[begin:end] = tokens, values[:, self.columns]
        self.end = max(self.end, end)

    @property
    def nbytes(self) -> int:
        """Bytes that are held."""
        return self._tokens.nbytes + self._values.nbytes

    def hand(self, layer: int) -> dict[str, Any]:
        """As plain values; see `Store.take`."""
        self.handed = self.end
        return {
            "id": self.asked.id,
            "emotions": list(self.asked.readings),
            "layer": layer,
            "first": self.first,
            "tokens": self._tokens[: self.end].tolist(),
            "values": self._values[: self.end].tobytes(),
        }


@dataclass(frozen=True, slots=True)
class Limits:
    """How much of what is over is kept."""

    requests: int = KEEP
    bytes: int = KEEP_BYTES


class Store:
    """Records by the ids that vLLM's users know; of two requests by one id, the newer's."""

    def __init__(self, emotions: Sequence[str], layer: int, limits: Limits | None = None) -> None:
        self._columns, self._layer = {word: k for k, word in enumerate(emotions)}, layer
        self._limits = limits or Limits()
        self._records: dict[str, Record] = {}
        self._dropped: dict[str, None] = {}

    def __len__(self) -> int:
        """Records that are kept."""
        return len(self._records)

    def open(self, inner: str, asked: Asked, first: int) -> None:
        """Begin the record of a request. `inner`: vLLM's own id of it, which no other request ever has."""
        columns = np.array([self._columns[word] for word in asked.readings])
        self._records.pop(asked.id, None)  # so that the new one stands last
        self._records[asked.id] = Record(inner, asked, columns, first)
        self._dropped.pop(asked.id, None)

    def of(self, inner: str, asked: Asked) -> Record | None:
        """The record of a request; None where a newer one by its id took its place."""
        found = self._records.get(asked.id)
        return found if found is not None and found.inner == inner else None

    def forget(self, live: Container[str]) -> None:
        """Drop, of the requests that are over, those handed out, and the oldest beyond the limits."""
        over = [record for record in self._records.values() if record.inner not in live]
        count, size = len(over), sum(record.nbytes for record in over)
        for record in over:
            late = count > self._limits.requests or size > self._limits.bytes
            if late and record.handed < record.end:
                self._dropped[record.asked.id] = None
            if late or (record.handed and record.handed == record.end):
                del self._records[record.asked.id]
                count, size = count - 1, size - record.nbytes
        for id in list(self._dropped)[: max(0, len(self._dropped) - _REMEMBERED)]:
            del self._dropped[id]

    def take(self, ids: Sequence[str], live: Container[str]) -> list[dict[str, Any]]:
        """Readings of requests, as far as there are any that were not handed out.

        Each as plain values: `id`, `emotions`, `layer`, `first` (position of the first row's token), `tokens` (ids as the
        model was given them, -1 where it was given none), and `values`, the bytes of a float32 array `[token, emotion]`.
        Where some were dropped before they were fetched, only these, as `id` and `dropped`; the others stay.
        """
        if lost := [{"id": id, "dropped": True} for id in ids if id in self._dropped]:
            return lost
        found = []
        for id in ids:
            record = self._records.get(id)
            if record is None or record.end == record.handed:
                continue
            found.append(record.hand(self._layer))
            if record.inner not in live:
                del self._records[id]
        return found
