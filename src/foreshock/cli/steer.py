"""`foreshock steer`: one prompt under several steerings, the replies side by side."""

from __future__ import annotations

import json
import math
import sys
import warnings
from typing import TYPE_CHECKING, Annotated, Any

import typer

from foreshock.cli.options import (
    Device,
    Dtype,
    DtypeOption,
    Elsewhere,
    StudyName,
    dose,
    found_vectors,
    numbers,
    opened,
    printable,
    strengths_of,
)
from foreshock.errors import SteeringError, TextError

if TYPE_CHECKING:
    from foreshock.model.places import Span
    from foreshock.side_by_side import Told

ROWS = 64
"""Most strengths of a sweep; all are written in one batch."""


def steer(
    study: StudyName,
    prompt: Annotated[
        str, typer.Argument(help="The message to the model; `-` reads standard input.", show_default=False)
    ],
    doses: Annotated[
        list[str],
        typer.Option(
            "--set",
            metavar="EMOTION=STRENGTH",
            help="An emotion and its strength in mean residual norms, e.g. calm=0.1; may be given several times.",
            show_default=False,
        ),
    ],
    sweep: Annotated[
        str | None,
        typer.Option(
            metavar="LOW:HIGH:COUNT",
            help="Strengths to put in place of the one in --set, e.g. -0.2:0.2:9. With several --set, they keep their "
            "proportions and the largest of them gets the strength.",
            show_default=False,
        ),
    ] = None,
    layers: Annotated[
        str | None,
        typer.Option(help="Layers to add it after, e.g. 12,15; left out: the steering layer.", show_default=False),
    ] = None,
    span: Annotated[
        str,
        typer.Option(metavar="SPAN", help="Tokens to steer: all, prompt, reply, or positions A:B (B left out: on)."),
    ] = "all",
    characters: Annotated[
        str | None,
        typer.Option(
            metavar="A:B", help="Steer the tokens of these characters of the prompt instead.", show_default=False
        ),
    ] = None,
    most: Annotated[int, typer.Option(help="Most tokens of a reply.", min=1)] = 60,
    temperature: Annotated[float, typer.Option(help="0 takes the likeliest token, else sampled.", min=0.0)] = 0.0,
    seed: Annotated[int, typer.Option(help="Seed of the sampling.", min=0)] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="A list with one JSON object a strength.")] = False,
    model: Elsewhere = None,
    dtype: DtypeOption = Dtype.auto,
    device: Device = None,
) -> None:
    """Steer a model with emotions and put its replies side by side, with what each strength costs.

    The unsteered reply is always among them. *Loss* is how unlikely the unsteered model finds the reply, in nats a token;
    readings are of the reply's words, read without steering.

    Examples: `foreshock steer embedded "My flight was cancelled." --set calm=0.1` ·
    `foreshock steer study/qwen "Write a toast." --set proud=0.1 --set loving=0.05 --sweep -0.1:0.1:5 --span reply`
    """
    if not math.isfinite(temperature):
        raise SteeringError(f"--temperature {temperature} cannot be sampled with; give a number such as 0.7, or 0.")
    given = dict(dose(text, "--set") for text in doses)
    if len(given) < len(doses):
        raise SteeringError("An emotion was given twice with --set; give each once, with its whole strength.")
    rows = _sweep(sweep, given)
    wanted, where = numbers(layers, "--layers"), _span(span, characters)
    message = _message(prompt)

    from foreshock.steering import BeyondRange, Steering
    from foreshock.vectors import EmotionVectors

    vectors = EmotionVectors.load(found_vectors(study))
    steerings = [Steering(row, vectors, wanted, where) for row in rows.values()]  # mistakes, before the model is opened
    subject = opened(model or vectors.manifest.get("model", {}).get("name"), dtype, device)

    from rich.console import Console

    from foreshock.side_by_side import compare, in_message

    if characters:
        place = in_message(subject, message, *_range(characters, "--characters"))
        steerings = [Steering(row, vectors, wanted, place) for row in rows.values()]
    strongest = max(steerings, key=lambda steering: steering.strength)
    if sentence := strongest.beyond():
        typer.echo(f"Warning: {sentence}", err=True)
    with Console(stderr=True).status("Writing …"), warnings.catch_warnings():
        warnings.simplefilter("ignore", BeyondRange)
        told = compare(subject, vectors, message, steerings, most, temperature, seed)
    if as_json:
        records = [_record(strength, one) for strength, one in zip(rows, told, strict=True)]
        typer.echo(json.dumps(records, indent=1))  # escaped: a text may hold what a terminal obeys
    else:
        _show(list(rows), told, subject.name)


