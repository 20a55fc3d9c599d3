"""What was read in vLLM, from the pass until it is fetched: by a call or over the route."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from foreshock.errors import ServerError
from foreshock.interop.vllm_endpoint import Readings, as_json
from foreshock.interop.vllm_readings import Watched, taken
from foreshock.interop.vllm_request import Asked
from foreshock.interop.vllm_store import Limits, Store

WORDS = ("calm", "desperate", "sad")


def a_pass(first: int, tokens: int) -> tuple[np.ndarray, np.ndarray]:
    """Ids from `first` on, and of each token readings that tell which token and emotion they are of."""
    ids = np.arange(first, first + tokens)
    return ids, (ids[:, None] + np.array([0.1, 0.2, 0.3])).astype(np.float32)


def read(store: Store, id: str, first: int = 0, tokens: int = 4, words: tuple[str, ...] = WORDS) -> None:
    """A request of one pass. Its inner id is its own and a number that no other has."""
    inner, wish = f"{id}/{first}", Asked(words, id=id)
    store.open(inner, wish, first)
    record = store.of(inner, wish)
    assert record is not None
    record.put(first, *a_pass(first, tokens))


def fetched(store: Store, id: str, live: tuple[str, ...] = ()) -> Watched | None:
    found = store.take([id], live)
    return Watched.of(found[0]) if found else None


def test_a_record_keeps_copies_of_its_own_columns_and_no_more() -> None:
    store, wish = Store(WORDS, 7), Asked(("sad", "calm"), id="a")
    store.open("a/", wish, 2)
    record = store.of("a/", wish)
    assert record is not None
    ids, values = a_pass(2, 6)
    record.put(2, ids[:4], values[:4])
    assert record.nbytes == 4 * (4 + 2 * 4)
    record.put(6, ids[4:], values[4:])
    ids[:], values[:] = 0, 0
    found = fetched(store, "a")
    assert found is not None
    assert (found.first, found.layer, found.tokens) == (2, 7, (2, 3, 4, 5, 6, 7))
    assert np.allclose(found.values, [[token + 0.3, token + 0.1] for token in range(2, 8)])


def test_a_request_that_is_begun_anew_writes_its_rows_again() -> None:
    store, wish = Store(WORDS, 0), Asked(("calm",), id="a")
    store.open("a/", wish, 0)
    record = store.of("a/", wish)
    assert record is not None
    for first, tokens in ((0, 3), (3, 1), (0, 5)):
        record.put(first, *a_pass(first, tokens))
    found = fetched(store, "a")
    assert found is not None
    assert found.tokens == (0, 1, 2, 3, 4)
    assert np.allclose(found.values[:, 0], np.arange(5) + 0.1)


def test_readings_are_handed_out_once_though_vllm_has_not_let_go_of_the_request() -> None:
    store = Store(WORDS, 0)
    read(store, "a")
    assert fetched(store, "a", live=("a/0",)) is not None
    assert fetched(store, "a", live=("a/0",)) is None
    record = store.of("a/0", Asked(id="a"))
    assert record is not None
    record.put(4, *a_pass(4, 1))  # it runs on: now all there is so far
    found = fetched(store, "a", live=("a/0",))
    assert found is not None
    assert len(found.tokens) == 5
    store.forget(live=())
    assert len(store) == 0


def test_of_two_requests_by_one_id_the_newer_is_handed_out() -> None:
    store = Store(WORDS, 0)
    read(store, "a", tokens=3)  # and is aborted
    read(store, "a", first=50, tokens=2)
    assert store.of("a/0", Asked(id="a")) is None
    found = fetched(store, "a")
    assert found is not None
    assert found.tokens == (50, 51)
    assert fetched(store, "a") is None


@pytest.mark.parametrize("limits", [Limits(requests=2), Limits(bytes=2 * 4 * (4 + 3 * 4))])
def test_the_oldest_go_first_by_count_and_by_bytes_and_are_told_of(limits: Limits) -> None:
    store = Store(WORDS, 0, limits)
    for id in "abcd":
        read(store, id)
    store.forget(live=("a/0",))  # runs still
    assert len(store) == 3
    assert store.take(["b", "c"], ()) == [{"id": "b", "dropped": True}]
    assert [one["id"] for one in store.take(["a", "c", "d", "e"], ())] == ["a", "c", "d"]
    read(store, "b")
    assert fetched(store, "b") is not None


class _Engine:
    """Hands out of a store as vLLM's engines do of their worker's: offline, and (`route`) where it is waited for."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def collective_rpc(self, name: str, args: tuple[Any, ...]) -> list[Any]:
        assert name == "foreshock_take"
        return [self.store.take(*args, ())]

    @property
    def route(self) -> TestClient:
        engine, app = self, FastAPI()

        class Waited:
            async def collective_rpc(self, name: str, args: tuple[Any, ...]) -> list[Any]:
                return engine.collective_rpc(name, args)

        plug = Readings()
        plug._engine = Waited()
        plug.attach_router(app)
        return TestClient(app)


class _Output:
    def __init__(self, id: str) -> None:
        self.request_id, self.prompt_token_ids, self.outputs = id, [0, 1], [self]
        self.token_ids = [2, 3, 4]


def test_dropped_readings_are_an_error_and_the_others_can_still_be_fetched() -> None:
    store = Store(WORDS, 0, Limits(requests=1))
    for id in "ab":
        read(store, id)
    store.forget(live=())
    with pytest.raises(
        ServerError, match=r"Of 1 of these 3 requests there is nothing left\. .* after fewer requests\."
    ):
        taken(_Engine(store), [_Output(id) for id in "abc"])
    found, none = taken(_Engine(store), [_Output(id) for id in "bc"])
    assert found is not None
    assert found.tokens == (0, 1, 2, 3)
    assert none is None


def test_the_route_hands_out_and_says_what_is_not_there() -> None:
    store = Store(WORDS, 0, Limits(requests=1))
    for id in ("a", "b-0"):
        read(store, id, tokens=2)
    store.forget(live=())
    route = _Engine(store).route
    found = route.get("/v1/foreshock/readings/b")
    assert found.json()["values"] == [[0.1, 0.2, 0.3], [1.1, 1.2, 1.3]]
    assert route.get("/v1/foreshock/readings/b").status_code == 404
    gone = route.get("/v1/foreshock/readings/a")
    assert gone.status_code == 410
    assert "dropped before they were fetched" in gone.json()["detail"]


def test_a_reading_that_is_no_number_is_null() -> None:
    values = np.array([[1.23456, np.nan], [np.inf, -np.inf]], np.float32)
    told = json.dumps(as_json(Watched("a", ("calm", "sad"), 0, 0, (5, 6), values)), allow_nan=False)
    assert json.loads(told)["values"] == [[1.2346, None], [None, None]]
