"""Rules: a score, and a detector that makes one running number out of a conversation's scores.

A detector is the one seam of the monitor. Anything that `begin`s a function from the newest score to the statistic so
far is one; thresholds are calibrated whatever the statistic is.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from jaxtyping import Bool, Float

from foreshock.activations import SKIP
from foreshock.errors import CalibrationError
from foreshock.monitor.scores import Score

NOTHING = -math.inf
"""A statistic while there is nothing to say yet."""
Step = Callable[[float], float]
"""Score of the newest counted token → statistic so far: finite, the larger the more alarming, or `NOTHING`."""


class Detector(Protocol):
    """Watches the scores of one conversation at a time. To be saved, it is a dataclass of plain values."""

    def begin(self) -> Step:
        """A fresh function for a conversation that begins."""


@dataclass(frozen=True)
class Level:
    """A sustained level: the mean score of the newest `window` tokens, once a quarter of them are there."""

    window: int = 16

    def __post_init__(self) -> None:
        if self.window < 1:
            raise CalibrationError(f"A window of {self.window} tokens holds none; give at least 1.")

    def begin(self) -> Step:
        """See `Detector`."""
        recent: deque[float] = deque(maxlen=self.window)

        def step(score: float) -> float:
            recent.append(score)
            return sum(recent) / len(recent) if 4 * len(recent) >= self.window else NOTHING

        return step


@dataclass(frozen=True)
class Change:
    """A change to the higher: one-sided CUSUM, the sum of what scores exceed `drift` by since it was last 0.

    Small rises add up as long as they last. The score's unit is its spread over benign tokens (Page 1954).
    """

    drift: float = 0.5

    def __post_init__(self) -> None:
        if not math.isfinite(self.drift):
            raise CalibrationError(f"A drift of {self.drift} is no number; give one, e.g. 0.5.")

    def begin(self) -> Step:
        """See `Detector`."""
        total = 0.0

        def step(score: float) -> float:
            nonlocal total
            total = max(0.0, total + score - self.drift)
            return total

        return step


@dataclass(frozen=True)
class Extreme:
    """A single extreme token: the score itself."""

    def begin(self) -> Step:
        """See `Detector`."""
        return float


@dataclass(frozen=True)
class Rule:
    """What is watched for, under a name that its alarms carry."""

    name: str
    score: Score
    detector: Detector

    def begin(self) -> Step:
        """The detector's function for a conversation that begins; what it returns is checked.

        Raises:
            CalibrationError: (in the function) the statistic is NaN or +infinity, which would hide every alarm.
        """
        step = self.detector.begin()

        def checked(score: float) -> float:
            statistic = step(score)
            if not statistic < math.inf:
                raise CalibrationError(
                    f"The detector of rule {self.name!r} returned {statistic}; a statistic is a finite number, "
                    "or NOTHING while there is nothing to say."
                )
            return statistic

        return checked


DETECTORS: dict[str, Callable[[str], Detector]] = {
    "level": lambda number: Level(int(number)) if number else Level(),
    "change": lambda number: Change(float(number)) if number else Change(),
    "extreme": lambda _: Extreme(),
}
"""Names in a rule's words, and what they make of the number after the slash."""


def parse_rule(text: str) -> Rule:
    """A rule in words, which are also its name: `desperate,calm=-1:level/32`.

    Emotions with their weights (1 where none is given), then the detector (`level` where none is given) and its number:
    the window of `level`, the drift of `change`.

    Raises:
        CalibrationError: the words cannot be read. UnknownEmotion: an emotion is not in the catalogue.
    """
    weighed, _, detected = text.replace(" ,", ",").replace(", ", ",").strip().partition(":")
    kind, _, number = detected.strip().partition("/")
    try:
        weights = {}
        for part in weighed.split(","):
            word, equals, weight = part.partition("=")
            weights[word.strip()] = float(weight) if equals else 1.0
        detector = DETECTORS[kind or "level"](number)
    except (ValueError, KeyError):
        raise CalibrationError(
            f"The rule {text!r} cannot be read; write emotions with weights, and a detector out of "
            f"{', '.join(DETECTORS)}, e.g. desperate,calm=-1:level/32 or afraid:change."
        ) from None
    return Rule(text.strip(), Score(weights), detector)


def peak(rule: Rule, scores: Float[np.ndarray, " token"]) -> float:
    """The largest statistic over a conversation's counted tokens; `NOTHING` where it never has one."""
    return max(map(rule.begin(), scores.tolist()), default=NOTHING)


def counts(
    content: Sequence[bool], roles: Sequence[str], start: int, watched: Sequence[str] | None
) -> Bool[np.ndarray, " token"]:
    """Which of some tokens rules look at: words of the watched roles (None: of all), without a text's first few.

    Nothing here depends on what comes later, so it is the same while a conversation runs and once it is over.

    Args:
        start: position of the first of these tokens in the conversation.
    """
    own = [said and (watched is None or role in watched) for said, role in zip(content, roles, strict=True)]
    own[: max(0, SKIP - start)] = [False] * min(len(own), max(0, SKIP - start))
    return np.array(own, bool)
