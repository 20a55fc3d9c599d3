"""Requests that run together: the answers, readings and steering of each as when alone."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
import torch

from foreshock.errors import ServerError
from foreshock.model import Tokens
from foreshock.model.planted import Planted
from foreshock.monitor.following import Heard
from foreshock.monitor.monitor import Monitor
from foreshock.readings import read
from foreshock.server.engine import Engine
from foreshock.server.requests import Event, Finished, Request, Written
from foreshock.steering import Steering
from foreshock.vectors import EmotionVectors
from tests.monitor.talking import talk


@pytest.fixture
def engine(plant: Planted, vectors: EmotionVectors) -> Iterator[Engine]:
    heard: list[Heard] = []
    engine = Engine(plant.model, Monitor(plant.model, vectors, on_tokens=heard.append), rows=4, waiting=2, room=2048)
    engine.heard = heard  # type: ignore[attr-defined]
    engine.start()
    yield engine
    engine.stop(5)


def prompt_of(plant: Planted, seed: int) -> Tokens:
    return plant.model.encode_transcript([*_turns(plant, seed)], reply=True)


def _turns(plant: Planted, seed: int) -> Sequence:
    from foreshock.texts import Turn

    return [Turn(role="user", content=talk(plant, seed).text.split(" [end]")[0].removeprefix("[user] "))]


async def collect(engine: Engine, request: Request) -> list[Event]:
    return [event async for event in engine.submit(request)]


def ids_of(events: Sequence[Event]) -> list[int]:
    return [event.id for event in events if isinstance(event, Written)]


def test_requests_together_get_the_answers_and_readings_that_each_gets_alone(
    plant: Planted, vectors: EmotionVectors, engine: Engine
) -> None:
    steered = Steering({"sad": 3.0}, vectors, [1])
    requests = [Request(prompt_of(plant, k), 6 + k, temperature=0, conversation=f"c{k}", steering=steered if k == 1 else None) for k in range(4)]  # fmt: skip

    async def together() -> list[list[Event]]:
        return await asyncio.gather(*(collect(engine, request) for request in requests))

    found = asyncio.run(together())
    for k, (request, events) in enumerate(zip(requests, found, strict=True)):
        ids = torch.tensor([request.prompt.ids])
        with torch.inference_mode(), plant.model.steered(request.steering or []):
            alone = plant.model.model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=request.most, do_sample=False)  # fmt: skip
        assert ids_of(events) == alone[0, ids.shape[1] :].tolist()
        assert isinstance(events[-1], Finished) and events[-1].reason == "length"
        own = [one for one in engine.heard if one.conversation == f"c{k}"]  # type: ignore[attr-defined]
        seen = [int(id) for one in own for id in one.ids]
        assert seen == alone[0, :-1].tolist()
        if k != 1:
            (offline,) = read(plant.model, vectors, [request.prompt])
            values = np.concatenate([one.values[:, 0] for one in own])[: len(request.prompt)]
            assert np.allclose(values, offline.values, atol=1e-3)


def test_a_full_engine_refuses_and_a_client_that_leaves_gives_its_place_free(plant: Planted, engine: Engine) -> None:
    async def crowd() -> None:
        streams = [engine.submit(Request(prompt_of(plant, k), 200, temperature=0)) for k in range(6)]
        for stream in streams:
            await anext(stream)
        with pytest.raises(ServerError, match="ask again"):
            await collect(engine, Request(prompt_of(plant, 9), 2))
        for stream in streams:
            await stream.aclose()
        assert engine.load == (0, 0)
        assert isinstance((await collect(engine, Request(prompt_of(plant, 9), 2, temperature=0)))[-1], Finished)

    asyncio.run(crowd())


def test_the_same_seed_gives_the_same_reply_whoever_else_is_there(plant: Planted, engine: Engine) -> None:
    async def run(others: int) -> list[int]:
        asked = [
            Request(prompt_of(plant, 1), 8, seed=7),
            *(Request(prompt_of(plant, 50 + k), 8) for k in range(others)),
        ]
        return ids_of((await asyncio.gather(*(collect(engine, one) for one in asked)))[0])

    assert asyncio.run(run(0)) == asyncio.run(run(3))


def test_a_stop_string_ends_the_reply_and_is_not_shown(plant: Planted, engine: Engine) -> None:
    whole = asyncio.run(collect(engine, Request(prompt_of(plant, 1), 8, temperature=0)))
    text = "".join(event.text for event in whole if isinstance(event, Written))
    words = text.split()
    found = asyncio.run(collect(engine, Request(prompt_of(plant, 1), 8, temperature=0, stop=(words[2],), logprobs=2)))
    shown = "".join(event.text for event in found if isinstance(event, Written))
    assert shown == text[: text.find(words[2])] and isinstance(found[-1], Finished) and found[-1].reason == "stop"
    first = next(event for event in found if isinstance(event, Written))
    assert first.logprob and first.logprob == first.likeliest[0] and len(first.likeliest) == 2
