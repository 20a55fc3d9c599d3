"""The passages and tokens of a corpus on which each emotion reads highest; the corpus may be larger than memory.

Progress is kept after every block of passages, so that a killed sweep goes on where it was and ends with the same
result. What is kept of two parts of a corpus adds up, in any order, to what would be kept of the whole.
"""

from __future__ import annotations

import heapq
import itertools
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from foreshock.errors import ForeshockError, OutputError
from foreshock.files import write_text
from foreshock.model import LanguageModel, Tokens
from foreshock.model.work import silent
from foreshock.readings import Readings, read_by
from foreshock.texts.corpus import Found
from foreshock.vectors import EmotionVectors, Readout

BLOCK = 256
"""Passages in one block: what a kill can cost."""
WINDOW = 256
"""Most tokens of a passage; a longer document is read in parts."""
KEPT = 10
"""Passages, and tokens, kept of each emotion."""


@dataclass(frozen=True, slots=True, order=True)
class Hit:
    """A passage in which an emotion reads high, or the token of it that reads highest."""

    reading: float
    """Mean over the passage, or of the one token; standard deviations of the vectors' fitted passages."""
    place: str
    pieces: tuple[str, ...] = field(compare=False)
    values: tuple[float, ...] = field(compare=False)
    """Reading of the emotion at each piece."""
    token: int | None = field(default=None, compare=False)
    """Which piece, for a token."""


