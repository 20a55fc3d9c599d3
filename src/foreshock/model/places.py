"""Where in a sequence the tokens of a forward pass stand, whatever the cache and the padding do.

With a key-value cache a pass sees only the newest tokens, and with padding on the left the first token of a row is not
in the first column. Positions here are absolute: token 0 is the first real token of its row.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Bool, Int
from torch import Tensor, nn

from foreshock.errors import SteeringError
from foreshock.model.chat import Tokens


@dataclass(frozen=True, slots=True)
class Characters:
    """A range of characters of a prompt, the end not included; its tokens are those that touch it."""

    start: int
    end: int


Span = Literal["all", "prompt", "reply"] | slice | Characters
"""Tokens of a sequence: all of them, those of the prompt or of the reply, a slice of absolute positions
(`slice(5, None)`: from the sixth token on), or those that touch some characters of the prompt."""


def token_range(span: Span, prompt: Tokens | None) -> slice | Literal["all", "prompt", "reply"]:
    """The span with its characters turned into tokens.

    Raises:
        SteeringError: characters without a prompt to count them in or outside of it, or a slice that counts from the
            end or in steps.
    """
    if isinstance(span, Characters):
        return _touching(span, prompt)
    if isinstance(span, slice):
        if span.step not in (None, 1) or (span.start or 0) < 0 or (span.stop is not None and span.stop < 0):
            raise SteeringError(f"A span of tokens counts from the first one and without steps; {span} does not.")
        return span
    if span not in ("all", "prompt", "reply"):
        raise SteeringError(f"There is no span {span!r}; give 'all', 'prompt', 'reply', a slice or Characters(…).")
    return span


def _touching(span: Characters, prompt: Tokens | None) -> slice:
    if prompt is None:
        raise SteeringError(
            "A span of characters needs the prompt that they are counted in; pass prompts=[tokens] to `steered`."
        )
    if not 0 <= span.start < span.end <= len(prompt.text):
        raise SteeringError(
            f"Characters {span.start}:{span.end} are empty or outside of a prompt of {len(prompt.text)} characters "
            "(the chat template's own text counts too)."
        )
    own = [k for k, (first, last) in enumerate(prompt.spans) if first < span.end and last > span.start]
    if not own:
        raise SteeringError(f"No token touches the characters {span.start}:{span.end} of the prompt.")
    return slice(own[0], own[-1] + 1)


STATE = "this model keeps a state that does not say how many tokens it holds"


class Places:
    """Where the tokens of the running pass stand; kept up to date within `placed`."""

    def __init__(self) -> None:
        self.positions: Int[Tensor, "batch token"] = torch.zeros(0, 0, dtype=torch.long)
        """Negative where a row is padded on the left."""
        self.prompt: Int[Tensor, " batch"] = torch.zeros(0, dtype=torch.long)
        """Tokens that each row had in the pass that began its sequence."""
        self.unclear = ""
        """Why positions, or where the prompt ends, cannot be told; empty where they can."""
        self._whole: Tensor | None = None
        """Tokens of the pass before, where that began a sequence."""

    def update(self, given: Mapping[str, Any]) -> None:
        """Take over where the tokens of a pass stand, from what the decoder is called with."""
        given = {**given, **given.get("kwargs", {})}
        tokens = given.get("input_ids") if given.get("input_ids") is not None else given.get("inputs_embeds")
        assert isinstance(tokens, Tensor)
        rows, length = tokens.shape[:2]
        cache = given.get("past_key_values")
        past = int(cache.get_seq_length()) if cache is not None else 0
        padding = _padding(given, past + length, rows).to(tokens.device)
        columns = torch.arange(past, past + length, device=tokens.device)
        self.positions = columns[None] - padding[:, None]
        self.unclear = self._why_unclear(given, tokens, past)
        if past == 0 and not self.unclear:
            self.prompt = _real(given, rows, length, padding)

    def _why_unclear(self, given: Mapping[str, Any], tokens: Tensor, past: int) -> str:
        """Generating without a cache runs the whole text again for each token, which looks like ever new prompts."""
        before, self._whole = self._whole, tokens if past == 0 else None
        if given.get("cache_params") is not None:
            return STATE
        if before is None or past or tokens.ndim != 2 or len(tokens) != len(before):
            return ""
        grown = tokens.shape[1] == before.shape[1] + 1 and torch.equal(tokens[:, :-1], before)
        return "without a key-value cache the prompt cannot be told from the reply" if grown else ""

    def inside(
        self, span: slice | Literal["all", "prompt", "reply"], prompt: Int[Tensor, " batch"] | None = None
    ) -> Bool[Tensor, "batch token"]:
        """Which tokens of the running pass stand inside the span.

        Args:
            prompt: tokens of each row's prompt; left out: those of the pass that began the sequence.

        Raises:
            SteeringError: it cannot be told.
        """
        real = self.positions >= 0
        if span == "all":
            return real
        positions_known = self.unclear != STATE
        if self.unclear and not (positions_known and (prompt is not None or isinstance(span, slice))):
            raise SteeringError(
                f"The span {span!r} cannot be placed: {self.unclear}; steer all tokens, or use a cache."
            )
        if isinstance(span, slice):
            inside = real & (self.positions >= (span.start or 0))
            return inside if span.stop is None else inside & (self.positions < span.stop)
        ends = (self.prompt if prompt is None else prompt.to(self.positions.device))[:, None]
        return real & ((self.positions < ends) if span == "prompt" else (self.positions >= ends))


@contextlib.contextmanager
def placed(decoder: nn.Module) -> Iterator[Places]:
    """Within the context, every forward pass of the decoder first says where its tokens stand."""
    places, signature = Places(), inspect.signature(decoder.forward)

    def before(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        places.update(signature.bind(*args, **kwargs).arguments)

    handle = decoder.register_forward_pre_hook(before, with_kwargs=True)
    try:
        yield places
    finally:
        handle.remove()


def _padding(given: Mapping[str, Any], width: int, rows: int) -> Int[Tensor, " batch"]:
    """How many columns of padding stand left of each row."""
    mask, positions = given.get("attention_mask"), given.get("position_ids")
    if isinstance(mask, Tensor) and mask.ndim == 2:
        return (mask.cumsum(1) == 0).sum(1)
    if isinstance(positions, Tensor) and positions.ndim == 2:
        return (width - 1 - positions[:, -1]).clamp_min(0).expand(rows)
    return torch.zeros(rows, dtype=torch.long)


def _real(given: Mapping[str, Any], rows: int, length: int, padding: Tensor) -> Int[Tensor, " batch"]:
    mask = given.get("attention_mask")
    if isinstance(mask, Tensor) and mask.ndim == 2:
        return mask.long().sum(1)
    return (length - padding).expand(rows)
