"""`foreshock sweep`: where in a corpus each emotion reads highest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from foreshock.cli.options import Device, Dtype, DtypeOption, Elsewhere, OnRay, Workers, opened, printable

SHOWN = 12
"""Emotions whose best passage is printed; the page has all."""


def sweep(
    vectors: Annotated[Path, typer.Argument(help="A study's vectors.safetensors.")],
    corpus: Annotated[
        Path,
        typer.Argument(
            help="A .jsonl, .csv, .parquet, .txt or .md file, or a folder of them; may be larger than memory."
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(help="Folder for the results; left out: sweep/CORPUS.", show_default=False)
    ] = None,
    model: Elsewhere = None,
    dtype: DtypeOption = Dtype.auto,
    device: Device = None,
    ray: OnRay = None,
    workers: Workers = None,
) -> None:
    """Keep, for each emotion, the passages and tokens of a corpus on which it reads highest.

    A killed sweep, started again with the same words, goes on where it was. A document that cannot be read is named on
    standard error, the others are read all the same, and the exit code is 2.

    Example: `foreshock sweep study/embedded/vectors.safetensors reviews.parquet`
    """
    from rich.console import Console
    from rich.text import Text

    from foreshock.files import check_writable, write_text
    from foreshock.texts.corpus import documents, identity
    from foreshock.vectors import EmotionVectors

    folder = out or Path("sweep") / corpus.stem
    check_writable(folder)
    loaded = EmotionVectors.load(vectors)
    stream = documents(corpus)
    first = next(stream, None)  # a corpus that is none is said before the model is opened
    subject = opened(model or loaded.manifest.get("model", {}).get("name"), dtype, device, ray, workers)

    from itertools import chain

    from foreshock.report.page import render_sweep
    from foreshock.sweep import Tops
    from foreshock.sweep import sweep as run

    console = Console(stderr=True)
    with console.status("Reading …") as status:

        def shown(tops: Tops) -> None:
            status.update(f"Reading … {tops.documents:,} documents, {tops.tokens:,} tokens")

        tops = run(
            subject,
            loaded,
            chain([first] if first else [], stream),
            folder / "state.json",
            corpus_id=identity(corpus),
            progress=shown,
            complain=lambda problem: typer.echo(f"Error: {problem}", err=True),
        )
    write_text(
        folder / "sweep.json",
        json.dumps({"corpus": str(corpus), "manifest": loaded.manifest} | tops.to_json(), allow_nan=False),
    )
    page = folder / "sweep.html"
    write_text(page, render_sweep(tops, loaded.manifest, corpus.name))
    for word in loaded.emotions[:SHOWN]:
        for best in tops.by_passage.get(word, [])[:1]:
            text = printable(" ".join("".join(best.pieces).split()))
            console.print(Text(f"{word:16} {best.reading:+.2f}  {text[:90]}"), soft_wrap=True)
    typer.echo(
        f"{tops.documents:,} documents, {tops.tokens:,} tokens; {tops.faults} could not be read. Page: {page.resolve()}"
    )
    if tops.faults:
        raise typer.Exit(2)