@dataclass(slots=True)
class Tops:
    """The highest passages and tokens of each emotion among the passages read so far. Two of them add up."""

    documents: int = 0
    passages: int = 0
    tokens: int = 0
    faults: int = 0
    """Documents that could not be read."""
    by_passage: dict[str, list[Hit]] = field(default_factory=dict)
    by_token: dict[str, list[Hit]] = field(default_factory=dict)

    def __add__(self, other: Tops) -> Tops:
        merged = Tops(*(getattr(self, n) + getattr(other, n) for n in ("documents", "passages", "tokens", "faults")))
        for name in ("by_passage", "by_token"):
            mine, theirs = getattr(self, name), getattr(other, name)
            both = {word: [*mine.get(word, []), *theirs.get(word, [])] for word in {**mine, **theirs}}
            setattr(merged, name, {word: heapq.nlargest(KEPT, hits) for word, hits in both.items()})
        return merged

    def to_json(self) -> dict[str, Any]:
        """Plain data; `from_json` reads it back."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Tops:
        """The other way of `to_json`."""
        tops = cls(content["documents"], content["passages"], content["tokens"], content["faults"])
        for name, kept in (("by_passage", tops.by_passage), ("by_token", tops.by_token)):
            kept.update({word: [_hit(one) for one in hits] for word, hits in content[name].items()})
        return tops


def _hit(content: dict[str, Any]) -> Hit:
    return Hit(**{**content, "pieces": tuple(content["pieces"]), "values": tuple(content["values"])})


def sweep(
    model: LanguageModel,
    vectors: EmotionVectors,
    corpus: Iterable[Found],
    state: Path,
    *,
    corpus_id: str = "",
    progress: Callable[[Tops], None] | None = None,
    complain: Callable[[ForeshockError], None] | None = None,
) -> Tops:
    """Read a corpus at the reading layer and keep what reads highest.

    Args:
        corpus: documents in a fixed order, as `texts.corpus.documents` gives them.
        state: where progress is kept; a file left by an earlier run of the same sweep is gone on from.
        corpus_id: tells this corpus from others (`texts.corpus.identity`).
        progress: called after every block. complain: called for each document that cannot be read.

    Raises:
        WrongModel: the vectors were made on another model.
        OutputError: `state` belongs to another sweep (corpus, vectors, model), or cannot be written.
    """
    vectors.check_model(model.fingerprint, model.name)
    made_by = {"vectors": vectors.manifest, "layer": vectors.reading_layer, "corpus": corpus_id, "window": WINDOW}
    made_by["model"] = f"{model.setup} {model.dtype}"
    made_by["block"] = BLOCK
    done = _resumed(state, made_by)

    def missing() -> Iterator[tuple[int, list[Found]]]:
        documents = iter(corpus)
        for number in itertools.count():
            if not (block := list(itertools.islice(documents, BLOCK))):
                return
            if not done.has(number):
                yield number, block

    readout = vectors.readout(vectors.reading_layer)
    for number, found in model.each(partial(_read_block, readout=readout), missing(), complain or silent):
        done.add(number, found)
        write_text(state, json.dumps({"made_by": made_by, **done.to_json()}, allow_nan=False))
        if progress:
            progress(done.tops)
    return done.tops


@dataclass(slots=True)
class _Done:
    """Which blocks are read, and what was kept of them. Workers may end a later block before an earlier one."""

    tops: Tops = field(default_factory=Tops)
    first: int = 0
    """All blocks before this one are done."""
    ahead: set[int] = field(default_factory=set)
    """Blocks after it that are done too."""

    def has(self, number: int) -> bool:
        return number < self.first or number in self.ahead

    def add(self, number: int, found: Tops) -> None:
        self.tops = self.tops + found
        self.ahead.add(number)
        while self.first in self.ahead:
            self.ahead.remove(self.first)
            self.first += 1

    def to_json(self) -> dict[str, Any]:
        return {"tops": self.tops.to_json(), "first": self.first, "ahead": sorted(self.ahead)}


def _resumed(state: Path, made_by: dict[str, Any]) -> _Done:
    if not state.is_file():
        return _Done()
    try:
        content = json.loads(state.read_text(encoding="utf-8"))
        done = _Done(Tops.from_json(content["tops"]), content["first"], set(content["ahead"]))
    except (ValueError, KeyError, TypeError):
        raise OutputError(f"{state} is no state of a sweep; delete it, or choose another folder.") from None
    if content.get("made_by") != made_by:
        raise OutputError(
            f"{state} belongs to a sweep of another corpus (or of this one before it changed), with other vectors or "
            "another model; delete it, or choose another folder."
        )
    return done


def _read_block(
    model: LanguageModel, block: list[Found], complain: Callable[[ForeshockError], None], readout: Readout
) -> Tops:
    found = Tops(documents=len(block))
    texts: list[tuple[str, Tokens]] = []
    for place, document in block:
        try:
            texts += [(place, part) for part in _parts(model, document)]
        except ForeshockError as problem:
            found.faults += 1
            complain(problem)
    return found + _tops(model, readout, texts)


def _parts(model: LanguageModel, document: Any) -> Iterator[Tokens]:
    """A document as passages of at most `WINDOW` tokens."""
    if isinstance(document, ForeshockError):
        raise document
    if not isinstance(document, str):
        yield model.encode_transcript(document)
        return
    spans = model.tokenizer(document, return_offsets_mapping=True, add_special_tokens=False, verbose=False)
    starts = [start for start, _ in spans["offset_mapping"]][::WINDOW] or [0]
    for start, end in itertools.pairwise([*starts, len(document)]):
        if document[start:end].strip():
            yield model.encode(document[start:end])


def _tops(model: LanguageModel, readout: Readout, texts: list[tuple[str, Tokens]]) -> Tops:
    tops = Tops(passages=len(texts), tokens=sum(len(tokens) for _, tokens in texts))
    if not texts:
        return tops
    hits: list[tuple[str, Readings]] = []
    for (place, _), readings in zip(texts, read_by(model, readout, [tokens for _, tokens in texts]), strict=True):
        hits.append((place, readings))
    means = np.array([readings.values[readings.counted()].mean(0) for _, readings in hits])
    peaks = np.array([np.where(r.counted()[:, None], r.values, -np.inf).max(0) for _, r in hits])
    for k, word in enumerate(hits[0][1].emotions):
        best = np.argsort(-means[:, k], kind="stable")[:KEPT]
        tops.by_passage[word] = [_shown(hits[row], k, float(means[row, k])) for row in best]
        best = np.argsort(-peaks[:, k], kind="stable")[:KEPT]
        tops.by_token[word] = [_shown(hits[row], k, float(peaks[row, k]), peak=True) for row in best]
    return tops


def _shown(read_at: tuple[str, Readings], emotion: int, reading: float, peak: bool = False) -> Hit:
    place, readings = read_at
    values = readings.values[:, emotion]
    token = int(np.where(readings.counted(), values, -np.inf).argmax()) if peak else None
    pieces = tuple(readings.tokens.pieces())
    return Hit(round(reading, 4), place, pieces, tuple(round(float(value), 2) for value in values), token)
