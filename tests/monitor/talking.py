"""Conversations and rules that several tests of the monitor use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from foreshock.model import LanguageModel, Tokens
from foreshock.model.planted import Planted, cue
from foreshock.monitor.rules import Change, Level, Rule
from foreshock.monitor.scores import Score
from foreshock.texts import Turn

TEN = "w1 w2 w3 w4 w5 w6 w7 w8 w9 w10"
RULES = (
    Rule("desperate", Score({"desperate": 1.0}), Level(4)),
    Rule("rise", Score({"desperate": 1, "calm": -1}), Change()),
)


def talk(plant: Planted, seed: int, emotion: str | None = None, turns: int = 2) -> Tokens:
    """A conversation of fillers, with cues of an emotion in the assistant's words if one is named."""
    random = np.random.default_rng(seed)

    def said(cues: int) -> str:
        words = [f"w{k}" for k in random.integers(0, 120, int(random.integers(12, 40)))]
        if emotion:
            words += [cue(emotion, int(random.integers(6)), int(random.integers(2))) for _ in range(cues)]
        return " ".join(random.permutation(words))

    told = [Turn(role="user" if k % 2 == 0 else "assistant", content=said(12 * (k % 2))) for k in range(turns)]
    return plant.model.encode(told)


@torch.inference_mode()
def teacher(model: LanguageModel, prompts: Sequence[Tokens], replies: Sequence[Sequence[int]]) -> None:
    """A loop of one's own: a padded batch with a cache, the replies put in the model's mouth; ended rows are filled."""
    longest, most = max(map(len, prompts)), max(map(len, replies))
    ids = torch.zeros(len(prompts), longest + most, dtype=torch.long)
    mask = torch.ones_like(ids)
    for row, (prompt, reply) in enumerate(zip(prompts, replies, strict=True)):
        start = longest - len(prompt)
        ids[row, start : longest + len(reply)] = torch.tensor([*prompt.ids, *reply])
        mask[row, :start] = 0
    cache = None
    for first, last in [(0, longest), *((k, k + 1) for k in range(longest, longest + most))]:
        out = model.model(ids[:, first:last], attention_mask=mask[:, :last], past_key_values=cache, use_cache=True)
        cache = out.past_key_values


def split(model: LanguageModel, whole: Tokens) -> tuple[Tokens, list[int]]:
    """A finished conversation as the prompt of its last turn and the reply."""
    last = max(whole.turns)
    first = next(k for k in range(len(whole)) if whole.turns[k] == last and whole.content[k])
    own = [k for k in range(len(whole)) if whole.turns[k] < last]
    assert own
    prompt = replace(
        whole,
        **{name: getattr(whole, name)[:first] for name in ("ids", "spans", "roles", "turns", "content")},
    )
    return prompt, whole.ids[first:]
