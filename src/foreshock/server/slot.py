"""A running request: how its next token is chosen, and which of its text may be shown."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from tokenizers.decoders import DecodeStream
from torch import Tensor

from foreshock.model.steered import Write
from foreshock.monitor.following import WITHHELD
from foreshock.server.requests import Event, Finished, Logprob, Request, Written

FEW = 1024
"""Likeliest tokens among which nucleus sampling mostly finds its mass."""


class Slot:
    """A request in the running batch. All of it happens in the engine's thread."""

    def __init__(
        self, id: str, row: int, request: Request, writes: Sequence[Write], tell: Callable[[Event], None], backend: Any
    ) -> None:
        self.id, self.row, self.request, self.writes, self.tell = id, row, request, writes, tell
        self.over = False
        self.conversation = request.conversation or ""
        """As the monitor calls it, once it has been heard."""
        self._backend, self._stream = backend, DecodeStream(skip_special_tokens=True)
        self.begun = False
        """Whether the monitor knows of it."""
        self._pending: list[int] = []
        """Tokens that have not become text yet."""
        bias = request.logit_bias
        self._bias = (torch.tensor(list(bias)), torch.tensor(list(bias.values()))) if bias else None
        self._counts: Counter[int] = Counter()
        self._text = self._shown = ""
        # A generator of its own: the same seed gives the same reply, whoever else is in the batch.
        self._random = torch.Generator()
        if request.seed is None:
            self._random.seed()
        else:
            self._random.manual_seed(request.seed)

    @property
    def written(self) -> int:
        """Tokens chosen so far."""
        return sum(self._counts.values())

    def fail(self) -> None:
        """Its end by something that went wrong; what, is in the log."""
        self.over = True
        self.tell(Finished("error", len(self.request.prompt), self.written, self.conversation))

    def choose(self, logits: Float[Tensor, " vocabulary"], ends: Sequence[int], stopped: bool) -> int:
        """The next token; tells what it adds to the text, and the end where this is it."""
        logprobs = logits.log_softmax(-1) if self.request.logprobs is not None else None
        id = ends[0] if stopped and ends else self._drawn(logits)
        self._counts[id] += 1
        last = id in ends or self.written >= self.request.most
        self._text += self._piece(id, id in ends, last)
        place = min((at for stop in self.request.stop if (at := self._text.find(stop)) >= 0), default=-1)
        last = last or place >= 0
        end = place if place >= 0 else len(self._text) - (0 if last else self._held_back())
        shown = self._text[len(self._shown) : max(end, len(self._shown))]
        self._shown += shown
        self.tell(Written(shown, id, *self._likely(logprobs, id)))
        if last:
            self.over = True
            reason = "alarm" if stopped else "stop" if id in ends or place >= 0 else "length"
            self.tell(Finished(reason, len(self.request.prompt), self.written, self.conversation))  # type: ignore[arg-type]
        return id

    def _piece(self, id: int, ends: bool, last: bool) -> str:
        """What a token adds to the text; bytes that become no character are given up after a while."""
        piece = None if ends else self._stream.step(self._backend, id)
        if piece is not None:
            self._pending.clear()
            return piece
        self._pending += [] if ends else [id]
        if not self._pending or not (last or len(self._pending) >= WITHHELD):
            return ""
        text = self._backend.decode(self._pending, skip_special_tokens=True)
        self._pending, self._stream = [], DecodeStream(skip_special_tokens=True)
        return str(text)

    def _drawn(self, logits: Float[Tensor, " vocabulary"]) -> int:
        asked, scores = self.request, logits.float()
        if self._bias is not None:
            scores = scores.index_add(0, self._bias[0].to(scores.device), self._bias[1].to(scores.device))
        if (asked.presence_penalty or asked.frequency_penalty) and self._counts:
            ids = torch.tensor(list(self._counts), device=scores.device)
            counts = torch.tensor(list(self._counts.values()), dtype=scores.dtype, device=scores.device)
            scores = scores.index_add(0, ids, -(asked.presence_penalty + counts * asked.frequency_penalty))
        if asked.temperature == 0:
            return int(scores.argmax())
        chances = (scores / asked.temperature).softmax(-1).cpu()
        if asked.top_p == 1:
            return self._one_of(chances)
        kept, order = chances.topk(min(FEW, len(chances)))  # sorting the whole vocabulary would take most of a pass
        if float(kept.sum()) < asked.top_p:
            kept, order = chances.sort(descending=True)
        return int(order[self._one_of(torch.where(kept.cumsum(-1) - kept < asked.top_p, kept, 0.0))])

    def _one_of(self, chances: Float[Tensor, " vocabulary"]) -> int:
        """Drawn by one random number, where `multinomial` would draw one a token of the vocabulary."""
        sums = chances.double().cumsum(-1)
        place = torch.rand(1, generator=self._random, dtype=torch.float64) * sums[-1]
        return min(int(torch.searchsorted(sums, place, right=True)), len(chances) - 1)

    def _held_back(self) -> int:
        """Characters at the end that a stop string may begin with."""
        longest = max((len(stop) for stop in self.request.stop), default=0)
        lengths = range(min(longest, len(self._text)), 0, -1)
        return next((n for n in lengths if any(stop.startswith(self._text[-n:]) for stop in self.request.stop)), 0)

    def _likely(
        self, logprobs: Float[Tensor, " vocabulary"] | None, id: int
    ) -> tuple[Logprob | None, tuple[Logprob, ...]]:
        if logprobs is None:
            return None, ()
        values, ids = logprobs.topk(min(self.request.logprobs or 0, len(logprobs)))
        top = tuple(Logprob(int(k), float(v)) for k, v in zip(ids, values, strict=True) if not math.isinf(v))
        return Logprob(id, float(logprobs[id])), top
