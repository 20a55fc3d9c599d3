"""A user's own texts: rows of JSONL, CSV or Parquet, checked one by one, with the line named when wrong."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from foreshock.errors import ForeshockError, TextError
from foreshock.texts.schema import Passage, PropensityItem

Row = TypeVar("Row", bound=BaseModel)


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
    """Each row of a table file with its place (`FILE, line 3`), one at a time."""
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


def numbered_lines(lines: Iterable[bytes], name: str) -> Iterator[tuple[str, str]]:
    """The non-empty lines of a file opened in binary, decoded, each with its place."""
    for number, raw in enumerate(lines, 1):
        place = f"{name}, line {number}"
        try:
            line = raw.decode("utf-8-sig" if number == 1 else "utf-8").strip()
        except UnicodeDecodeError:
            raise TextError(f"{place} is not UTF-8 text; save the file as UTF-8.") from None
        if line:
            yield place, line


def _jsonl(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    with open(path, "rb") as lines:
        for place, line in numbered_lines(lines, str(path)):
            yield place, parse_json_line(line, place)


def _csv(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    with open(path, encoding="utf-8-sig", newline="") as table:
        reader = csv.DictReader(table)
        try:
            for row in reader:
                if None in row:
                    raise TextError(f"{path}, line {reader.line_num} has more cells than the header; quote the commas.")
                yield f"{path}, line {reader.line_num}", row
        except (csv.Error, UnicodeDecodeError) as problem:
            raise TextError(f"{path}, line {reader.line_num} is not CSV in UTF-8 ({problem}).") from problem


def _parquet(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    import polars

    try:
        for number, row in enumerate(polars.read_parquet(path).iter_rows(named=True), 1):
            yield f"{path}, row {number}", row
    except polars.exceptions.PolarsError as problem:
        raise TextError(f"{path} is not a Parquet file ({problem}).") from problem
