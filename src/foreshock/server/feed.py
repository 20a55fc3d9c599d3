"""Readings and alarms as they come, to any number of followers: server-sent events, resumable by Last-Event-ID.

The newest events stand in a ring that all followers share, each made into JSON once. A follower is a place in the ring,
so a slow one takes no memory; one that falls behind the ring is told by an event `gap` how many it missed. FastAPI sends
a comment after 15 quiet seconds, so that proxies keep the connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import threading
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from fastapi import APIRouter, Header, Query
from fastapi.sse import EventSourceResponse, ServerSentEvent

from foreshock.monitor.following import Heard
from foreshock.monitor.store import Alarm
from foreshock.server.replies import raised
from foreshock.server.settings import Served

KEPT = 10_000
"""Events in the ring: half a minute of a busy server, hours of a quiet one."""
ROOM = 32_000_000
"""Characters in the ring: long prompts make long events."""
HIGHEST = 5
"""Emotions of an event of readings: those with the largest mean in it."""
AT_ONCE = 200
"""Events that a follower takes from the ring at a time."""
Kind = Literal["readings", "alarm"]


@dataclass(frozen=True, slots=True)
class Item:
    """One event, ready for all followers."""

    number: int
    conversation: str
    event: ServerSentEvent


class Feed:
    """The ring.

    An id is `RUN-NUMBER`: numbers grow by one, and the run is another each time that the server starts. Whoever comes
    with an id of another run gets a `gap` whose `missed` is null, since nobody knows how many, then all that is kept.

    Args:
        emotions: names of the readings' columns.
        shown: place of the layer in `Heard.values` whose readings are told.
        most: events that are kept.
    """

    def __init__(self, emotions: Sequence[str], shown: int, most: int = KEPT) -> None:
        self._emotions, self._shown, self._most = tuple(emotions), shown, most
        self._run = secrets.token_hex(4)
        self._ring: deque[Item] = deque()
        self._next = 1
        self._size = 0
        self._closed = False
        self._lock = threading.Lock()  # held for microseconds only
        self._bells: dict[asyncio.AbstractEventLoop, asyncio.Event] = {}
        self.missed = 0
        """Events that followers were too slow for, together."""

    def take(self, event: Heard | Alarm) -> None:
        """Add an event; called in the engine's thread, and waits for nobody."""
        if isinstance(event, Alarm):
            kind, told = "alarm", raised(event).model_dump()
        else:
            kind, told = "readings", self._told(event)
        # ASCII, so that no character of a text is taken for the end of a line.
        data = json.dumps(told, separators=(",", ":"), allow_nan=False)
        with self._lock:
            sent = ServerSentEvent(event=kind, raw_data=data, id=self._id(self._next))
            self._ring.append(Item(self._next, event.conversation, sent))
            self._next += 1
            self._size += len(data)
            while len(self._ring) > self._most or (self._size > ROOM and len(self._ring) > 1):
                self._size -= len(self._ring.popleft().event.raw_data or "")
        self._wake()

    def close(self) -> None:
        """End all followers; without that a server that is to stop would wait for them."""
        self._closed = True
        self._wake()

    async def follow(
        self, after: str | None = None, conversation: str | None = None, kinds: Sequence[Kind] = ()
    ) -> AsyncIterator[ServerSentEvent]:
        """Events from now on, or those after the id `after`.

        Where a follower stands is told by an id without an event: at once, and when much was passed over, so that it can
        come back to there. A `gap` counts events of all kinds and conversations.

        Args:
            conversation: only its events.
            kinds: only these; none are all.
        """
        place, unknown = self._begin(after)
        told = place - 1
        yield _gap(None, self._id(told)) if unknown else ServerSentEvent(id=self._id(told))
        while True:
            bell = self._bell()  # before looking, so that nothing goes by in between
            if self._closed:
                return
            items, missed = self._since(place)
            if missed:
                told = place + missed - 1
                yield _gap(missed, self._id(told))
            for item in items:
                if conversation in (None, item.conversation) and (not kinds or item.event.event in kinds):
                    told = item.number
                    yield item.event
            place = items[-1].number + 1 if items else place + missed
            if place - told > AT_ONCE:
                told = place - 1
                yield ServerSentEvent(id=self._id(told))
            if not items:
                await bell.wait()

    def _told(self, heard: Heard) -> dict[str, object]:
        values = heard.values[:, self._shown]
        own = values[np.array(heard.content)] if len(set(heard.content)) == 2 else values
        with np.errstate(invalid="ignore", over="ignore"):
            highest = np.argsort(-np.abs(own.sum(0)), kind="stable")[:HIGHEST]
        shown = values[:, highest].astype(float).round(4)
        if not (finite := np.isfinite(shown)).all():
            shown = shown.astype(object)
            shown[~finite] = None  # JSON has no word for them
        return {
            "conversation": heard.conversation,
            "start": heard.start,
            "pieces": heard.pieces,
            "roles": heard.roles,
            "turns": heard.turns,
            "content": heard.content,
            "emotions": [self._emotions[k] for k in highest],
            "values": shown.tolist(),
        }

    def _id(self, number: int) -> str:
        return f"{self._run}-{number}"

    def _begin(self, after: str | None) -> tuple[int, bool]:
        """Number of the first event to tell, and whether what came before it is unknown."""
        with self._lock:
            if after is None:
                return self._next, False
            run, _, number = after.partition("-")
            if run == self._run and number.isascii() and number.isdigit():
                return min(int(number) + 1, self._next), False
            return self._first(), True

    def _first(self) -> int:
        return self._ring[0].number if self._ring else self._next

    def _since(self, place: int) -> tuple[list[Item], int]:
        """The next events from a number on, and how many of them the ring has dropped already."""
        with self._lock:
            missed = max(0, self._first() - place)
            self.missed += missed
            start = place + missed - self._first()
            end = min(start + AT_ONCE, len(self._ring))
            return [self._ring[k] for k in range(start, end)], missed  # slicing would walk all that is before

    def _bell(self) -> asyncio.Event:
        """Set in the running loop at the next change; one for all followers there."""
        with self._lock:
            return self._bells.setdefault(asyncio.get_running_loop(), asyncio.Event())

    def _wake(self) -> None:
        with self._lock:
            bells, self._bells = self._bells, {}
        for loop, bell in bells.items():
            with contextlib.suppress(RuntimeError):  # its loop has closed
                loop.call_soon_threadsafe(bell.set)


def _gap(missed: int | None, id: str) -> ServerSentEvent:
    return ServerSentEvent(event="gap", data={"missed": missed}, id=id)


def router(served: Served) -> APIRouter:
    """The route."""
    routes = APIRouter()

    @routes.get("/events", response_class=EventSourceResponse)
    async def events(
        conversation: Annotated[str | None, Query(max_length=200)] = None,
        kinds: Annotated[list[Kind], Query(max_length=2)] = [],  # noqa: B006 (FastAPI copies it)
        last_event_id: Annotated[str | None, Header(max_length=100)] = None,
    ) -> AsyncIterator[ServerSentEvent]:
        async for event in served.feed.follow(last_event_id, conversation, kinds):
            yield event

    return routes
