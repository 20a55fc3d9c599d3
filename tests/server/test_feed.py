"""Events: followed live, resumed after a break, filtered; a slow follower is told what it missed."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import httpx
import numpy as np
import pytest
from fastapi.sse import ServerSentEvent

from foreshock.monitor.following import Heard
from foreshock.monitor.store import Alarm
from foreshock.server.feed import Feed
from foreshock.server.settings import Served

HOSTILE = "a\ndata: forged\r\n\r\nevent: alarm\x00 </script> \u202e\u2028"


def heard(k: int, conversation: str = "c", text: str = "w") -> Heard:
    values = np.array([[[0.1 * k, -9.0, 3.0, 0.0]]], np.float32)
    return Heard(conversation, 0, k, np.array([1]), [text], ["user"], [0], [True], values, "")


def alarm(text: str = "w", score: float = 5.0) -> Alarm:
    return Alarm("c", "afraid", score, 4.0, 0.01, 3, 1, "assistant", text, datetime.now(UTC))


def feed(most: int = 100) -> Feed:
    return Feed(("calm", "afraid", "sad", "proud"), 0, most)


def taken(feed: Feed, count: int, during: Callable[[], None] | None = None, **given: object) -> list[ServerSentEvent]:
    """The next events of a new follower; `during` runs once it follows."""

    async def follow() -> list[ServerSentEvent]:
        found: list[ServerSentEvent] = []
        stream = feed.follow(**given)  # type: ignore[arg-type]
        first = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0.01)
        if during:
            threading.Thread(target=during).start()
        found.append(await asyncio.wait_for(first, 5))
        while len(found) < count:
            found.append(await asyncio.wait_for(anext(stream), 5))
        await stream.aclose()  # type: ignore[attr-defined]
        return found

    return asyncio.run(follow())


def test_a_follower_gets_what_comes_from_another_thread_in_order() -> None:
    own = feed()
    own.take(heard(0))
    events = taken(own, 3, lambda: [own.take(heard(k)) for k in (1, 2, 3)])  # type: ignore[func-returns-value]
    told = [json.loads(event.raw_data or "") for event in events]
    assert [one["start"] for one in told] == [1, 2, 3]
    assert told[0]["emotions"][:2] == ["afraid", "sad"] and told[0]["values"] == [[-9.0, 3.0, 0.1, 0.0]]


def test_a_follower_that_comes_back_misses_nothing() -> None:
    own = feed()
    events = taken(own, 1, lambda: [own.take(heard(k)) for k in range(5)])  # type: ignore[func-returns-value]
    rest = taken(own, 4, after=events[0].id)
    assert [json.loads(event.raw_data or "")["start"] for event in rest] == [1, 2, 3, 4]


def test_what_the_ring_has_dropped_is_said() -> None:
    own = feed(most=10)
    first = taken(own, 1, lambda: own.take(heard(0)))[0]
    for k in range(1, 31):
        own.take(heard(k))
    gap, then = taken(own, 2, after=first.id)
    assert gap.event == "gap" and gap.data == {"missed": 20}
    assert json.loads(then.raw_data or "")["start"] == 21


@pytest.mark.parametrize("id", ["0123abcd-7", "", "-", "x" * 90, "7", "١-٢"])
def test_an_id_of_another_run_begins_with_what_is_there(id: str) -> None:
    own = feed()
    own.take(heard(5))
    gap, then = taken(own, 2, after=id)
    assert gap.event == "gap" and gap.data == {"missed": None} and json.loads(then.raw_data or "")["start"] == 5


def test_followers_ask_for_one_conversation_or_for_alarms_alone() -> None:
    own = feed()

    def during() -> None:
        for event in (heard(1), heard(2, "other"), alarm(), heard(3, "other")):
            own.take(event)

    assert [json.loads(e.raw_data or "")["start"] for e in taken(own, 2, during, conversation="other")] == [2, 3]
    assert [e.event for e in taken(own, 1, during, kinds=["alarm"])] == ["alarm"]


def test_what_is_no_number_leaves_the_events_valid_json() -> None:
    own = feed()
    nan = heard(1)
    nan.values[0, 0, 0] = np.nan
    events = taken(own, 2, lambda: [own.take(nan), own.take(alarm(score=float("inf")))])  # type: ignore[func-returns-value]
    for event in events:
        json.loads(event.raw_data or "", parse_constant=lambda name: pytest.fail(name))
    assert json.loads(events[1].raw_data or "")["score"] is None


def lines(answer: httpx.Response) -> Iterator[dict[str, str]]:
    """Events as a browser splits them."""
    found: dict[str, str] = {}
    for line in answer.iter_lines():
        if not line and found:
            yield found
            found = {}
        elif line and not line.startswith(":"):
            name, _, value = line.partition(": ")
            found[name] = found.get(name, "") + value


def test_the_route_streams_and_hostile_words_forge_no_event(served: Served, address: str) -> None:
    with httpx.stream("GET", f"{address}/events", timeout=20) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        stream = lines(answer)
        threading.Timer(0.2, lambda: [served.feed.take(heard(1, text=HOSTILE)), served.feed.take(heard(2))]).start()
        first, second = next(stream), next(stream)
    assert json.loads(first["data"])["pieces"] == [HOSTILE] and first["event"] == second["event"] == "readings"
    with httpx.stream("GET", f"{address}/events", headers={"Last-Event-ID": first["id"]}, timeout=20) as answer:
        assert next(lines(answer))["id"] == second["id"]
    assert httpx.get(f"{address}/events?kinds=sorrow").status_code == 400
