"""A user's own texts: rows of JSONL, CSV or Parquet, checked one by one, with the line named when wrong."""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, TypeVar

from pydantic import BaseModel, ValidationError

from foreshock.errors import ForeshockError, TextError
from foreshock.texts.schema import Passage, PropensityItem

Row = TypeVar("Row", bound=BaseModel)
Found = tuple[str, dict[str, Any] | TextError]
"""A row and its place, or the error that it is."""

LONGEST = 50_000_000
"""Most bytes of a line. A longer one is no text that a model takes, and would fill memory."""


def load_passages(path: Path | str) -> list[Passage]:
    """Passages from a `.jsonl`, `.csv` or `.parquet` file with at least the columns `text` and `emotion`.

    Raises:
        TextError: the file is missing, of another kind, empty, or a row does not fit; the row is named.
        UnknownEmotion: a row's emotion is not in the catalogue.
    """
    path = Path(path)
    passages = [parse_row(Passage, row, place) for place, row in rows_of(path)]
    if not passages:
        raise TextError(f"{path} holds no rows; give at least two emotions with two passages each.")
    return passages


def load_propensity_items(path: Path | str) -> list[PropensityItem]:
    """Propensity items from a `.jsonl` file, one a line.

    Raises:
        TextError: the file is missing, of another kind, empty, or a row does not fit; the row is named.
    """
    path = Path(path)
    items = [parse_row(PropensityItem, row, place) for place, row in rows_of(path)]
    if not items:
        raise TextError(f"{path} holds no items; give two or more of a family, one JSON object a line.")
    return items


def rows_of(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each row of a table file with its place (`FILE, line 3`), one at a time.

    Raises:
        TextError: the file is missing or of another kind, or (when it is reached) a row is none.
    """
    for place, row in each_row(path):
        if isinstance(row, TextError):
            raise row
        yield place, row


def each_row(path: Path) -> Iterator[Found]:
    """The same, where a row that cannot be had comes as the error it is, and the others come all the same."""
    kind = path.suffix.lower()
    readers = {".jsonl": _jsonl, ".csv": _csv, ".parquet": _parquet}
    if kind not in readers:
        raise TextError(f"{path} is a {kind or 'nameless'} file; texts are read from .jsonl, .csv or .parquet.")
    if not path.is_file():
        raise TextError(f"{path} does not exist; give the path of a .jsonl, .csv or .parquet file.")
    return readers[kind](path)


def parse_row(schema: type[Row], row: dict[str, Any], place: str) -> Row:
    """`row` as `schema`; what is wrong is said with its place. Empty cells count as left out."""
    try:
        return schema.model_validate({key: value for key, value in row.items() if value not in (None, "")})
    except ValidationError as problem:
        first = problem.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "row"
        fields = ", ".join(name for name, info in schema.model_fields.items() if info.is_required())
        raise TextError(f"{place}: {field}: {first['msg'].lower()}. A row needs the fields {fields}.") from problem
    except ForeshockError as problem:
        raise type(problem)(f"{place}: {problem}") from problem


def parse_json_line(line: str, place: str) -> dict[str, Any]:
    """One line of JSONL as an object. Raises `TextError` with the place when it is none."""
    try:
        row = json.loads(line)
    except json.JSONDecodeError as problem:
        raise TextError(
            f"{place} is not JSON ({problem.msg}, column {problem.colno}); give one object a line."
        ) from None
    except RecursionError:
        raise TextError(f"{place} is nested too deeply; give one flat object a line.") from None
    if not isinstance(row, dict):
        raise TextError(f"{place} is a JSON {type(row).__name__}; give one object a line.")
    return row


def each_line(lines: IO[bytes], name: str) -> Iterator[tuple[str, str | TextError]]:
    """The non-empty lines of a file opened in binary, decoded, each with its place.

    A line that is not UTF-8, or longer than `LONGEST`, comes as the error it is; no more of one is ever in memory.
    """
    for number in itertools.count(1):
        place = f"{name}, line {number}"
        raw = lines.readline(LONGEST + 1)
        if not raw:
            return
        if len(raw) > LONGEST:
            while raw and not raw.endswith(b"\n"):
                raw = lines.readline(LONGEST)
            yield (
                place,
                TextError(f"{place} is longer than {LONGEST / 1e6:.0f} MB; give one text or conversation a line."),
            )
            continue
        try:
            line = raw.decode("utf-8-sig" if number == 1 else "utf-8").strip()
        except UnicodeDecodeError:
            yield place, TextError(f"{place} is not UTF-8 text; save the file as UTF-8.")
            continue
        if line:
            yield place, line


def _jsonl(path: Path) -> Iterator[Found]:
    with open(path, "rb") as lines:
        for place, line in each_line(lines, str(path)):
            try:
                yield place, line if isinstance(line, TextError) else parse_json_line(line, place)
            except TextError as problem:
                yield place, problem


def _csv(path: Path) -> Iterator[Found]:
    csv.field_size_limit(LONGEST)  # Python's own limit, 131,072 characters, is less than a long conversation
    with open(path, encoding="utf-8-sig", newline="") as table:
        reader = csv.DictReader(table)
        while True:
            try:
                row = next(reader, None)
                place = f"{path}, line {reader.line_num}"
            except (csv.Error, UnicodeDecodeError) as problem:
                # What follows cannot be cut into rows any more.
                place = f"{path}, line {reader.line_num + 1}"
                yield place, TextError(f"{place} or later is not CSV in UTF-8 ({problem}); the rest is not read.")
                return
            if row is None:
                return
            if None in row:
                yield place, TextError(f"{place} has more cells than the header; quote the commas.")
            else:
                yield place, row


def _parquet(path: Path) -> Iterator[Found]:
    import polars

    try:
        for number, row in enumerate(polars.read_parquet(path).iter_rows(named=True), 1):
            yield f"{path}, row {number}", row
    except polars.exceptions.PolarsError as problem:
        raise TextError(f"{path} is not a Parquet file ({problem}).") from problem
