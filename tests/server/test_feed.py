"""The stream of events, over a real server: resumed, filtered, lagged behind, left and ended."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import httpx
import numpy as np
import pytest
import uvicorn
from fastapi import FastAPI

from foreshock.monitor.following import Heard
from foreshock.monitor.store import Alarm
from foreshock.server import feed as module
from foreshock.server.feed import Feed, router
from foreshock.server.settings import Served

EMOTIONS = ("afraid", "calm", "sad", "proud", "tired", "angry")
HOSTILE = 'a\nid: 9\rdata: {}\r\n\r\nevent: alarm\u2028\u2029\u0085\0"\\</script>\ud800é'


def heard(text: str = "x", conversation: str = "one", values: Any = None) -> Heard:
    values = np.arange(6) - 2.0 if values is None else np.array(values, float)
    both = np.stack([np.zeros(6), values])[None].astype(np.float32)
    return Heard(conversation, 0, 3, np.array([7]), [text], ["user"], [0], [True], both, "")


def alarm(score: float = 5.0, text: str = "said", conversation: str = "one") -> Alarm:
    return Alarm(conversation, "desperate", score, float("-inf"), 0.01, 3, 0, "user", text, datetime.now(UTC))


def strict(data: str) -> Any:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(data, parse_constant=refuse)


class Following:
    """A follower over HTTP, by the rules of the HTML standard: events with data, and the last id."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines, self.last, self.comments = lines, None, list[str]()

    def next(self) -> tuple[str, Any]:
        fields = dict[str, str]()
        for line in self._lines:
            if line.startswith(":"):
                self.comments.append(line)
            elif line:
                name, _, value = line.partition(": ")
                assert name in ("id", "event", "data") and name not in fields, line
                fields[name] = value
            else:
                self.last = fields.get("id", self.last)
                if "data" in fields:
                    return fields["event"], strict(fields["data"])
                if self.last is not None and fields:
                    return "place", None
                fields = {}
        return "end", None


@contextlib.contextmanager
def following(address: str, after: str | None = None, **query: str) -> Iterator[Following]:
    """From when it stands in the stream."""
    headers = {"Last-Event-ID": after} if after else {}
    with httpx.stream("GET", f"{address}/events", params=query, headers=headers, timeout=20) as answer:
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        yield Following(_lines(answer))


def _lines(answer: httpx.Response) -> Iterator[str]:
    """As the standard ends them; those of httpx end at U+2028 too."""
    rest = b""
    for piece in answer.iter_bytes():
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            assert b"\r" not in line
            yield line.decode()


@contextlib.contextmanager
def listening(feed: Feed) -> Iterator[tuple[str, uvicorn.Server]]:
    app = FastAPI()
    app.include_router(router(cast(Served, SimpleNamespace(feed=feed))))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", access_log=False))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until(lambda: server.started)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}", server
    finally:
        feed.close()
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive(), "followers kept the server from ending"


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.005)


@pytest.fixture(scope="module")
def feed() -> Feed:
    return Feed(EMOTIONS, shown=1, most=50)


@pytest.fixture(scope="module")
def address(feed: Feed) -> Iterator[str]:
    with listening(feed) as (address, _):
        yield address


def test_readings_and_alarms_are_told_as_they_come(feed: Feed, address: str) -> None:
    with following(address) as own:
        assert own.next() == ("place", None)
        feed.take(heard(values=[-0.1, 0.12346, -9, 3, 4, 5]))
        feed.take(alarm())
        kind, told = own.next()
        assert kind == "readings" and told == {
            "conversation": "one", "start": 3, "pieces": ["x"], "roles": ["user"], "turns": [0], "content": [True],
            "emotions": ["sad", "angry", "tired", "proud", "calm"], "values": [[-9, 5, 4, 3, 0.1235]],
        }  # fmt: skip
        kind, told = own.next()
        assert kind == "alarm" and told["rule"] == "desperate" and told["score"] == 5 and told["threshold"] is None


def test_it_goes_on_after_the_last_event_that_was_seen(feed: Feed, address: str) -> None:
    with following(address) as own:
        own.next()
        feed.take(heard("seen"))
        own.next()
        seen = own.last
    feed.take(heard("meanwhile"))
    with following(address, seen) as own:
        own.next()
        feed.take(heard("later"))
        assert [own.next()[1]["pieces"] for _ in range(2)] == [["meanwhile"], ["later"]]
    with following(address) as own:
        own.next()
        before = own.last  # nothing was told yet, and it can come back all the same
    feed.take(heard("first"))
    with following(address, before) as own:
        own.next()
        assert own.next()[1]["pieces"] == ["first"]


def test_who_comes_back_too_late_is_told_how_much_is_lost(feed: Feed, address: str) -> None:
    with following(address) as own:
        own.next()
        seen = own.last
    for k in range(73):
        feed.take(heard(f"{k}"))
    missed = feed.missed
    with following(address, seen) as own:
        own.next()
        assert own.next() == ("gap", {"missed": 23})
        with following(address, own.last) as again:
            again.next()
            assert again.next()[1]["pieces"] == ["23"], "a gap is told once"
        assert [own.next()[1]["pieces"] for _ in range(50)] == [[f"{k}"] for k in range(23, 73)]
    assert feed.missed >= missed + 23  # the broken connection may not have been noticed yet, and lag too


