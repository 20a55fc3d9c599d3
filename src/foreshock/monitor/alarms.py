"""Alarms: where a rule's running statistic rises above its threshold, while a conversation runs or once it is over."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime

import numpy as np
from jaxtyping import Float

from foreshock.monitor.calibration import Calibration
from foreshock.monitor.rules import NOTHING, counts
from foreshock.monitor.store.records import Alarm
from foreshock.readings import Readings

AROUND = 120
"""Characters of text that an alarm quotes, up to and with its token."""
FALL = 0.2
"""A rule that has fired is silent until its statistic stood this share of the threshold below it."""
COOL_DOWN = 64
"""And for at least so many counted tokens."""


def line(alarm: Alarm) -> str:
    """An alarm as one line of ASCII JSON; null stands for a threshold that everything passes."""
    record = asdict(alarm) | {"at": alarm.at.isoformat()}
    return json.dumps(record | ({"threshold": None} if alarm.threshold == NOTHING else {}), allow_nan=False)


class Tracker:
    """The running statistics of all rules over one conversation.

    A rule that has fired fires again only after its statistic fell well below the threshold and `cool_down` counted
    tokens went by. The first alarm is what the false-alarm rate is about; this keeps it from being said at every token.
    """

    def __init__(self, calibration: Calibration, conversation: str, cool_down: int = COOL_DOWN) -> None:
        self.conversation, self._calibration, self._cool_down = conversation, calibration, cool_down
        self._steps = [rule.begin() for rule in calibration.rules]
        self._thresholds = calibration.thresholds
        self._armed = [True] * len(self._steps)
        self._fired = [-cool_down] * len(self._steps)
        self._counted = 0
        self._now: list[float] = []
        self._total = np.zeros(len(self._steps))
        scores = [rule.score for rule in calibration.rules]
        self._mean, self._spread = (np.array([getattr(s, name) for s in scores]) for name in ("mean", "spread"))
        self._read: Sequence[str] = ()
        self._weights = np.zeros((0, len(scores)))

    @property
    def means(self) -> Float[np.ndarray, " rule"] | None:
        """Mean scores over the tokens counted so far; None before the first."""
        return self._total / self._counted if self._counted else None

    def feed(
        self,
        start: int,
        values: Float[np.ndarray, "token emotion"],
        emotions: Sequence[str],
        content: Sequence[bool],
        roles: Sequence[str],
        turns: Sequence[int],
        quote: Callable[[int], str],
    ) -> list[Alarm]:
        """The alarms at the next tokens of the conversation.

        Args:
            start: position of the first of them.
            quote: from the number of one of these tokens, from 0, to the text up to and with it.
        """
        inside = np.flatnonzero(counts(content, roles, start, self._calibration.roles))
        if emotions is not self._read:
            self._read = emotions
            self._weights = np.stack([rule.score.row(emotions) for rule in self._calibration.rules], 1)
        scores = (values[inside].astype(np.float64) @ self._weights - self._mean) / self._spread
        self._total += scores.sum(0)
        alarms = []
        for token, own in zip(inside.tolist(), scores.tolist(), strict=True):
            for k in self._firing(own):
                rule, statistic = self._calibration.rules[k], self._now[k]
                p = self._calibration.p_value(k, statistic)
                where = (start + token, turns[token], roles[token], quote(token))
                alarms.append(
                    Alarm(self.conversation, rule.name, statistic, self._thresholds[k], p, *where, datetime.now(UTC))
                )
        return alarms

    def _firing(self, scores: list[float]) -> list[int]:
        """Take one token in; the rules that fire at it."""
        self._counted += 1
        self._now = [step(score) for step, score in zip(self._steps, scores, strict=True)]
        firing = []
        for k, (statistic, limit) in enumerate(zip(self._now, self._thresholds, strict=True)):
            if statistic > limit and self._armed[k] and self._counted - self._fired[k] >= self._cool_down:
                firing.append(k)
                self._armed[k], self._fired[k] = False, self._counted
            elif statistic <= limit - FALL * abs(limit):
                self._armed[k] = True
        return firing


def scan(
    readings: Readings, calibration: Calibration, conversation: str = "", cool_down: int = COOL_DOWN
) -> list[Alarm]:
    """The alarms of a finished conversation: those that a `Tracker` raises while it runs over the same tokens.

    Raises:
        UnknownEmotion: a rule's emotion was not read.
    """
    tokens, tracker = readings.tokens, Tracker(calibration, conversation, cool_down)

    def quote(token: int) -> str:
        end = tokens.spans[token][1]
        return tokens.text[max(0, end - AROUND) : end]

    return tracker.feed(0, readings.values, readings.emotions, tokens.content, tokens.roles, tokens.turns, quote)
