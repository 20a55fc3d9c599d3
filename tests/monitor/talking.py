"""Conversations and rules that several tests of the monitor use."""

from __future__ import annotations

import numpy as np

from foreshock.model import Tokens
from foreshock.model.planted import Planted, cue
from foreshock.monitor.rules import Change, Level, Rule
from foreshock.monitor.scores import Score
from foreshock.texts import Turn

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
