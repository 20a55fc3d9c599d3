"""What `foreshock read` reads: files of several kinds, standard input, or the text itself, as transcripts."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import typer

from foreshock.cli.options import printable
from foreshock.errors import ForeshockError, TextError

if TYPE_CHECKING:
    from foreshock.texts.documents import Transcript

TABLES = {".jsonl", ".csv", ".parquet"}
PLAIN = {".txt", ".md"}

Row = tuple[str, dict[str, Any] | TextError]


def transcripts(source: str) -> Iterator[Transcript | ForeshockError]:
    """Each text or conversation; one that cannot be had comes as the error that it is, and the others all the same.

    Raises:
        TextError: there is no such file, or it is of no kind that can be read.
        MissingExtra: Inspect logs, and Inspect AI is not installed.
    """
    from foreshock.texts.documents import parse_transcript

    try:
        for place, row in _rows(source):
            try:
                if isinstance(row, ForeshockError):
                    raise row
                yield parse_transcript(row, place)
            except ForeshockError as problem:
                yield problem if place in str(problem) else type(problem)(f"{place}: {problem}")
    except OSError as problem:
        raise TextError(f"{source} cannot be read ({(problem.strerror or str(problem)).lower()}).") from problem


def report(problem: ForeshockError, place: str, faults: list[str]) -> None:
    """Say on standard error what is wrong with one text, naming its place, and count it; the others are read all the same."""
    sentence = str(problem) if place in str(problem) else f"{place}: {problem}"
    typer.echo(printable(f"Error: {sentence}"), err=True)
    faults.append(sentence)


def _rows(source: str) -> Iterable[Row]:
    from foreshock.texts.inspect_logs import is_log, log_rows
    from foreshock.texts.loading import each_row

    if source == "-":
        return _standard_input(sys.stdin.buffer)
    path, kind = Path(source), Path(source).suffix.lower()
    there = _is_there(path)
    if not there and (" " in source or kind not in TABLES | PLAIN | {".json", ".eval"}):
        return [("the text", {"text": source})]
    if not there:
        raise TextError(f"There is no file {source}; give a file, `-`, or a text in quotes.")
    if path.is_dir() or kind == ".eval" or (kind == ".json" and is_log(path)):
        return log_rows(path)
    if kind in TABLES:
        return each_row(path)
    if kind == ".json":
        return [(source, _json(path))]
    return [(source, {"text": path.read_text(encoding="utf-8", errors="replace")})]


def _is_there(path: Path) -> bool:
    """Whether there is such a file; a long text is no name of one, which some systems answer with an error."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def _standard_input(lines: IO[bytes]) -> Iterator[Row]:
    """Lines that begin as JSON are rows, others are texts."""
    from foreshock.texts.loading import each_line, parse_json_line

    for place, line in each_line(lines, "standard input"):
        if isinstance(line, TextError) or not line.startswith(("{", "[")):
            yield place, line if isinstance(line, TextError) else {"text": line}
            continue
        try:
            yield place, parse_json_line(line, place)
        except TextError as problem:
            yield place, problem


def _json(path: Path) -> dict[str, Any]:
    try:
        row = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as problem:
        raise TextError(f"{path} is not JSON ({problem}).") from None
    if not isinstance(row, dict) or not {"text", "messages"} & set(row):
        raise TextError(
            f"{path} is neither an Inspect log nor an object with `text` or `messages`; give a .jsonl file."
        )
    return row
