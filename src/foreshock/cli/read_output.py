"""What `foreshock read` gives: the terminal, JSON lines, a Parquet file, a page. Each is a function that takes readings."""

from __future__ import annotations

import contextlib
import json
import re
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from foreshock.cli.options import printable
from foreshock.cli.tinting import tint
from foreshock.errors import OutputError
from foreshock.files import write_text, written_aside

if TYPE_CHECKING:
    import polars
    from rich.text import Text

    from foreshock.monitor.store.records import Alarm
    from foreshock.readings import Readings
    from foreshock.texts.documents import Transcript

_UNSEEN = re.compile("[\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""What JSON lets stand and a terminal may act on: C1 controls, line separators, changes of direction."""
PART = 50_000
"""Rows of a Parquet file that are in memory at a time."""


@dataclass(frozen=True, slots=True)
class Read:
    """A text that was read."""

    transcript: Transcript
    readings: list[Readings]
    """At each layer that was asked for, unsmoothed."""
    read_by: str
    written_by: str | None
    surrogate: bool | None
    """Whether another model wrote it than the one that read it; None: its author is not known."""
    alarms: list[Alarm] | None
    """None where no rules were given."""
    alarm_layer: int | None = None
    """The layer that the rules look at."""


Take = Callable[[Read], None]


def authorship(read: Read) -> str:
    """Who wrote and who read, in a sentence."""
    if read.written_by is None:
        return f"author not stated; read by {read.read_by}"
    if read.surrogate:
        return f"written by {read.written_by}, read by {read.read_by}: a surrogate reader"
    return f"written by {read.written_by}, the model that read it"


def title(read: Read) -> str:
    """The place, and the id where the place does not name it."""
    place, name = read.transcript.place, read.transcript.id
    return place if name is None or f", sample {name}, " in place else f"{place} · {name}"


def json_lines(tokens: bool, smooth: int) -> Take:
    """One JSON object a text on standard output; with `tokens` each token's readings too."""

    def take(read: Read) -> None:
        line = json.dumps(_record(read, tokens, smooth), ensure_ascii=False)
        typer.echo(_UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", line))

    return take


def _record(read: Read, tokens: bool, smooth: int) -> dict[str, Any]:
    own, name = read.readings[0].tokens, read.transcript.id
    record: dict[str, Any] = {"source": read.transcript.place} | ({"id": name} if name is not None else {})
    record |= {"read_by": read.read_by, "written_by": read.written_by, "surrogate": read.surrogate}
    layers = [_at_layer(readings, tokens, smooth) for readings in read.readings]
    record |= layers[0] if len(layers) == 1 else {"readings": layers}
    if tokens:
        record |= {"tokens": own.pieces(), "roles": own.roles, "token_turns": own.turns}
        record |= {"emotions": list(read.readings[0].emotions), "smooth": smooth}
    if read.alarms is not None:
        record["alarm_layer"] = read.alarm_layer
        record["alarms"] = [_plain(alarm) for alarm in read.alarms]
    return record


def _at_layer(readings: Readings, tokens: bool, smooth: int) -> dict[str, Any]:
    found: dict[str, Any] = {"layer": readings.layer, "mean": _rounded(readings.mean())}
    if "text" not in readings.tokens.roles:
        found["turns"] = [
            {"turn": turn, "role": role, "mean": _rounded(mean)} for turn, role, mean in readings.by_turn()
        ]
    if tokens:
        found["values"] = [[round(float(value), 4) for value in row] for row in readings.smoothed(smooth).values]
    return found


def _rounded(means: dict[str, float]) -> dict[str, float]:
    return {word: round(value, 4) for word, value in means.items()}


def _plain(alarm: Alarm) -> dict[str, Any]:
    return {key: value for key, value in asdict(alarm).items() if key not in ("conversation", "at")}


def terminal(emotion: str | None, smooth: int) -> Take:
    """The text tinted by one emotion, the readings that stand out, and alarms."""
    from rich.console import Console
    from rich.markup import escape
    from rich.text import Text

    console = Console(highlight=False)

    def take(read: Read) -> None:
        console.print(Text(printable(title(read)), "bold") + Text(f" · {printable(authorship(read))}", "dim"))
        for readings in read.readings:
            top = readings.top(5)
            word = emotion or top[0][0]
            for line in _tinted(readings.smoothed(smooth), word):
                console.print(line)
            console.print(
                f"[dim]tinted by[/] {word}[dim], layer {readings.layer}; mean readings:[/] "
                + "  ".join(f"{escape(w)} [bold]{v:+.2f}[/]" for w, v in top)
            )
        alarms(read)
        console.print()

    return take


def alarms(read: Read) -> None:
    """Print the alarms of one text."""
    from rich.console import Console

    from foreshock.monitor.sinks import Terminal

    show = Terminal(Console(highlight=False))
    for alarm in read.alarms or []:
        show(alarm)


def _tinted(readings: Readings, word: str) -> Iterator[Text]:
    """A line for each message, the template's own tokens left out."""
    from rich.text import Text

    tokens, column = readings.tokens, readings.values[:, readings.emotions.index(word)]
    line, turn, shown = Text(), -1, 0
    for k, (start, end) in enumerate(tokens.spans):
        if not tokens.content[k]:
            continue
        if tokens.turns[k] != turn:
            if line:
                yield line
            turn, shown = tokens.turns[k], start
            line = Text() if tokens.roles[k] == "text" else Text(f"{turn + 1} {tokens.roles[k]}: ", "bold dim")
        # Several tokens may share a character: it is printed once.
        line.append(printable(tokens.text[shown:end]), style=tint(float(column[k])))
        shown = max(shown, end)
    yield line


@contextlib.contextmanager
def parquet(path: Path, smooth: int) -> Iterator[Take]:
    """A Parquet file, a row a token and layer; it appears when the context is left, whole or not at all.

    Parts are kept beside it until then, so that memory does not grow with what is read.
    """
    import polars

    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        parts: list[Path] = []
        waiting: list[polars.DataFrame] = []

        def keep() -> None:
            parts.append(Path(folder) / f"{len(parts):08d}.parquet")
            with _writing(path):
                polars.concat(waiting).write_parquet(parts[-1])
            waiting.clear()

        def take(read: Read) -> None:
            waiting.extend(_frame(read, readings.smoothed(smooth)) for readings in read.readings)
            if sum(map(len, waiting)) >= PART:
                keep()

        yield take
        if waiting:
            keep()
        with written_aside(path) as whole, _writing(path):
            polars.scan_parquet(parts, glob=False).sink_parquet(whole)


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    """What Polars makes of a full disk is a sentence too."""
    from polars.exceptions import PolarsError

    try:
        yield
    except (OSError, PolarsError) as problem:
        raise OutputError(
            f"{path} could not be written ({str(problem).splitlines()[0]}). "
            "Choose a folder with room on its disk; nothing half-written was left."
        ) from problem


def _frame(read: Read, readings: Readings) -> polars.DataFrame:
    import polars

    name = read.transcript.id
    same = {"source": read.transcript.place, "id": None if name is None else str(name)}
    same |= {"read_by": read.read_by, "written_by": read.written_by}
    frame = readings.to_frame().rename({"token": "text"})
    return frame.select(
        *(polars.lit(value, polars.String).alias(key) for key, value in same.items()),
        polars.lit(read.surrogate, polars.Boolean).alias("surrogate"),
        polars.lit(readings.layer, polars.Int32).alias("layer"),
        polars.int_range(polars.len()).alias("token"),
        *frame.columns[:5],
        polars.Series("own_words", readings.tokens.content),
        *frame.columns[5:],
    )


@contextlib.contextmanager
def page(path: Path, source: str, emotion: str | None, smooth: int, faults: list[str]) -> Iterator[Take]:
    """One self-contained page, written when the context is left; `faults` are filled in the meantime."""
    from foreshock.report.reading_page import ReadingPage

    made: list[ReadingPage] = []

    def take(read: Read) -> None:
        if not made:
            made.append(
                ReadingPage(source, read.read_by, smooth if smooth > 1 else 8, emotion, alarm_layer=read.alarm_layer)
            )
        made[0].add(title(read), authorship(read), read.readings, read.alarms)

    yield take
    write_text(path, made[0].render(faults))
