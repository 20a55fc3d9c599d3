"""`foreshock read`: the emotion readings of texts and conversations."""

from __future__ import annotations

import contextlib
import itertools
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from foreshock.cli import read_output
from foreshock.cli.options import Device, Dtype, DtypeOption, Elsewhere, OnRay, Workers, numbers, opened
from foreshock.cli.read_input import report, transcripts
from foreshock.cli.read_output import Read, Take
from foreshock.errors import ForeshockError, OutputError, TextError, VectorsError
from foreshock.files import check_writable

if TYPE_CHECKING:
    from foreshock.model import LanguageModel, Tokens
    from foreshock.monitor.calibration import Calibration
    from foreshock.texts.documents import Transcript
    from foreshock.vectors import EmotionVectors

DEFAULT_VECTORS = Path("study/embedded/vectors.safetensors")


def read(
    source: Annotated[
        str,
        typer.Argument(
            help="A .jsonl, .csv, .parquet, .txt file, an Inspect log (.eval, .json) or a folder of them, "
            "`-` for standard input, or the text itself."
        ),
    ] = "-",
    vectors: Annotated[Path, typer.Option(help="A study's vectors.safetensors.")] = DEFAULT_VECTORS,
    model: Elsewhere = None,
    layer: Annotated[
        str | None,
        typer.Option(help="Layers to read at, e.g. 12,15,20; left out: the reading layer.", show_default=False),
    ] = None,
    emotion: Annotated[
        str | None, typer.Option(help="Emotion to tint the text by; left out: the highest.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a text: `mean`, emotion → reading.")] = False,
    tokens: Annotated[
        bool, typer.Option("--tokens", help="With --json: also `tokens`, `values` and `emotions`.")
    ] = False,
    smooth: Annotated[
        int, typer.Option(min=1, help="Average each token's reading over so many neighbours in its turn.")
    ] = 1,
    written_by: Annotated[
        str | None,
        typer.Option(help="The model that wrote the texts, where they don't say (`model`).", show_default=False),
    ] = None,
    rules: Annotated[
        Path | None, typer.Option(help="Calibrated rules; their alarms are shown.", show_default=False)
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="A .parquet file (a row a token) or an .html page to write.", show_default=False),
    ] = None,
    dtype: DtypeOption = Dtype.auto,
    device: Device = None,
    ray: OnRay = None,
    workers: Workers = None,
) -> None:
    """Read texts along the emotion vectors of a model: which emotions are operative, token by token.

    A .jsonl line is an object with `text`, or with `messages` (OpenAI's chat format); it may say in `model` who wrote it, and
    have an `id`. A text that another model wrote is read by a surrogate, and every output says so. A line that cannot be read
    is named on standard error, the others are read all the same, and the exit code is 2.

    Examples: `foreshock read "She is not answering her phone."` · `foreshock read chats.jsonl --json --tokens > out.jsonl` ·
    `foreshock read logs/ --rules rules.json --out page.html`
    """
    found = transcripts(source)
    first = next(found, None)  # a missing or empty source is said before the model is opened
    if first is None:
        raise TextError(f"{source} holds no text; give at least one line.")
    if out and out.suffix.lower() not in (".parquet", ".html"):
        raise OutputError(f"{out} is neither a .parquet nor an .html file; give --out one of these endings.")
    if out:
        check_writable(out.parent)
    if not vectors.is_file() and vectors == DEFAULT_VECTORS:
        raise VectorsError(
            f"There are no vectors at {vectors}; run `foreshock study` first, or say where with --vectors."
        )

    from foreshock.emotions import lookup
    from foreshock.vectors import EmotionVectors

    loaded = EmotionVectors.load(vectors)
    layers = list(dict.fromkeys(numbers(layer, "--layer") or [loaded.reading_layer]))
    for one in layers:  # a wrong layer or emotion, before the model is opened
        loaded.readout(one, [emotion] if emotion else None)
    emotion = lookup(emotion).word if emotion else None
    subject = opened(model or loaded.manifest.get("model", {}).get("name"), dtype, device, ray, workers)
    calibration = _calibration(rules, subject, loaded) if rules else None
    faults: list[str] = []
    with contextlib.ExitStack() as open_outputs:
        takes: list[Take] = []
        if as_json:
            takes.append(read_output.json_lines(tokens, smooth))
        elif not out:
            takes.append(read_output.terminal(emotion, smooth))
        if out and calibration and not as_json:
            takes.append(read_output.alarms)
        if out and out.suffix.lower() == ".parquet":
            takes.append(open_outputs.enter_context(read_output.parquet(out, smooth)))
        elif out:
            takes.append(open_outputs.enter_context(read_output.page(out, source, emotion, smooth, faults)))
        count = 0
        every = _read(subject, loaded, itertools.chain([first], found), layers, calibration, faults)
        for count, done in enumerate(every, 1):  # noqa: B007 (the count is used below)
            told = _told(done, written_by, subject, vectors)
            for take in takes:
                take(told)
        if out and not count:
            raise TextError(f"No text of {source} could be read, so {out} was not written.")
    if out:
        typer.echo(f"{count:,} {'texts' if count > 1 else 'text'} read; wrote {out}", err=True)
    if faults:
        raise typer.Exit(2)


def _calibration(path: Path, model: LanguageModel, vectors: EmotionVectors) -> Calibration:
    """The rules, once they are known to be about this model and these vectors."""
    from foreshock.monitor.calibration import Calibration

    calibration = Calibration.load(path)
    vectors.check_model(model.fingerprint, model.name)
    calibration.check(model, vectors)
    return calibration


def _read(
    model: LanguageModel,
    vectors: EmotionVectors,
    found: Iterable[Transcript | ForeshockError],
    layers: list[int],
    calibration: Calibration | None,
    faults: list[str],
) -> Iterator[Read]:
    """Each transcript read at `layers`; alarms are of the calibration's own layer, and of readings as they are."""
    from foreshock.monitor.alarms import scan
    from foreshock.readings import read_layers

    begun: deque[Transcript] = deque()
    texts = _encoded(model, found, begun, faults)
    own = [calibration.layer] if calibration else []
    for readings in read_layers(model, vectors, texts, [*layers, *own]):
        transcript, alarms = begun.popleft(), None
        if calibration:
            name = transcript.place if transcript.id is None else str(transcript.id)
            alarms = scan(readings.pop(), calibration, name)
        yield Read(transcript, readings, model.name, transcript.written_by, None, alarms, *own)


def _encoded(
    model: LanguageModel, found: Iterable[Transcript | ForeshockError], begun: deque[Transcript], faults: list[str]
) -> Iterator[Tokens]:
    """Tokens of each transcript that can be read; the others are said on standard error and counted.

    The turns of a conversation are numbered as its messages are, those without words counted in.
    """
    for one in found:
        try:
            if isinstance(one, ForeshockError):
                raise one
            tokens = model.encode(one.document)
        except ForeshockError as problem:
            report(problem, "" if isinstance(one, ForeshockError) else one.place, faults)
            continue
        begun.append(one)
        yield replace(tokens, turns=[one.messages[turn] for turn in tokens.turns]) if one.messages else tokens


def _told(done: Read, written_by: str | None, model: LanguageModel, vectors: Path) -> Read:
    """With its author: as its row says, else as `--written-by` does."""
    from foreshock.texts.documents import is_surrogate

    author = done.written_by or written_by
    if author is None:
        return done
    return replace(done, written_by=author, surrogate=is_surrogate(author, model.name, str(vectors.parent)))
