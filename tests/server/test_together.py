"""What an independent review broke: long prompts in pieces, full caches, clients that leave, requests alike."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence

import pytest

from foreshock.errors import ServerError
from foreshock.model import Tokens
from foreshock.model.chat import encode_messages
from foreshock.model.planted import Planted
from foreshock.monitor.following import Heard
from foreshock.monitor.monitor import Monitor
from foreshock.monitor.store import Alarm
from foreshock.server.engine import PAGE, Engine
from foreshock.server.requests import Event, Finished, Request, Written
from foreshock.texts import Turn
from foreshock.vectors import EmotionVectors
from tests.server.test_engine import collect, ids_of, prompt_of


def made(plant: Planted, vectors: EmotionVectors, **given: int) -> Engine:
    return Engine(plant.model, Monitor(plant.model, vectors), **({"rows": 4, "waiting": 8, "room": 2048} | given))


@pytest.fixture
def engine(plant: Planted, vectors: EmotionVectors) -> Iterator[Engine]:
    engine = made(plant, vectors)
    engine.start()
    yield engine
    engine.stop(5)


def talk(plant: Planted, *words: str) -> Tokens:
    roles = ("user", "assistant")
    return plant.model.encode([Turn(role=roles[k % 2], content=own) for k, own in enumerate(words)], reply=True)


def heard(events: Sequence[Event]) -> list[Heard]:
    return [event for event in events if isinstance(event, Heard)]


@pytest.mark.parametrize("name", ["long", None])
def test_a_prompt_that_comes_in_pieces_goes_on_with_its_conversation(
    plant: Planted, vectors: EmotionVectors, name: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("foreshock.server.engine.PASS", 64)
    engine = made(plant, vectors)
    engine.start()

    async def both() -> tuple[list[Event], list[Event]]:
        words = [f"w{k % 100}" for k in range(180)]
        first = talk(plant, " ".join(words))
        told = await collect(engine, Request(first, 8, temperature=0, conversation=name, readings=True))
        reply = plant.model.tokenizer.decode(ids_of(told), skip_special_tokens=True)
        second = talk(plant, " ".join(words), reply, "w7 w8 w9")
        others = [Request(prompt_of(plant, k), 40, seed=k) for k in range(3)]
        asked = [*others, Request(second, 4, temperature=0, conversation=name, readings=True)]
        return told, (await asyncio.gather(*(collect(engine, one) for one in asked)))[-1]

    told, more = asyncio.run(both())
    engine.stop(5)
    assert len(heard(told)) > 8  # in pieces
    (one,) = {event.conversation for event in heard(told)}
    assert {event.conversation for event in heard(more)} == {one} and (name is None or one == name)
    new = [token for event in heard(more) for token in zip(event.roles, event.content, strict=True) if event.turns]
    assert sum(own and role == "user" for role, own in new) == 3
    assert "prompt" not in {role for role, _ in new}


def test_a_cache_that_fills_mixes_up_no_conversations(plant: Planted, vectors: EmotionVectors) -> None:
    engine = made(plant, vectors, room=320)
    engine.start()
    try:
        prompts = [talk(plant, f"w{k} " * 30) for k in range(4)]
        asked = [Request(prompt, 120, seed=k, conversation=f"c{k}", readings=True, logit_bias={engine.monitor.following.ends[0]: -100}) for k, prompt in enumerate(prompts)]  # fmt: skip

        async def crowd() -> list[list[Event]]:
            return await asyncio.gather(*(collect(engine, one) for one in asked))

        together = asyncio.run(crowd())
        for k, events in enumerate(together):
            own = heard(events)
            assert {event.conversation for event in own} == {f"c{k}"}
            ids = [int(id) for event in own for id in event.ids]
            assert ids == [*prompts[k].ids, *ids_of(events)[:-1]]  # each token told once
        later = asyncio.run(collect(engine, Request(prompts[1], 2, conversation="other", readings=True)))
        assert {event.conversation for event in heard(later)} == {"other"}
    finally:
        engine.stop(5)


def test_clients_that_leave_while_they_are_told_of_stop_nobody(plant: Planted, vectors: EmotionVectors, calibration: object) -> None:  # fmt: skip
    from tests.server.test_openai import DESPERATE

    def slow(_: Alarm) -> None:
        time.sleep(0.05)

    monitor = Monitor(plant.model, vectors, calibration, sinks=[slow])  # type: ignore[arg-type]
    engine = Engine(plant.model, monitor, rows=4, waiting=8, room=2048)
    engine.start()
    try:

        async def leaving(k: int) -> None:
            stream = engine.submit(Request(talk(plant, "w1", DESPERATE, f"w{k}"), 50))
            task = asyncio.ensure_future(anext(stream))
            await asyncio.sleep(0.01 * (k % 5))
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await stream.aclose()

        async def all_of_them() -> list[Event]:
            await asyncio.gather(*(leaving(k) for k in range(8)))
            return await collect(engine, Request(talk(plant, "w1"), 3))

        assert isinstance(asyncio.run(all_of_them())[-1], Finished)
        assert engine.trouble is None and len(monitor.following.rows) <= 1
    finally:
        engine.stop(5)


def test_nothing_is_left_of_requests_that_are_over(plant: Planted, engine: Engine) -> None:
    async def many() -> None:
        for k in range(40):
            stream = engine.submit(Request(prompt_of(plant, k), 30, stop=("w",) if k % 2 else ()))
            async for event in stream:
                if isinstance(event, Written) and k % 4 == 0:
                    break
            await stream.aclose()
        await collect(engine, Request(prompt_of(plant, 0), 2))

    asyncio.run(many())
    assert not engine._slots and len(engine.monitor.following.rows) <= 1
    assert not engine.monitor.following._announced


def test_two_that_ask_the_same_one_after_the_other_are_two_conversations(plant: Planted, engine: Engine) -> None:
    prompt = prompt_of(plant, 3)
    told = [asyncio.run(collect(engine, Request(prompt, most, temperature=0, readings=True))) for most in (1, 1, 3)]
    names = [{event.conversation for event in heard(events)} for events in told]
    assert all(len(own) == 1 for own in names) and len(set.union(*names)) == 3


def test_the_room_is_whole_pages_and_all_of_it_can_be_used(plant: Planted, vectors: EmotionVectors) -> None:
    engine = made(plant, vectors, room=9 * PAGE + 5)
    engine.start()
    try:
        assert engine.room == 9 * PAGE
        prompt = prompt_of(plant, 1)
        bias = {engine.monitor.following.ends[0]: -100.0}
        events = asyncio.run(collect(engine, Request(prompt, engine.room - len(prompt), seed=1, logit_bias=bias)))
        assert isinstance(events[-1], Finished) and events[-1].reason == "length"
    finally:
        engine.stop(5)


def test_a_monitor_that_fails_ends_the_reply_and_not_the_engine(plant: Planted, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    with monkeypatch.context() as broken:
        broken.setattr(engine.monitor, "take", lambda _blocks: 1 / 0)
        events = asyncio.run(collect(engine, Request(prompt_of(plant, 1), 5)))
        assert isinstance(events[-1], Finished) and events[-1].reason == "error"
    events = asyncio.run(collect(engine, Request(prompt_of(plant, 1), 5)))
    assert isinstance(events[-1], Finished) and events[-1].reason != "error" and engine.trouble is None


def test_an_engine_that_is_stopped_takes_nothing(plant: Planted, vectors: EmotionVectors) -> None:
    engine = made(plant, vectors)
    engine.start()
    engine.stop(5)
    with pytest.raises(ServerError, match="stopping"):
        asyncio.run(collect(engine, Request(prompt_of(plant, 1), 2)))


def test_five_hundred_messages_are_have_their_roles(plant: Planted) -> None:
    """Comparing letter by letter took half a minute."""
    messages = [{"role": "user", "content": f"w{k} " * 150} for k in range(500)]
    tokens = encode_messages(plant.model.tokenizer, messages)
    assert max(tokens.turns) == 500 and sum(tokens.content) == 500 * 150
