"""Options that several commands share."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from foreshock.errors import ForeshockError

if TYPE_CHECKING:
    from foreshock.model import LanguageModel


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
DtypeOption = Annotated[Dtype, typer.Option(help="Number format; auto is bfloat16 where the hardware has it.")]
Device = Annotated[str | None, typer.Option(help="cuda, mps or cpu; left out: the first there is.", show_default=False)]


def opened(name: str | None, dtype: Dtype, device: str | None) -> LanguageModel:
    """The model, with a line on the screen while it opens (reading a GGUF file for the first time is slow)."""
    from rich.console import Console

    with Console(stderr=True).status(f"Opening {name or 'the embedded model'} …"):
        import transformers

        from foreshock.model import open_model

        transformers.utils.logging.disable_progress_bar()
        return open_model(name, dtype=dtype.value, device=device)


def numbers(text: str | None, what: str) -> list[int] | None:
    """`0,5,10-14` as a list of layer numbers; None stays None."""
    if text is None:
        return None
    found: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        try:
            found += range(int(first), int(last) + 1) if dash else [int(first)]
        except ValueError:
            raise ForeshockError(
                f"{what} {text!r} cannot be read; write numbers and ranges, e.g. 8,12,16-20."
            ) from None
    return found


def printable(text: str) -> str:
    """The text with a dot for every character that could do something to a terminal."""
    return "".join(c if c.isprintable() or c == "\n" else "·" for c in text)
