"""`foreshock write`: have a model write more emotion stories."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from foreshock.cli.options import Device, Dtype, DtypeOption, opened

if TYPE_CHECKING:
    from foreshock.texts.writing import Author
    from foreshock.texts.writing.ledger import Tally


def write(
    model: Annotated[
        str | None,
        typer.Argument(
            help="Hub name, folder or .gguf file, or the model's name at the endpoint; left out: the embedded model, "
            "or the only one of the endpoint.",
            show_default=False,
        ),
    ] = None,
    endpoint: Annotated[
        str | None,
        typer.Option(
            help="Base address of an OpenAI-compatible endpoint, e.g. http://localhost:8000/v1; "
            "its key is read from OPENAI_API_KEY.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="JSONL file to write or to go on with.")] = Path("stories.jsonl"),
    emotions: Annotated[str, typer.Option(help="Comma-separated words, `core` (32) or `all` (171).")] = "core",
    topics: Annotated[
        str | None,
        typer.Option(
            help="Comma-separated topics, or a text file with one a line; left out: a hundred everyday ones.",
            show_default=False,
        ),
    ] = None,
    per_pair: Annotated[int, typer.Option(help="Stories for each emotion on each topic.", min=1)] = 1,
    tries: Annotated[int, typer.Option(help="How often a story is asked for before its place is given up.", min=1)] = 3,
    temperature: Annotated[float, typer.Option(help="Of the sampling; 0 takes the likeliest words.", min=0)] = 1.0,
    batch: Annotated[
        int | None,
        typer.Option(
            help="Stories asked for together and put on the disk together; left out: 16, at an endpoint 4 × --at-once.",
            min=1,
            show_default=False,
        ),
    ] = None,
    at_once: Annotated[int, typer.Option(help="Requests under way at once at an endpoint.", min=1)] = 8,
    seed: Annotated[int, typer.Option(help="Seed of every random choice.", min=0)] = 0,
    dtype: DtypeOption = Dtype.auto,
    device: Device = None,
) -> None:
    """Have a model write stories of every emotion on every topic, none of which names its emotion.

    Stories that name it, repeat another, are too short or too long, or are no stories are dropped, counted and asked for again.
    A killed run, started again with the same words, goes on where it was. `foreshock study --texts` takes the file.

    Examples: `foreshock write Qwen/Qwen3-4B-Instruct-2507 --emotions all --per-pair 12` ·
    `foreshock write --endpoint http://localhost:8000/v1 --topics topics.txt --out own.jsonl`
    """
    from foreshock.files import check_writable
    from foreshock.texts.writing import chosen_emotions, chosen_topics, write_stories
    from foreshock.texts.writing.casting import Plan

    plan = Plan(chosen_emotions(emotions), chosen_topics(topics), per_pair, seed)
    check_writable(out.parent)
    if endpoint:
        author, made_by, versions = _remote(endpoint, model, temperature, at_once)
        together = batch or 4 * at_once
    else:
        author, made_by, versions = _local(model, dtype, device, temperature)
        together = batch or 16
    with _progress(len(plan)) as show:
        tally = write_stories(plan, author, out, made_by, tries=tries, batch=together, versions=versions, progress=show)
    typer.echo(_summary(tally, out))


def _remote(
    url: str, model: str | None, temperature: float, at_once: int
) -> tuple[Author, dict[str, Any], dict[str, str]]:
    """An author at an endpoint, what tells it from others, and the versions behind it."""
    from foreshock.texts.writing.endpoint import Endpoint

    author = Endpoint(url, model, temperature, at_once)
    return author, {"endpoint": author.url, "model": author.model, "temperature": temperature}, _versions("openai")


def _local(
    name: str | None, dtype: Dtype, device: str | None, temperature: float
) -> tuple[Author, dict[str, Any], dict[str, str]]:
    """The same for a model that is opened here."""
    subject = opened(name, dtype, device)
    from foreshock.model.author import local_author

    made_by = {"model": subject.name, "fingerprint": subject.fingerprint, "temperature": temperature}
    return local_author(subject, temperature), made_by, _versions("torch", "transformers")


def _versions(*packages: str) -> dict[str, str]:
    import platform
    from importlib.metadata import version

    return {name: version(name) for name in ("foreshock", *packages)} | {"python": platform.python_version()}


@contextmanager
def _progress(total: int) -> Iterator[Callable[[Tally], None]]:
    """A bar over the assignments, with the stories kept, the rate and the time left; it gives `show(tally)`."""
    from time import monotonic

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("stories"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"), TimeRemainingColumn(),
    )  # fmt: skip
    # Batches may be minutes apart: the time left is reckoned over the last half hour.
    with Progress(*columns, console=Console(stderr=True), speed_estimate_period=1800) as bar:
        task = bar.add_task("", total=total, rate="")
        begun, before = monotonic(), -1

        def show(tally: Tally) -> None:
            nonlocal before
            if before < 0:  # what an earlier run settled says nothing about the speed of this one
                before = tally.kept
                bar.reset(task, completed=tally.settled)
            rate = 60 * (tally.kept - before) / max(monotonic() - begun, 1e-6)
            bar.update(task, completed=tally.settled, rate=f"{tally.kept:,} kept, {rate:,.0f} a minute,")

        yield show


def _summary(tally: Tally, out: Path) -> str:
    from foreshock.texts.writing.checking import FAULTS

    reasons = ", ".join(f"{tally.dropped[name]:,} {said}" for name, said in FAULTS.items() if tally.dropped.get(name))
    return (
        f"Kept {tally.kept:,} of {tally.settled:,} stories in {out}. "
        f"Dropped {sum(tally.dropped.values()):,} tries{f' ({reasons})' if reasons else ''}. Given up: {tally.given_up:,}."
    )
