"""What a store keeps: conversations, their messages, the readings of a turn, alarms."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True)
class Conversation:
    """A conversation as a whole; adding it again replaces what is said here about it.

    Attributes:
        id: 1 to 200 characters.
        started: with its time zone; retention counts from here.
        model: the model that was read.
        source: where the conversation came from: a server, a file.
        surrogate: the messages were written by another model than the one that was read.
    """

    id: str
    started: datetime
    model: str
    source: str
    surrogate: bool = False


@dataclass(frozen=True)
class Message:
    """What was said in one turn; adding the same turn again replaces it. `text` is None where words are not kept."""

    conversation: str
    turn: int
    role: str
    text: str | None


@dataclass(frozen=True, eq=False)
class ReadingBlock:
    """Readings of a turn, or of a stretch of it, at one layer; blocks of one turn come back in the order added.

    Attributes:
        emotions: names of the columns of `values`.
        values: readings[token, emotion]; kept as float16, what is beyond ±65504 as that.
        spans: first and past-the-last character of every token in the message's text.
    """

    conversation: str
    turn: int
    layer: int
    emotions: tuple[str, ...]
    values: Float[np.ndarray, "token emotion"]
    spans: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Alarm:
    """A rule's alarm at a token of a turn. It is no proof of misconduct: it asks somebody to look.

    Attributes:
        score: the rule's running statistic, in the unit of its detector.
        p: probability that a benign conversation, exchangeable with the calibration's, gets so far; for all rules.
        token: position in the conversation, from 0.
        text: the words just before, with the token itself; empty where words are not kept.
    """

    conversation: str
    rule: str
    score: float
    threshold: float
    p: float
    token: int
    turn: int
    role: str
    text: str
    at: datetime


Record = Conversation | Message | ReadingBlock | Alarm


@dataclass(frozen=True, eq=False)
class Kept:
    """All that is kept of one conversation: messages by turn, readings by turn and layer, alarms by time."""

    conversation: Conversation
    messages: tuple[Message, ...]
    readings: tuple[ReadingBlock, ...]
    alarms: tuple[Alarm, ...]


@dataclass(frozen=True, slots=True)
class Outline:
    """A conversation in a list. `first`: how its first message begins, system prompts aside; None without words."""

    first: str | None
    alarms: int
