"""Records to rows and back: hostile text made storable, readings packed."""

from __future__ import annotations

import json
import re
import sys
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from sqlalchemy import RowMapping

from foreshock.errors import StoreError
from foreshock.monitor.store.records import Alarm, Conversation, Message, ReadingBlock, Record

ID_LENGTH = 200
"""Most characters of a conversation's id: an index of PostgreSQL cannot hold what has thousands."""
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")  # PostgreSQL keeps no NUL, and no UTF-8 has lone surrogates
_LARGEST = float(np.finfo(np.float16).max)


class Row(NamedTuple):
    """One row on its way into `table`; `size` is about its bytes in memory."""

    table: str
    values: dict[str, Any]
    size: int


def clean(text: str) -> str:
    """`text` with U+FFFD for every NUL and lone surrogate, one for one, so that character spans still fit."""
    return _UNSTORABLE.sub("\ufffd", text)


def packed(record: Record, key: str, keep_text: bool) -> Row:
    """The row of a record; nothing in it is shared with the caller. `key` names readings and alarms.

    Raises:
        StoreError: an id that is empty or too long, an instant without time zone, or readings of another shape
            than their emotions and spans.
    """
    match record:
        case Conversation():
            values = {
                "id": _id(record.id),
                "started": instant(record.started),
                "model": clean(record.model),
                "source": clean(record.source),
                "surrogate": bool(record.surrogate),
            }
        case Message():
            values = {
                "conversation": _id(record.conversation),
                "turn": int(record.turn),
                "role": clean(record.role),
                "text": clean(record.text) if keep_text and record.text is not None else None,
            }
        case ReadingBlock():
            values = {"key": key, **_packed_readings(record)}
        case Alarm():
            values = {
                "key": key,
                "conversation": _id(record.conversation),
                "rule": clean(record.rule),
                "score": float(record.score),
                "threshold": float(record.threshold),
                "p": float(record.p),
                "token": int(record.token),
                "turn": int(record.turn),
                "role": clean(record.role),
                "text": clean(record.text) if keep_text else "",
                "at": instant(record.at),
            }
        case _:
            raise StoreError(
                f"A store keeps Conversation, Message, ReadingBlock and Alarm records; this is a {type(record).__name__}."
            )
    table = {Conversation: "conversation", Message: "message", ReadingBlock: "reading", Alarm: "alarm"}[type(record)]
    return Row(table, values, sum(map(sys.getsizeof, values.values())))


def _packed_readings(block: ReadingBlock) -> dict[str, Any]:
    values = np.asarray(block.values)
    if values.shape != (len(block.spans), len(block.emotions)):
        raise StoreError(
            f"Readings of shape {values.shape} were given with {len(block.spans)} spans and {len(block.emotions)} "
            "emotions; give values[token, emotion], a span a token, a name a column."
        )
    spans = np.array(block.spans, dtype="<i4").reshape(-1, 2)
    return {
        "conversation": _id(block.conversation),
        "turn": int(block.turn),
        "layer": int(block.layer),
        "emotions": _listed(tuple(block.emotions)),
        "values": np.clip(values, -_LARGEST, _LARGEST).astype("<f2").tobytes(),
        "spans": spans.tobytes(),
    }


@lru_cache(64)  # the same emotions, several times a second
def _listed(emotions: tuple[str, ...]) -> str:
    return json.dumps([clean(each) for each in emotions], ensure_ascii=False)


def _id(text: str) -> str:
    if not 1 <= len(text) <= ID_LENGTH:
        raise StoreError(f"A conversation's id has 1 to {ID_LENGTH} characters; this one has {len(text)}.")
    return clean(text)


def instant(at: datetime) -> datetime:
    """`at`, which must say its time zone; raises `StoreError`."""
    if at.tzinfo is None:
        raise StoreError(f"The time {at} has no time zone; give one like datetime.now(UTC).")
    return at


def readings(row: RowMapping) -> ReadingBlock:
    """The block that was packed into `row`."""
    emotions = tuple(json.loads(row["emotions"]))
    spans = np.frombuffer(row["spans"], dtype="<i4").reshape(-1, 2)
    values = np.frombuffer(row["values"], dtype="<f2").reshape(len(spans), len(emotions))
    places = tuple((int(start), int(end)) for start, end in spans)
    return ReadingBlock(row["conversation"], row["turn"], row["layer"], emotions, values, places)


def alarm(row: RowMapping) -> Alarm:
    """The alarm that was packed into `row`."""
    numbers = {name: float("nan") if row[name] is None else row[name] for name in ("score", "threshold", "p")}
    return Alarm(**{name: row[name] for name in row if name != "key"} | numbers)
