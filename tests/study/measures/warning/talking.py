"""Made-up conversations whose residuals are known, for warners to be tried on."""

from __future__ import annotations

import numpy as np

from foreshock.study.measures.warning.talks import Talk

HIDDEN, LENGTH, ONSET = 8, 60, 40


def talk(scenario: str, random: np.random.Generator, misaligned: bool = False, onset: int | None = None, raised: slice | None = None) -> Talk:  # fmt: skip
    """Random residuals, of which the first direction is raised at some tokens; words that say nothing."""
    residuals = random.standard_normal((LENGTH, HIDDEN))
    if raised:
        residuals[raised, 0] += 4
    words = [f"w{k} " for k in random.integers(0, 100, LENGTH)]
    losses = random.random(LENGTH).astype(np.float32)
    return Talk(scenario, "chat", misaligned, words, onset, residuals.astype(np.float16), losses)


def pairs(count: int, random: np.random.Generator, raised: slice | None = None) -> list[tuple[Talk, Talk]]:
    """Pairs, of which the misaligned endings are raised somewhere."""
    return [
        (talk(f"pair {k}", random, True, ONSET, raised), talk(f"pair {k}", random, False, ONSET)) for k in range(count)
    ]


def benign(count: int, random: np.random.Generator) -> list[Talk]:
    return [talk(f"benign {k}", random) for k in range(count)]
