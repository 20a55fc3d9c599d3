"""Replies to several requests at once, each with its own steering, length, temperature, seed and stop strings.

A sampled token is drawn with the row's own random numbers, so a reply does not depend on what else is in its batch
(up to the rounding that padding brings, which can turn a near tie).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from foreshock.model import LanguageModel, Tokens
from foreshock.model.steered import Write, steered

SORTED = 1000
"""Tokens that are put in order for sampling where they hold enough of the probability: sorting all takes longer."""


@dataclass(frozen=True, slots=True)
class Request:
    """A prompt, and how its reply is to be written."""

    prompt: Tokens
    writes: Sequence[Write]
    """What steering adds, and where."""
    most: int
    """Most new tokens."""
    temperature: float = 0.0
    """0 takes the likeliest token."""
    top_p: float = 0.95
    """Sampling is from the likeliest tokens that together have this probability."""
    seed: int = 0
    stops: tuple[str, ...] = ()
    """The reply ends before the first of these."""


@dataclass(frozen=True, slots=True)
class Written:
    """A reply."""

    text: str
    ids: list[int]
    """The tokens written, an end mark included."""
    finished: bool
    """False where the reply was cut off at its most tokens."""


@torch.inference_mode()
def write(model: LanguageModel, requests: Sequence[Request]) -> list[Written]:
    """A reply to each request, in order, all written at the same time.

    Raises:
        SteeringError: a steering cannot be done.
    """
    ids, mask = _padded(model, [request.prompt for request in requests])
    ends = _Ends(model, requests, ids.shape[1])
    with steered(model, [request.writes for request in requests], [request.prompt for request in requests]):
        out = model.model.generate(
            input_ids=ids,
            attention_mask=mask,
            max_new_tokens=max(request.most for request in requests),
            pad_token_id=model.tokenizer.pad_token_id or 0,
            do_sample=False,  # `_Draws` leaves one token to take
            repetition_penalty=1.0,
            no_repeat_ngram_size=0,
            logits_processor=[_Draws(requests, model.device)],
            stopping_criteria=[ends],
        )
    return [ends.reply(row, out[row]) for row in range(len(requests))]


def _padded(
    model: LanguageModel, prompts: Sequence[Tokens]
) -> tuple[Int[Tensor, "batch token"], Int[Tensor, "batch token"]]:
    """Prompts padded on the left, as generating goes on at the right, and their mask."""
    longest = max(len(prompt) for prompt in prompts)
    ids = torch.full((len(prompts), longest), model.tokenizer.pad_token_id or 0)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, longest - len(prompt) :] = torch.tensor(prompt.ids)
        mask[row, longest - len(prompt) :] = 1
    return ids.to(model.device), mask.to(model.device)


class _Draws:
    """Leaves each sampled row the one token that its next random number falls on; a logits processor."""

    def __init__(self, requests: Sequence[Request], device: torch.device) -> None:
        self.rows = torch.tensor([k for k, one in enumerate(requests) if one.temperature > 0], dtype=torch.long)
        sampled = [requests[int(k)] for k in self.rows]
        self.temperature = torch.tensor([[one.temperature] for one in sampled], device=device)
        self.top_p = torch.tensor([[one.top_p] for one in sampled], device=device)
        longest = max((one.most for one in requests), default=0)
        numbers = [np.random.default_rng(one.seed).random(longest, np.float32) for one in sampled]
        self.numbers = torch.from_numpy(np.array(numbers)).to(device)
        self.rows, self.step = self.rows.to(device), 0

    def __call__(self, _ids: Tensor, scores: Float[Tensor, "batch vocabulary"]) -> Float[Tensor, "batch vocabulary"]:
        step, self.step = self.step, self.step + 1
        if not len(self.rows):
            return scores
        every = (scores[self.rows].float() / self.temperature).softmax(-1)
        chances, order = every.topk(min(SORTED, every.shape[-1]))
        if (chances.sum(-1, keepdim=True) < self.top_p).any():
            chances, order = every.sort(-1, descending=True)
        kept = torch.where(chances.cumsum(-1) - chances < self.top_p, chances, 0).cumsum(-1)
        number = self.numbers[:, step, None] * kept[:, -1:]
        place = torch.searchsorted(kept, number, right=True).clamp_max(chances.shape[-1] - 1)
        drawn = scores.clone()
        drawn[self.rows] = torch.full_like(every, -torch.inf).scatter(-1, order.gather(-1, place), 0.0).to(scores)
        return drawn


class _Ends:
    """Says which rows are finished, and remembers where; a stopping criterion."""

    def __init__(self, model: LanguageModel, requests: Sequence[Request], start: int) -> None:
        eos = model.model.generation_config.eos_token_id
        self.eos = set(eos if isinstance(eos, list) else [eos])
        self.tokenizer, self.requests, self.start = model.tokenizer, requests, start
        self.lengths: dict[int, int] = {}
        """Row → tokens written when it ended by itself."""

    def __call__(self, ids: Int[Tensor, "batch token"], _scores: Any, **_: Any) -> Bool[Tensor, " batch"]:
        written = ids.shape[1] - self.start
        for row, request in enumerate(self.requests):
            ended = int(ids[row, -1]) in self.eos or self._stopped(request, ids[row, self.start :])
            if row not in self.lengths and written <= request.most and ended:
                self.lengths[row] = written
        done = [row in self.lengths or written >= request.most for row, request in enumerate(self.requests)]
        return torch.tensor(done, device=ids.device)

    def _stopped(self, request: Request, ids: Int[Tensor, " token"]) -> bool:
        if not request.stops:
            return False
        # A letter is a token at least, or a few where it is split into bytes.
        tail = self.tokenizer.decode(ids[-max(map(len, request.stops)) - 8 :])
        return any(stop in tail for stop in request.stops)

    def reply(self, row: int, ids: Int[Tensor, " token"]) -> Written:
        request = self.requests[row]
        own = ids[self.start :][: self.lengths.get(row, request.most)].tolist()
        text = self.tokenizer.decode(own, skip_special_tokens=True)
        for stop in request.stops:
            text = text.partition(stop)[0]
        return Written(text.strip(), own, finished=row in self.lengths)
