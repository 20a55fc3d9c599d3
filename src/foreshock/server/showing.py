"""What the dashboard's JSON looks like, and how a kept conversation is made into it."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime

import numpy as np
from pydantic import BaseModel

from foreshock.emotions import lookup
from foreshock.errors import UnknownEmotion
from foreshock.monitor.store.records import Alarm, Kept, Message, ReadingBlock
from foreshock.server.replies import raised
from foreshock.server.wire import AlarmRaised


class RuleTold(BaseModel):
    """A rule. `reading`: the height of its one emotion's (mean) reading at the threshold, where there is one."""

    name: str
    emotions: list[str]
    threshold: float | None
    detector: str
    reading: float | None


class Status(BaseModel):
    """What this server serves."""

    model: str
    layer: int
    layers: list[int]
    emotions: list[str]
    rules: list[RuleTold]
    alpha: float | None
    running: int
    waiting: int
    store: bool
    words: bool
    usable_strength: float | None
    steering_layer: int | None
    version: str


class Header(BaseModel):
    """A conversation as a whole."""

    id: str
    started: datetime
    model: str
    source: str
    surrogate: bool


class ListedConversation(Header):
    """One of a list: how it begins, and how many alarms it has."""

    alarms: int
    first: str | None


class ConversationPage(BaseModel):
    """A page of the list; `next` is the `after` of the next one."""

    conversations: list[ListedConversation]
    next: str | None


class MessageShown(BaseModel):
    """A message; no text where words are not kept."""

    turn: int
    role: str
    text: str | None


class TurnReadings(BaseModel):
    """Readings of a turn's tokens; spans count characters (code points) of its text."""

    turn: int
    spans: list[tuple[int, int]]
    values: list[list[float | None]]


class AlarmPlaced(AlarmRaised):
    """An alarm. `place`: number of its token among those of its turn's readings; None where that is not known."""

    place: int | None


class ConversationShown(Header):
    """All of a conversation, with the readings of a few emotions at one layer."""

    messages: list[MessageShown]
    layers: list[int]
    layer: int
    emotions: list[str]
    all_emotions: list[str]
    readings: list[TurnReadings]
    alarms: list[AlarmPlaced]


class Hour(BaseModel):
    """Alarms of an hour."""

    hour: datetime
    count: int


class Mean(BaseModel):
    """An emotion's mean reading."""

    emotion: str
    mean: float


class DriftTold(BaseModel):
    """How far live traffic is from the calibration's, by the rule that differs most."""

    rule: str
    statistic: float | None
    p: float | None
    live: int
    warned: bool


class Overview(BaseModel):
    """The server's last day. `conversations` is None where none are kept."""

    alarms: list[Hour]
    by_rule: dict[str, int]
    highest: list[Mean]
    drift: DriftTold | None
    latency: dict[str, float | None]
    requests: dict[str, int]
    lost: int
    conversations: int | None


class Claim(BaseModel):
    """A finding of the study."""

    id: str
    claim: str
    value: float | None
    interval: tuple[float | None, float | None] | None
    published: str | None
    verdict: str
    statistic: str | None


class Place(BaseModel):
    """An emotion on the map."""

    emotion: str
    cluster: str
    valence: float | None
    arousal: float
    x: float
    y: float


class ModelShown(BaseModel):
    """The model's card and map. `note`: why there are no claims."""

    name: str
    claims: list[Claim]
    note: str | None
    map: list[Place]


def finite(value: float | None) -> float | None:
    """None in place of what JSON has no number for."""
    return value if value is not None and math.isfinite(value) else None


def shown(kept: Kept, asked: Sequence[str], layer: int, most: int) -> ConversationShown:
    """A conversation with the readings of the emotions asked for, else of those that read highest in it.

    Args:
        layer: whose readings; the first there are where they are of other layers only.
        most: emotions without being asked.

    Raises:
        UnknownEmotion: an emotion that was not read.
    """
    layers = sorted({block.layer for block in kept.readings})
    layer = layer if layer in layers or not layers else layers[0]
    blocks = [block for block in kept.readings if block.layer == layer]
    every = blocks[0].emotions if blocks else ()
    blocks = [block for block in blocks if block.emotions == every]  # of one conversation they are the same
    values = np.concatenate([block.values for block in blocks]) if blocks else np.zeros((0, 0), np.float16)
    chosen = _wanted(asked, every) if asked else _highest(values, every, most)
    columns = [every.index(word) for word in chosen]
    by_turn: dict[int, list[ReadingBlock]] = defaultdict(list)
    for block in blocks:
        by_turn[block.turn].append(block)
    readings = [_turn(turn, own, columns) for turn, own in by_turn.items()]
    texts = {message.turn: message for message in kept.messages}
    spans = {own.turn: own.spans for own in readings}
    return ConversationShown(
        **vars(kept.conversation),
        messages=[MessageShown(turn=own.turn, role=own.role, text=own.text) for own in kept.messages],
        layers=layers,
        layer=layer,
        emotions=chosen,
        all_emotions=sorted(every),
        readings=readings,
        alarms=[
            AlarmPlaced(**vars(raised(own)), place=place(own, texts.get(own.turn), spans.get(own.turn, [])))
            for own in kept.alarms
        ],
    )


def _wanted(asked: Sequence[str], every: Sequence[str]) -> list[str]:
    words = list(dict.fromkeys(lookup(word).word for word in asked))
    if missing := [word for word in words if word not in every]:
        raise UnknownEmotion(f"This conversation was not read for {missing[0]!r}; see its all_emotions.")
    return words


def _highest(values: np.ndarray, every: Sequence[str], most: int) -> list[str]:
    if not len(values):
        return []
    means = np.nan_to_num(values.mean(0, dtype=np.float32))
    return [every[k] for k in np.argsort(-means, kind="stable")[:most]]


def _turn(turn: int, blocks: Sequence[ReadingBlock], columns: Sequence[int]) -> TurnReadings:
    values = np.concatenate([block.values[:, columns] for block in blocks]).astype(np.float64).round(2)
    listed = values.tolist()
    if not np.isfinite(values).all():
        listed = [[finite(value) for value in row] for row in listed]
    # Not validated: there are hundreds of thousands, and they are made here.
    return TurnReadings.model_construct(turn=turn, spans=[span for own in blocks for span in own.spans], values=listed)


def place(alarm: Alarm, message: Message | None, spans: Sequence[tuple[int, int]]) -> int | None:
    """The number, in its turn, of the token that raised an alarm: the one at which the text that the alarm quotes ends.

    The alarm's own number counts the tokens of the chat template too, which are not kept. Where the quoted words stand
    in the message several times, the place nearest to that number is taken.
    """
    if message is None or not message.text or not alarm.text:
        return None
    ends = _ends(alarm.text, message.text)
    found = [k for k, (start, end) in enumerate(spans) if end in ends and start < end]
    return min(found, key=lambda k: abs(alarm.token - k), default=None)


def _ends(quote: str, text: str) -> set[int]:
    """Where the quoted words end in the message. A quote may begin before the message, in the chat template."""
    ends, at = set(), text.find(quote)
    while at >= 0:
        ends.add(at + len(quote))
        at = text.find(quote, at + 1)
    return ends or {next((size for size in range(len(quote), 0, -1) if text.startswith(quote[-size:])), -1)}
