"""Options that several commands share."""

from __future__ import annotations

import math
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from foreshock.errors import ForeshockError, SteeringError, VectorsError

if TYPE_CHECKING:
    from foreshock.model import LanguageModel


VECTORS = "vectors.safetensors"
"""What a study calls its vectors file."""


class Dtype(StrEnum):
    """Number formats a model can be opened in."""

    auto = "auto"
    bfloat16 = "bfloat16"
    float16 = "float16"
    float32 = "float32"


Model = Annotated[
    str | None,
    typer.Argument(
        help="Hub name, folder or .gguf file; left out: the embedded SmolLM2-135M-Instruct.", show_default=False
    ),
]
StudyName = Annotated[
    str,
    typer.Argument(
        help="A study's folder, its vectors.safetensors, or a model whose study lies in study/MODEL; "
        "`embedded` for the embedded one."
    ),
]
Elsewhere = Annotated[
    str | None,
    typer.Option(help="The model the vectors were made on, when it lies elsewhere now.", show_default=False),
]
DtypeOption = Annotated[Dtype, typer.Option(help="Number format; auto is bfloat16 where the hardware has it.")]
Device = Annotated[
    str | None,
    typer.Option(
        help="cuda, mps or cpu; left out: the first there is; auto: spread over all of them, for a model that is too big "
        "for one.",
        show_default=False,
    ),
]
OnRay = Annotated[
    str | None,
    typer.Option(
        "--ray",
        metavar="ADDRESS",
        help="Have workers on Ray read: `local` starts one on this machine, else `auto`, HOST:PORT or ray://…",
        show_default=False,
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        help="With --ray: how many, all with the same share; left out: one for each GPU, or without any one for each machine.",
        min=1,
        show_default=False,
    ),
]


def opened(
    name: str | None, dtype: Dtype, device: str | None, ray: str | None = None, workers: int | None = None
) -> LanguageModel:
    """The model, with a line on the screen while it opens (reading a GGUF file for the first time is slow).

    With an address in `ray`, what it reads is read by workers there.

    Raises:
        ForeshockError: workers without `ray`.
    """
    check_on_ray(ray, workers, "--workers")
    from rich.console import Console

    with Console(stderr=True).status(f"Opening {name or 'the embedded model'} …"):
        import transformers

        from foreshock.model import open_model

        transformers.utils.logging.disable_progress_bar()
        model = open_model(name, dtype=dtype.value, device=device)
    if ray is not None:
        from foreshock.scale.workers import spread

        with Console(stderr=True).status(f"Starting workers on Ray ({ray}) …"):
            spread(model, name, device, ray, workers)
    return model


def check_on_ray(ray: str | None, count: int | None, option: str) -> None:
    """Does nothing; raises ForeshockError where a number of workers or replicas would be passed over in silence."""
    if count is not None and ray is None:
        raise ForeshockError(
            f"{option} {count} is for work on Ray; give --ray (such as --ray local) with it, or leave it out."
        )


def short_name(model: str | None) -> str:
    """What a model's folders are called: the last part of its name, and for one of a run's checkpoints the run's before it.

    Dots stay (`Qwen/Qwen2.5-7B-Instruct` has siblings); only `.gguf` and `.safetensors` are no part of a name.
    """
    path = Path(model or "embedded")
    name = path.name.removesuffix(".gguf").removesuffix(".safetensors")
    return f"{path.parent.name}-{name}" if name.startswith("checkpoint-") and path.parent.name else name


def found_vectors(study: str) -> Path:
    """The vectors file of a study, named by the file, by its folder, or by the model (`embedded` for the default one).

    Raises:
        VectorsError: there is none; the message says how to make it.
    """
    kept = Path("study") / short_name(study) / VECTORS
    for path in (Path(study), Path(study) / VECTORS, kept):
        if path.is_file() and path.suffix != ".gguf":  # that is a model
            return path
    model = "" if study == "embedded" else f" {study}"
    raise VectorsError(
        f"There are no vectors at {study} nor at {kept}; run `foreshock study{model}` first, "
        "or give a study's folder or its vectors.safetensors."
    )


def numbers(text: str | None, what: str) -> list[int] | None:
    """`0,5,10-14` as a list of layer numbers, each once; None stays None."""
    if text is None:
        return None
    found: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        try:
            own = range(int(first), int(last) + 1) if dash else [int(first)]
            if not own:
                raise ValueError
            found += own
        except ValueError:
            raise ForeshockError(
                f"{what} {text!r} cannot be read; write numbers and ranges, e.g. 8,12,16-20."
            ) from None
    return list(dict.fromkeys(found))


def strengths_of(text: str, what: str, most: int = 64) -> list[float]:
    """`-0.2:0.2:9` (low, high, how many) or `-0.1,0,0.1` as strengths, the smallest first."""
    parts = text.split(":") if ":" in text else text.split(",")
    try:
        if ":" in text:
            low, high, count = float(parts[0]), float(parts[1]), int(parts[2])
            if len(parts) != 3 or not 2 <= count <= most or not low < high:
                raise ValueError
            # Rounded, so that the middle of an even sweep is 0 and not almost.
            found = [round(low + (high - low) * k / (count - 1), 10) for k in range(count)]
        else:
            found = sorted({float(part) for part in parts})
        if len(found) > most or not all(abs(strength) < 100 for strength in found):
            raise ValueError
    except (ValueError, IndexError):
        raise ForeshockError(
            f"{what} {text!r} cannot be read; write low:high:count with 2 to {most} strengths, e.g. -0.2:0.2:9, "
            "or a list, e.g. -0.1,0,0.1."
        ) from None
    return sorted(found)


def dose(text: str, what: str) -> tuple[str, float]:
    """`calm=0.1` as an emotion and a strength."""
    from foreshock.emotions import lookup

    word, _, strength = text.partition("=")
    try:
        number = float(strength)
    except ValueError:
        number = math.nan
    if not word.strip() or not math.isfinite(number):
        raise SteeringError(f"{what} {text!r} cannot be read; write an emotion and its strength, e.g. calm=0.1.")
    return lookup(word).word, number


def printable(text: str) -> str:
    """The text with a dot for every character that could do something to a terminal."""
    return "".join(c if c.isprintable() or c == "\n" else "·" for c in text)
