"""`foreshock study`: find the emotion vectors of a model and say honestly how good they are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from foreshock.cli.options import Device, Dtype, DtypeOption, Model, OnRay, Workers, numbers, opened, short_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from foreshock.study.finding import Finding
    from foreshock.texts import Passage


def study(
    model: Model = None,
    texts: Annotated[
        Path | None,
        typer.Option(
            help="Your own stories: JSONL, CSV or Parquet with the columns text and emotion.", show_default=False
        ),
    ] = None,
    emotions: Annotated[
        str | None,
        typer.Option(
            help="Comma-separated words, `core` (32) or `all`; left out: all that the texts have.", show_default=False
        ),
    ] = None,
    layers: Annotated[
        str | None, typer.Option(help="Layers to keep, e.g. 8,12,16-20; left out: all.", show_default=False)
    ] = None,
    norms: Annotated[
        Path | None,
        typer.Option(
            help="Your own valence/arousal ratings (NRC-VAD or Warriner file), in place of the built-in.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the results; left out: study/MODEL.", show_default=False)
    ] = None,
    only: Annotated[
        str | None,
        typer.Option(help="Comma-separated experiments, e.g. scenarios,intensity; left out: all.", show_default=False),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of every random choice.", min=0)] = 0,
    dtype: DtypeOption = Dtype.auto,
    device: Device = None,
    ray: OnRay = None,
    workers: Workers = None,
) -> None:
    """Find a model's emotion vectors, judge them, and leave a vectors file and a page behind.

    A killed study, started again with the same words, goes on where it was.

    Examples: `foreshock study` · `foreshock study Qwen/Qwen3-0.6B --emotions core --out qwen`
    """
    from rich.console import Console

    from foreshock.files import check_writable
    from foreshock.texts import builtin_library

    passages = _passages(texts, emotions)
    wanted = numbers(layers, "--layers")
    ratings = _norms(norms)
    folder = out or Path("study") / short_name(model)
    check_writable(folder)

    from foreshock.report.card import summary_line
    from foreshock.report.folder import write_study
    from foreshock.study.running import EXPERIMENTS, check_names, run_study

    names = [name.strip() for name in only.split(",")] if only else list(EXPERIMENTS)
    check_names(names)
    subject = opened(model, dtype, device, ray, workers)
    console = Console(stderr=True)
    with progress_bar(console, len(names) + 2) as (advance, announce):
        result = run_study(
            subject,
            builtin_library(passages),
            only=names,
            layers=wanted,
            norms=ratings,
            seed=seed,
            store=folder / "activations",
            progress=advance,
            announce=announce,
        )
    with console.status("Drawing the report …"):
        page = write_study(result, folder)
    summary(result.findings)
    typer.echo(summary_line(subject.name, [f.verdict for f in result.findings]))
    typer.echo(f"Reading layer {result.vectors.reading_layer} of {subject.layers}. Report: {page.resolve()}")


def _passages(texts: Path | None, emotions: str | None) -> list[Passage]:
    from foreshock.emotions import core, lookup
    from foreshock.errors import TextError
    from foreshock.texts import load_passages, stories

    passages = load_passages(texts) if texts else stories()
    if emotions in (None, "all"):
        return passages
    wanted = set(core()) if emotions == "core" else {lookup(word).word for word in str(emotions).split(",")}
    missing = wanted - {p.emotion for p in passages}
    if missing:
        raise TextError(f"The texts have no story of: {', '.join(sorted(missing))}; leave them out or add stories.")
    return [p for p in passages if p.emotion in wanted]


def _norms(path: Path | None) -> dict[str, Any] | None:
    if path is None:
        return None
    from foreshock.texts.norms import load_norms

    return load_norms(path)


def summary(findings: Sequence[Finding]) -> None:
    """The findings as a table on the terminal."""
    from rich.console import Console
    from rich.table import Table

    from foreshock.report.page import figure, interval, plain, probability

    table = Table(title=None, header_style="bold", box=None, pad_edge=False)
    for column in ("claim", "here", "95 % interval", "null", "p", "verdict"):
        table.add_column(column)
    colour = {"holds": "green", "does not hold": "red", "cannot tell": "yellow"}
    for f in findings:
        null, p = (
            (figure(f.null.mean), probability(f.null.corrected_p or f.null.p).removeprefix("= "))
            if f.null
            else ("–", "–")
        )
        table.add_row(
            plain(f.claim), figure(f.estimate), interval(f.interval), null, p, f"[{colour[f.verdict]}]{f.verdict}[/]"
        )
    Console().print(table)


def progress_bar(console: Any, steps: int) -> Any:
    """A bar over the steps of a study, with the step at work and tokens per second, as a context manager.

    It gives `advance(texts, tokens)` and `announce(step)`.
    """
    from contextlib import contextmanager
    from time import monotonic

    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    @contextmanager
    def shown() -> Iterator[Any]:
        columns = (
            TextColumn("{task.description:14}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.fields[speed]}"),
        )  # fmt: skip
        with Progress(*columns, console=console) as bar:
            task = bar.add_task("starting", total=steps, speed="")
            begun = monotonic()
            texts_read = tokens_read = 0

            def advance(texts: int, tokens: int) -> None:
                nonlocal texts_read, tokens_read
                texts_read, tokens_read = texts_read + texts, tokens_read + tokens
                speed = tokens_read / max(monotonic() - begun, 1e-6)
                bar.update(task, speed=f"{texts_read:,} texts, {speed:,.0f} tokens/s")

            def announce(step: str) -> None:
                first = bar.tasks[0].description == "starting"
                bar.update(task, description=step, advance=0 if first else 1)

            yield advance, announce
            bar.update(task, description="done", completed=steps)

    return shown()
