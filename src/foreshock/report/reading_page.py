"""Readings of conversations → one self-contained HTML page: tinted messages, a time line under each, alarms.

The page stays small: it holds the first conversations and the highest emotions of each, and says what it left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import vl_convert
from markupsafe import Markup

from foreshock.report.page import environment

if TYPE_CHECKING:
    from foreshock.monitor.store.records import Alarm
    from foreshock.readings import Readings

CONVERSATIONS = 20
"""Most conversations on a page."""
TOKENS = 50_000
"""Once it holds so many tokens (times layers), no further conversation is put on a page."""
EMOTIONS = 12
"""Emotions of each conversation whose readings are on the page."""
FAULTS = 20
"""Most lines named of those that could not be read."""
SMOOTHING = (1, 8, 32)
"""Windows to choose from, in tokens."""


@dataclass(frozen=True, slots=True)
class Said:
    """One message of a conversation on the page."""

    number: int | None
    """From 1, as in the transcript; None for plain text."""
    role: str
    pieces: list[str]
    """The characters of each token; together they are the message."""


@dataclass(frozen=True, slots=True)
class Shown:
    """One conversation, ready for the page."""

    title: str
    authorship: str
    messages: list[Said]
    data: dict[str, Any]
    """For the script: `turn` of each token; `layers`, each with `emotions` and `values[emotion][token]` (None for a
    token that is not counted); `alarms`, with the token they stand `at`."""
    alarms: list[Alarm]


def shown(
    title: str,
    authorship: str,
    readings: Sequence[Readings],
    alarms: Sequence[Alarm] = (),
    emotion: str | None = None,
) -> Shown:
    """A conversation as the page has it: the messages' own tokens, without the template's.

    Args:
        readings: of one conversation, at each layer, unsmoothed.
        emotion: one that is on the page in any case, and first.
    """
    tokens = readings[0].tokens
    kept = [k for k, own in enumerate(tokens.content) if own]
    places = {k: at for at, k in enumerate(kept)}
    marked = [
        {
            "at": places[alarm.token],
            "said": f"{alarm.rule} {alarm.score:.2f} > {alarm.threshold:.2f}, p = {alarm.p:.3g}",
        }
        for alarm in alarms
        if alarm.token in places
    ]
    data = {
        "turn": [tokens.turns[k] for k in kept],
        "layers": [_layer(one, kept, emotion) for one in readings],
        "alarms": marked,
    }
    return Shown(title, authorship, _messages(readings[0], kept), data, list(alarms))


def _layer(readings: Readings, kept: list[int], emotion: str | None) -> dict[str, Any]:
    """The emotions that read highest in any one turn, so that what a single message brings up is not averaged away."""
    turns = [list(mean.values()) for _, _, mean in readings.by_turn()] if len(set(readings.tokens.turns)) > 1 else []
    highest = np.max(turns or [list(readings.mean().values())], axis=0)
    ranked = [readings.emotions[k] for k in np.argsort(-highest, kind="stable")]
    words = [emotion, *(word for word in ranked if word != emotion)] if emotion else ranked
    columns = [readings.emotions.index(word) for word in words[:EMOTIONS]]
    counted = readings.counted()
    values = [[round(float(readings.values[k, column]), 2) if counted[k] else None for k in kept] for column in columns]
    return {"layer": readings.layer, "emotions": words[:EMOTIONS], "values": values}


def _messages(readings: Readings, kept: list[int]) -> list[Said]:
    tokens, messages = readings.tokens, []
    turn, end = -1, 0
    for k in kept:
        start = tokens.spans[k][0]
        if tokens.turns[k] != turn:
            turn, end = tokens.turns[k], start
            plain = tokens.roles[k] == "text"
            messages.append(Said(None if plain else turn + 1, tokens.roles[k], []))
        # Several tokens may share a character: it belongs to the first.
        messages[-1].pieces.append(tokens.text[end : tokens.spans[k][1]])
        end = max(end, tokens.spans[k][1])
    return messages


@dataclass(slots=True)
class ReadingPage:
    """Gathers conversations, as many as a page holds, and counts the others.

    Args:
        source: what was read. read_by: the model that read.
        smooth: a window to begin with, in tokens.
    """

    source: str
    read_by: str
    smooth: int = 8
    emotion: str | None = None
    conversations: list[Shown] = field(default_factory=list)
    count: int = 0
    tokens: int = 0
    alarms: int | None = None
    """How many alarms in all; None where no rules were given."""
    alarm_layer: int | None = None
    """The layer that the rules look at."""
    authors: dict[str, int] = field(default_factory=dict)
    """Who wrote and who read, as a sentence → how many conversations."""

    def add(
        self,
        title: str,
        authorship: str,
        readings: Sequence[Readings],
        alarms: Sequence[Alarm] | None = None,
    ) -> None:
        """Take one more conversation."""
        self.count += 1
        self.authors[authorship] = self.authors.get(authorship, 0) + 1
        if alarms is not None:
            self.alarms = (self.alarms or 0) + len(alarms)
        if len(self.conversations) == self.count - 1 < CONVERSATIONS and self.tokens < TOKENS:
            self.conversations.append(shown(title, authorship, readings, alarms or (), self.emotion))
            self.tokens += len(readings) * len(readings[0].tokens)

    def render(self, faults: Sequence[str] = ()) -> str:
        """The page as a string; `faults` are the lines that could not be read."""
        return (
            environment()
            .get_template("reading.html")
            .render(
                page=self,
                faults=faults[:FAULTS],
                more_faults=max(0, len(faults) - FAULTS),
                most=EMOTIONS,
                windows=sorted({*SMOOTHING, self.smooth}),
                data=[one.data for one in self.conversations],
                layers=[one["layer"] for one in self.conversations[0].data["layers"]] if self.conversations else [],
                vega=Markup(vl_convert.javascript_bundle()),  # type: ignore[call-arg]  # the stub has no default
            )
        )