@pytest.mark.parametrize("unknown", ["0badcafe-3", "7", "-", "0badcafe-"])
def test_an_id_of_another_run_is_not_taken_for_one_of_this(feed: Feed, address: str, unknown: str) -> None:
    feed.take(heard("kept"))
    with following(address, unknown) as own:
        assert own.next() == ("gap", {"missed": None})
        told = own.next()
        while told[1]["pieces"] != ["kept"]:
            told = own.next()
    with following(address, f"{feed._run}-{10**30}") as own:
        own.next()
        feed.take(heard("now"))
        assert own.next()[1]["pieces"] == ["now"], "an id of the future waits for what comes"


def test_only_what_was_asked_for_is_told(feed: Feed, address: str) -> None:
    with following(address, conversation="two") as two, following(address, kinds="alarm") as alarms:
        two.next(), alarms.next()
        feed.take(heard("of one"))
        feed.take(heard("of two", "two"))
        feed.take(alarm(conversation="three"))
        feed.take(alarm(conversation="two"))
        assert two.next()[1]["pieces"] == ["of two"]
        assert two.next()[0] == "alarm"
        assert [alarms.next()[1]["conversation"] for _ in range(2)] == ["three", "two"]
    assert httpx.get(f"{address}/events", params={"kinds": "all"}).status_code == 422
    assert httpx.get(f"{address}/events", headers={"Last-Event-ID": "9" * 200}).status_code == 422


def test_who_passes_much_over_can_come_back_to_where_it_stood() -> None:
    async def run() -> None:
        feed = Feed(EMOTIONS, 1)
        follower = feed.follow(kinds=["alarm"])
        await anext(follower)
        for _ in range(450):
            feed.take(heard())
        place = await anext(follower)
        assert place.event is None and int(str(place.id).partition("-")[2]) == 200

    asyncio.run(run())


def test_no_text_breaks_out_of_its_event_and_no_number_is_none(feed: Feed, address: str) -> None:
    with following(address) as own:
        own.next()
        feed.take(heard(HOSTILE, HOSTILE.replace("\ud800", "")))
        feed.take(alarm(float("inf"), HOSTILE))
        feed.take(heard(values=[np.nan, np.inf, -np.inf, 1, 2, 3]))
        feed.take(heard("after"))
        kind, told = own.next()
        assert kind == "readings" and told["pieces"] == [HOSTILE]
        kind, told = own.next()
        assert kind == "alarm" and told["text"] == HOSTILE and told["score"] is None
        told = own.next()[1]
        expected = {"calm": None, "sad": None, "angry": 3, "tired": 2, "proud": 1}
        assert dict(zip(told["emotions"], told["values"][0], strict=True)) == expected
        assert own.next()[1]["pieces"] == ["after"]


def test_hundreds_follow_and_each_event_is_one_object_for_all() -> None:
    async def run() -> list[list[object]]:
        feed = Feed(EMOTIONS, 1)
        found: list[list[object]] = [[] for _ in range(300)]

        async def follow(own: list[object]) -> None:
            async for event in feed.follow():
                own.append(event)

        tasks = [asyncio.create_task(follow(own)) for own in found]
        await asyncio.sleep(0)
        thread = threading.Thread(target=lambda: [feed.take(heard(str(k))) for k in range(500)])
        thread.start()
        while min(map(len, found)) < 501:
            await asyncio.sleep(0.001)
        thread.join()
        feed.close()
        await asyncio.gather(*tasks)
        return found

    found = asyncio.run(run())
    assert all(len(own) == 501 for own in found)
    assert all(len({id(event) for event in same}) == 1 for same in zip(*(own[1:] for own in found), strict=True))


def test_long_events_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROOM", 100_000)
    feed = Feed(EMOTIONS, 1)
    for _ in range(100):
        feed.take(heard("x" * 10_000))
    assert sum(len(item.event.raw_data or "") for item in feed._ring) <= 100_000 and len(feed._ring) == 9


def test_a_follower_whose_loop_has_closed_disturbs_nobody() -> None:
    feed = Feed(EMOTIONS, 1)
    loop = asyncio.new_event_loop()
    follower = feed.follow()

    async def begin() -> None:
        await anext(follower)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(asyncio.ensure_future(anext(follower))), 0.01)
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    loop.run_until_complete(begin())
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()
    feed.take(heard())
    feed.take(alarm())
    assert not feed._bells


def test_a_client_that_vanishes_is_forgotten_and_quiet_ones_get_comments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastapi.routing._PING_INTERVAL", 0.05)
    feed = Feed(EMOTIONS, 1)
    with listening(feed) as (address, server):
        for _ in range(3):
            with following(address) as own:
                own.next()
        until(lambda: not server.server_state.tasks)
        with following(address) as own:
            own.next()
            until(lambda: len(server.server_state.tasks) == 1)
            timer = threading.Timer(0.3, feed.take, [heard("after a while")])
            timer.start()
            assert own.next()[1]["pieces"] == ["after a while"]
            assert ": ping" in own.comments
            timer.join()


def test_closing_ends_those_who_follow_and_those_who_come() -> None:
    feed = Feed(EMOTIONS, 1)
    with listening(feed) as (address, _), following(address) as own:
        own.next()
        feed.close()
        assert own.next() == ("end", None)
        with following(address) as late:
            assert late.next()[0] == "place" and late.next() == ("end", None)
