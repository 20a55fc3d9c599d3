"""`foreshock read`: the emotion readings of texts and conversations."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from foreshock.cli.options import Device, Dtype, DtypeOption, opened, printable
from foreshock.errors import ForeshockError, TextError, VectorsError

if TYPE_CHECKING:
    from foreshock.model import LanguageModel, Tokens
    from foreshock.readings import Readings

DEFAULT_VECTORS = Path("study/embedded/vectors.safetensors")
TABLES = {".jsonl", ".csv", ".parquet"}


def read(
    source: Annotated[
        str, typer.Argument(help="A .jsonl, .csv, .parquet or .txt file, `-` for standard input, or the text itself.")
    ] = "-",
    vectors: Annotated[Path, typer.Option(help="A study's vectors.safetensors.")] = DEFAULT_VECTORS,
    model: Annotated[
        str | None,
        typer.Option(help="The model the vectors were made on, when it lies elsewhere now.", show_default=False),
    ] = None,
    layer: Annotated[
        int | None, typer.Option(help="Layer to read at; left out: the reading layer.", show_default=False)
    ] = None,
    emotion: Annotated[
        str | None, typer.Option(help="Emotion to tint the text by; left out: the highest.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a text: `mean`, emotion → reading.")] = False,
    tokens: Annotated[
        bool, typer.Option("--tokens", help="With --json: also `tokens`, `values` and `emotions`.")
    ] = False,
    dtype: DtypeOption = Dtype.auto,
    device: Device = None,
) -> None:
    """Read texts along the emotion vectors of a model: which emotions are operative, token by token.

    A .jsonl line is an object with `text`, or with `messages` (OpenAI's chat format). A line that cannot be read is named on
    standard error, the others are read all the same, and the exit code is 2.

    Examples: `foreshock read "She is not answering her phone."` · `foreshock read chats.jsonl --json --tokens > out.jsonl`
    """
    rows = _documents(source)
    first = next(rows, None)  # a missing or empty source is said before the model is opened
    if first is None:
        raise TextError(f"{source} holds no text; give at least one line.")

    from foreshock.readings import read as read_texts
    from foreshock.vectors import EmotionVectors

    if not vectors.is_file() and vectors == DEFAULT_VECTORS:
        raise VectorsError(
            f"There are no vectors at {vectors}; run `foreshock study` first, or say where with --vectors."
        )
    loaded = EmotionVectors.load(vectors)
    loaded.readout(layer, [emotion] if emotion else None)  # a wrong layer or emotion, before the model is opened
    made_on = loaded.manifest.get("model", {}).get("name")
    subject = opened(model or made_on, dtype, device)
    places: list[tuple[str, Any]] = []
    faults: list[str] = []
    texts = _encoded(subject, _chain(first, rows), places, faults)
    for number, readings in enumerate(read_texts(subject, loaded, texts, layer)):
        place, name = places[number]
        if as_json:
            typer.echo(json.dumps(_record(readings, place, name, tokens), ensure_ascii=False))
        else:
            _show(readings, emotion)
    if faults:
        raise typer.Exit(2)


def _chain(first: Any, rest: Iterator[Any]) -> Iterator[Any]:
    yield first
    yield from rest


def _documents(source: str) -> Iterator[tuple[str, dict[str, Any] | ForeshockError]]:
    """Each document as an object with its place; a line that is no object comes as the error it is."""
    from foreshock.texts.loading import numbered_lines, parse_json_line, rows_of

    path = Path(source)
    if source == "-" or path.suffix.lower() == ".jsonl":
        if source != "-" and not path.is_file():
            raise TextError(f"There is no file {source}; give a .jsonl file, or a text in quotes.")
        lines = sys.stdin.buffer if source == "-" else open(path, "rb")  # noqa: SIM115 (closed below)
        with lines:
            for place, line in numbered_lines(lines, "standard input" if source == "-" else source):
                if source == "-" and not line.startswith(("{", "[")):
                    yield place, {"text": line}
                    continue
                try:
                    yield place, parse_json_line(line, place)
                except ForeshockError as problem:
                    yield place, problem
    elif path.suffix.lower() in TABLES:
        yield from rows_of(path)
    elif len(source) < 4096 and path.is_file():
        yield source, {"text": path.read_text(encoding="utf-8", errors="replace")}
    elif path.suffix.lower() in {".txt", ".md", ".json"} and " " not in source:
        raise TextError(f"There is no file {source}; give a file, `-`, or a text in quotes.")
    else:
        yield "the text", {"text": source}


def _encoded(
    model: LanguageModel, rows: Iterator[tuple[str, Any]], places: list[tuple[str, Any]], faults: list[str]
) -> Iterator[Tokens]:
    """Tokens of each document that can be read; the others are said on standard error and counted."""
    from foreshock.texts.documents import parse_document

    for place, row in rows:
        try:
            if isinstance(row, ForeshockError):
                raise row
            tokens = model.encode(parse_document(row, place))
        except ForeshockError as problem:
            sentence = str(problem) if place in str(problem) else f"{place}: {problem}"
            typer.echo(f"Error: {sentence}", err=True)
            faults.append(sentence)
            continue
        places.append((place, row.get("id")))
        yield tokens


def _record(readings: Readings, place: str, name: Any, tokens: bool) -> dict[str, Any]:
    record: dict[str, Any] = {"source": place} | ({"id": name} if name is not None else {})
    record |= {"layer": readings.layer, "mean": {word: round(value, 4) for word, value in readings.mean().items()}}
    if len(readings.tokens.turns) and "text" not in readings.tokens.roles:
        record["turns"] = [
            {"turn": turn, "role": role, "mean": {word: round(value, 4) for word, value in mean.items()}}
            for turn, role, mean in readings.by_turn()
        ]
    if tokens:
        record |= {
            "tokens": readings.tokens.pieces(),
            "roles": readings.tokens.roles,
            "emotions": list(readings.emotions),
        }
        record["values"] = [[round(float(value), 4) for value in row] for row in readings.values]
    return record


def _show(readings: Readings, emotion: str | None) -> None:
    """The text tinted by one emotion, and the readings that stand out."""
    from rich.console import Console
    from rich.text import Text

    from foreshock.emotions import lookup

    console = Console(highlight=False)
    top = readings.top(5)
    word = lookup(emotion).word if emotion else top[0][0]
    column = readings.values[:, readings.emotions.index(word)]
    line = Text()
    for piece, value in zip(readings.tokens.pieces(), column, strict=True):
        strength = min(1.0, abs(float(value)) / 6)
        warm = (255, int(255 - 120 * strength), int(255 - 200 * strength))
        cool = (int(255 - 170 * strength), int(255 - 90 * strength), 255)
        red, green, blue = warm if value >= 0 else cool
        line.append(printable(piece), style=f"black on rgb({red},{green},{blue})")
    console.print(line)
    console.print(
        f"[dim]tinted by[/] {word}[dim], layer {readings.layer}; mean readings:[/] "
        + "  ".join(f"{w} [bold]{v:+.2f}[/]" for w, v in top)
    )
    console.print()