def _sweep(text: str | None, doses: dict[str, float]) -> dict[float, dict[str, float]]:
    """Strength → doses, in rising order, with the unsteered row among them."""
    largest = max(doses.values(), key=abs)
    direction = {word: dose / abs(largest) for word, dose in doses.items()} if largest else doses
    if len(doses) == 1:
        direction = dict.fromkeys(doses, 1.0)
    elif largest == 0:
        raise SteeringError("All strengths given with --set are 0; give at least one another, e.g. --set calm=0.1.")
    strengths = strengths_of(text, "--sweep", ROWS) if text else [largest if len(doses) == 1 else abs(largest)]
    return {s: {word: s * share for word, share in direction.items()} for s in sorted({0.0, *strengths})}


def _span(text: str, characters: str | None) -> Span:
    if characters and text != "all":
        raise SteeringError("--span and --characters both say which tokens to steer; give one of them.")
    if characters:
        _range(characters, "--characters")
        return "all"  # placed once the prompt is laid out
    if text in ("all", "prompt", "reply"):
        return text  # type: ignore[return-value]
    return slice(*_range(text, "--span", "all, prompt, reply, or token positions such as 5:12 or 5:"))


def _range(text: str, option: str, wanted: str = "two numbers such as 5:12") -> tuple[int, Any]:
    first, colon, last = text.partition(":")
    try:
        start, end = int(first or 0), (int(last) if last else None)
    except ValueError:
        start, end = -1, None
    if not colon or start < 0 or (end is not None and end <= start) or (end is None and option == "--characters"):
        raise SteeringError(f"{option} {text!r} cannot be read; write {wanted}.")
    return start, end


def _message(prompt: str) -> str:
    from foreshock.texts.documents import encodable

    text = sys.stdin.buffer.read().decode("utf-8", errors="replace").strip() if prompt == "-" else prompt
    if not text.strip():
        raise TextError("The prompt is empty; give the message in quotes, or `-` and the message on standard input.")
    return encodable(text, "The prompt")


def _record(strength: float, told: Told) -> dict[str, Any]:
    return {
        "strength": strength,
        "doses": dict(told.steering.doses),
        "loss": None if told.loss is None else round(told.loss, 4),
        "readings": {word: round(value, 4) for word, value in told.readings.items()},
        "beyond_range": told.steering.beyond() is not None,
        "text": told.text,
    }


def _show(strengths: list[float], told: list[Told], name: str) -> None:
    """One row a strength: a reader compares texts down a column better than across."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    words = next((list(one.readings) for one in told if one.readings), [])
    table = Table(header_style="bold", box=None, pad_edge=False, padding=(0, 2, 1, 0))
    for column in ("strength", "loss", *words):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("reply", overflow="fold")
    for strength, one in zip(strengths, told, strict=True):
        figures = ["–" if one.loss is None else f"{one.loss:.2f}"]
        figures += [f"{one.readings[word]:+.2f}" if word in one.readings else "–" for word in words]
        size = f"{strength:+.6g}" if strength else "0"
        style = "dim" if strength == 0 else ""
        reply = Text(printable(" ".join(one.text.split())) or "(nothing)", style=style)
        table.add_row(size, *figures, reply)
    console = Console(highlight=False)
    console.print(table)
    where = ", ".join(map(str, told[0].steering.where))
    console.print(
        f"[dim]{name}, steered after layer {where}. loss: nats a token under the unsteered model; "
        "readings: SD, read unsteered.[/]"
    )
