"""A corpus larger than memory, one document after the other: JSONL, CSV, Parquet or plain text, a file or a folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from foreshock.errors import ForeshockError, TextError
from foreshock.texts.documents import Document, encodable, parse_document
from foreshock.texts.loading import each_row

KINDS = (".jsonl", ".csv", ".parquet", ".txt", ".md")
PARAGRAPH = 4000
"""A plain text is read by paragraphs; one of more characters than this is cut."""
Found = tuple[str, Document | ForeshockError]
"""A document's place (`FILE, line 3`) with the document, or with what is wrong with it."""


def identity(corpus: Path) -> str:
    """Tells one corpus from another, and from itself after a change: names, sizes and times of its files."""
    files = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in _files(corpus)]
    return hashlib.sha256(json.dumps(files).encode()).hexdigest()[:24]


def documents(corpus: Path) -> Iterator[Found]:
    """Every document of a file, or of all files of a folder in the order of their names.

    A row that cannot be read comes as the error it is, so that the others are read all the same.

    Raises:
        TextError: there is no such file, or none of a kind that can be read.
    """
    for path in _files(corpus):
        yield from _plain(path) if path.suffix.lower() in (".txt", ".md") else _table(path)


def _files(corpus: Path) -> list[Path]:
    if corpus.is_dir():
        files = sorted(path for path in corpus.rglob("*") if path.suffix.lower() in KINDS and path.is_file())
    else:
        files = [corpus] if corpus.is_file() else []
    if not files or files[0].suffix.lower() not in KINDS:
        raise TextError(f"{corpus} is no corpus; give a {', '.join(KINDS)} file or a folder of them.")
    return files


def _table(path: Path) -> Iterator[Found]:
    for place, row in each_row(path):
        try:
            if isinstance(row, ForeshockError):
                raise row
            yield place, parse_document(row, place)
        except ForeshockError as problem:
            yield place, problem


def _plain(path: Path) -> Iterator[Found]:
    """Paragraphs, parted by empty lines; bytes that are no UTF-8 become replacement signs."""
    paragraph: list[str] = []
    size = begun = 0
    with open(path, encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines, 1):
            begun = begun if paragraph else number
            if line.strip():
                paragraph.append(line)
                size += len(line)
            if paragraph and (not line.strip() or size >= PARAGRAPH):
                yield from _cut("".join(paragraph).strip(), f"{path}, line {begun}")
                paragraph, size = [], 0
    if paragraph:
        yield from _cut("".join(paragraph).strip(), f"{path}, line {begun}")


def _cut(text: str, place: str) -> Iterator[Found]:
    for start in range(0, len(text), PARAGRAPH):
        yield place, encodable(text[start : start + PARAGRAPH], place)
