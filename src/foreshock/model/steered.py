"""Writing to the residual stream of some tokens of some rows, right under padding and a key-value cache."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from foreshock.errors import SteeringError
from foreshock.model.chat import Tokens
from foreshock.model.places import Places, Span, placed, token_range
from foreshock.model.stream import Residual, Writer, hooked

if TYPE_CHECKING:
    from foreshock.model.language_model import LanguageModel


@dataclass(frozen=True, slots=True)
class Write:
    """A vector that is added to the stream after one layer, at the tokens of a span."""

    layer: int
    vector: Float[Tensor, " hidden"]
    span: Span = "all"


class Steers(Protocol):
    """Anything that says what to write on a model; `foreshock.steering.Steering` does."""

    def writes(self, model: LanguageModel) -> Sequence[Write]:
        """What to add, and where; nothing for strength 0."""


@contextlib.contextmanager
def steered(
    model: LanguageModel, rows: Sequence[Sequence[Write]], prompts: Sequence[Tokens] | None = None
) -> Iterator[None]:
    """Every forward pass inside adds to row k of its batch what `rows[k]` says; of a single one, to every row.

    A batch of a multiple of `rows` repeats each of them in turn, as `generate(num_return_sequences=…)` does.

    Raises:
        SteeringError: a span cannot be placed, a layer does not exist, or (in the pass) the batch has other rows.
    """
    if prompts is not None and len(prompts) != len(rows) and len(rows) > 1:
        raise SteeringError(f"{len(rows)} steerings and {len(prompts)} prompts do not go together; give one a prompt.")
    if len(rows) == 1 and prompts is not None:
        rows = [rows[0]] * len(prompts)
    own = [None] * len(rows) if prompts is None else prompts
    placed_rows = [
        [Write(w.layer, w.vector, token_range(w.span, prompt)) for w in writes]
        for writes, prompt in zip(rows, own, strict=True)
    ]
    layers = {write.layer for writes in rows for write in writes}
    for layer in layers:
        if not 0 <= layer < model.layers:
            raise SteeringError(f"{model.name} has layers 0 … {model.layers - 1}; steering at {layer} is not possible.")
    if not layers:
        yield
        return
    lengths = None if prompts is None else torch.tensor([len(prompt) for prompt in prompts])
    with placed(model.anatomy.decoder) as places:
        writers = {layer: _writer(layer, placed_rows, places, lengths) for layer in layers}
        with hooked(model.anatomy, writes=writers):
            yield


def _writer(layer: int, rows: list[list[Write]], places: Places, lengths: Tensor | None) -> Writer:
    """Adds each row's vectors for one layer at its own tokens; all other values stay as they are, to the bit."""
    found = [(k, write) for k, writes in enumerate(rows) for write in writes if write.layer == layer]

    def write(hidden: Residual) -> Residual:
        batch = len(hidden)
        if batch % len(rows) and len(rows) > 1:
            raise SteeringError(
                f"{len(rows)} rows are steered, and the batch has {batch}; give one steering, or one a row."
            )
        each = batch if len(rows) == 1 else batch // len(rows)
        prompt = None if lengths is None else lengths.repeat_interleave(batch // len(lengths))
        changed = hidden.clone()
        for k, one in found:
            own = changed[k * each : (k + 1) * each]
            inside = places.inside(one.span, prompt)[k * each : (k + 1) * each].to(hidden.device)  # type: ignore[arg-type]
            own[inside] += one.vector.to(hidden)
        return changed

    return write
