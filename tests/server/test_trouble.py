"""Clients that leave, dawdle or send rubbish, and a store that goes away: the others get their answers all the same."""

from __future__ import annotations

import contextlib
import json
import random
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import openai
import pytest
from openai import OpenAI

from foreshock.model.planted import Planted
from foreshock.monitor.store import Store
from foreshock.server.settings import Served, Settings
from foreshock.vectors import EmotionVectors
from tests.monitor.store.cluster import Cluster
from tests.monitor.store.conftest import cluster  # noqa: F401
from tests.server.serving import made, serving

ASKED = [{"role": "user", "content": "w1 w2 w3"}]
LONG = {
    "model": "any",
    "messages": ASKED,
    "max_tokens": 400,
    "temperature": 1.9,
    "logit_bias": {"5": -100},
}  # never ends by itself
SHORT = {"model": "any", "messages": ASKED, "max_tokens": 3}


def until(true: Callable[[], bool], seconds: float = 20) -> None:
    """Waits; fails where it never comes true."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.02)


def chat(address: str, **given: object) -> httpx.Response:
    return httpx.post(f"{address}/v1/chat/completions", json=SHORT | given, timeout=60)


def test_a_client_that_vanishes_frees_its_place_streamed_or_not(served: Served, address: str) -> None:
    with httpx.stream("POST", f"{address}/v1/chat/completions", json=LONG | {"stream": True}) as answer:
        lines = answer.iter_lines()  # let go of, it would close the answer
        next(lines)
        assert served.engine.load[0] >= 1
    until(lambda: served.engine.load == (0, 0))
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{address}/v1/chat/completions", json=LONG, timeout=0.05)
    until(lambda: served.engine.load == (0, 0))
    assert chat(address).is_success


def test_more_than_may_wait_are_told_to_come_again_and_the_others_are_answered(address: str) -> None:
    with ThreadPoolExecutor(24) as threads:
        answers = list(threads.map(lambda _: chat(address, **(LONG | {"max_tokens": 100})), range(24)))
    refused = [answer for answer in answers if answer.status_code == 429]
    assert refused and {answer.status_code for answer in answers} == {200, 429}
    assert all(int(answer.headers["Retry-After"]) >= 1 for answer in refused)
    assert "ask again" in refused[0].json()["error"]["message"]


def test_the_official_client_waits_and_tries_again_by_itself(address: str) -> None:
    def ask(_: int) -> str:
        with OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=8, timeout=60) as client:
            return str(client.chat.completions.create(**(SHORT | {"max_tokens": 30})).choices[0].finish_reason)

    with ThreadPoolExecutor(16) as threads:
        assert set(threads.map(ask, range(16))) <= {"stop", "length"}


def test_a_slow_client_holds_up_nobody(served: Served, address: str) -> None:
    host, port = address.removeprefix("http://").split(":")
    body = json.dumps(LONG | {"stream": True, "logprobs": True, "top_logprobs": 20})
    with socket.create_connection((host, int(port))) as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        slow.sendall((head + body).encode())
        slow.recv(100)
        for _ in range(3):
            assert chat(address).is_success
    until(lambda: served.engine.load == (0, 0))


def test_a_thousand_malformed_requests_break_nothing(address: str) -> None:
    chance = random.Random(3)
    pieces = [
        b"{", b"}", b"[]", b"null", b'"messages"', b":", b",", b'{"role":"user"}', b"\x00", b"\xff\xfe", b"NaN", b"1e999",
        b'"\\ud800"', b"[" * 500, b'{"model":"m","messages":[{"role":"user","content":"\\u0000\\ud83d"}]}', b'"stream":true',
        b'{"model":"m","messages":[{"role":"user","content":"w1"}],"temperature":NaN}', b'"n":-1', b"-" * 50,
        b'{"model":"m","messages":[{"role":"user","content":"w1"}],"foreshock":{"steer":{"calm":Infinity}}}',
    ]  # fmt: skip
    routes = ["/v1/chat/completions", "/v1/completions", "/v1/readings"]
    with httpx.Client(base_url=address, timeout=60) as client:
        for _ in range(1000):
            body = b"".join(chance.choices(pieces, k=chance.randint(1, 4)))
            kind = chance.choice(["application/json", "text/plain", "application/json; charset=utf-16"])
            answer = client.post(chance.choice(routes), content=body, headers={"Content-Type": kind})
            assert 400 <= answer.status_code < 500 and set(answer.json()) == {"error"}, (body, answer.text)
            assert answer.json()["error"]["message"]
    assert chat(address).is_success


def test_what_takes_too_long_is_given_up_and_said(plant: Planted, vectors: EmotionVectors) -> None:
    served = made(plant.model, vectors, settings=Settings(seconds=0.2, patience=5))
    with serving(served) as address:
        whole = chat(address, **LONG)
        assert whole.status_code == 504 and "0.2 seconds" in whole.json()["error"]["message"]
        with OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as client:
            stream = client.chat.completions.create(**(LONG | {"stream": True}))
            with pytest.raises(openai.APIError, match="0.2 seconds"):
                list(stream)
        until(lambda: served.engine.load == (0, 0))


def test_an_alarm_can_end_the_reply(plant: Planted, vectors: EmotionVectors, calibration: object) -> None:
    from tests.server.test_openai import DESPERATE

    served = made(plant.model, vectors, calibration, on_alarm="stop")  # type: ignore[arg-type]
    messages = [*ASKED, {"role": "assistant", "content": DESPERATE}, *ASKED]
    with serving(served) as address:
        # The alarm is in the earlier reply that the client brings, so the new one ends at once.
        found = chat(address, messages=messages, max_tokens=50).json()
        assert found["choices"][0]["finish_reason"] == "content_filter"
        assert found["usage"]["completion_tokens"] < 5


def test_generation_goes_on_without_the_database_and_what_is_lost_is_counted(
    plant: Planted,
    vectors: EmotionVectors,
    cluster: Cluster,  # noqa: F811
) -> None:
    with Store.open(cluster.database(), bound=20_000) as store:
        served = made(plant.model, vectors, store=store)
        with serving(served) as address:
            assert chat(address, foreshock={"conversation": "before"}).is_success
            store.flush()
            cluster.stop()
            try:
                for k in range(30):
                    words = [{"role": "user", "content": f"w{k} " * 50}]
                    assert chat(address, messages=words, max_tokens=20).is_success
                until(lambda: store.lost > 0)
                lost = httpx.get(f"{address}/metrics").text.partition("\nforeshock_store_lost_total ")[2]
                assert float(lost.split()[0]) > 0
                assert httpx.get(f"{address}/api/conversations").status_code == 503
                assert store._writer._held <= 20_000
            finally:
                cluster.start()
            store.flush()
            kept = [one.id for one in store.conversations()]
            assert "before" in kept
            assert chat(address, foreshock={"conversation": "after"}).is_success
            store.flush()
            assert store.conversation("after")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)], capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    with contextlib.ExitStack() as stack:
        stack.callback(subprocess.run, ["umount", "--lazy", str(folder)], check=True)
        yield folder


def test_a_full_disk_stops_no_reply(plant: Planted, vectors: EmotionVectors, small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    with Store.open(small_disk / "store.db") as store:
        served = made(plant.model, vectors, store=store)
        with serving(served) as address:
            assert chat(address, foreshock={"conversation": "before"}).is_success
            store.flush()
            ballast.write_bytes(b"x" * (3_000_000 - sum(file.stat().st_size for file in small_disk.iterdir())))
            for k in range(20):
                words = [{"role": "user", "content": f"w{k} " * 200}]
                assert chat(address, messages=words, foreshock={"conversation": f"full {k}"}).is_success
            until(lambda: store.trouble is not None)
            ballast.unlink()
            store.flush()
            assert store.lost == 0 and store.conversation("full 19")
