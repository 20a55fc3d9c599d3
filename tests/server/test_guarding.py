"""Who is let in, how often, with how much, and what browsers are told."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from foreshock.errors import ServerError
from foreshock.model.planted import Planted
from foreshock.server import guarding
from foreshock.server.settings import Settings
from foreshock.vectors import EmotionVectors
from tests.server.serving import made, serving

KEY = "a-secret-of-many-letters"
CHAT = {"model": "any", "messages": [{"role": "user", "content": "w1"}], "max_tokens": 1}


@pytest.fixture(scope="module")
def locked(plant: Planted, vectors: EmotionVectors) -> Iterator[str]:
    settings = Settings(api_key=KEY, per_minute=40, body=20_000, patience=5)
    with serving(made(plant.model, vectors, settings=settings)) as address:
        yield address


def test_data_needs_the_key_and_the_page_and_health_do_not(locked: str) -> None:
    for path in ("/v1/models", "/metrics", "/events", "/api/status", "/openapi.json", "/nothing"):
        for wrong in (None, "Bearer", f"Bearer {KEY}x", f"Basic {KEY}", KEY, "Bearer \xff\xfe"):
            headers = {} if wrong is None else {"Authorization": wrong.encode("latin-1")}
            answer = httpx.get(f"{locked}{path}", headers=headers)
            if answer.status_code == 429:
                break  # guessing is slowed down
            assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer"
            assert answer.json()["error"]["code"] == "invalid_api_key" and KEY not in answer.text
    for path in ("/", "/health", "/static/app.js"):
        assert httpx.get(f"{locked}{path}").is_success
    assert httpx.get(f"{locked}/v1/models", headers={"Authorization": f"Bearer {KEY}"}).is_success


def test_wrong_keys_are_slowed_down_and_the_right_one_is_not_locked_out(locked: str) -> None:
    statuses = [
        httpx.get(f"{locked}/v1/models", headers={"Authorization": f"Bearer {k}"}).status_code for k in range(60)
    ]
    assert statuses[-1] == 429
    assert httpx.get(f"{locked}/v1/models", headers={"Authorization": f"Bearer {KEY}"}).is_success


def test_too_many_requests_are_told_when_to_come_again(locked: str) -> None:
    headers = {"Authorization": f"Bearer {KEY}"}
    answers = [httpx.get(f"{locked}/v1/models", headers=headers) for _ in range(45)]
    assert answers[-1].status_code == 429 and 1 <= int(answers[-1].headers["Retry-After"]) <= 60


@pytest.fixture(scope="module")
def small(plant: Planted, vectors: EmotionVectors) -> Iterator[str]:
    with serving(made(plant.model, vectors, settings=Settings(body=20_000, patience=5))) as address:
        yield address


def test_a_body_beyond_the_limit_is_refused_however_it_comes(small: str) -> None:
    large = json.dumps(CHAT | {"messages": [{"role": "user", "content": "w1 " * 10_000}]}).encode()
    headers = {"Content-Type": "application/json"}
    for sent in (large, (large[k : k + 1000] for k in range(0, len(large), 1000))):
        answer = httpx.post(f"{small}/v1/chat/completions", content=sent, headers=headers)
        assert answer.status_code == 413 and answer.json()["error"]["code"] == "too_large"
        assert "content-security-policy" in answer.headers


def test_a_body_that_never_ends_is_given_up_at_the_limit() -> None:
    """Whoever sends it is asked for no more than the limit and one piece, and the route is not reached."""
    taken = 0

    async def receive() -> dict[str, Any]:
        nonlocal taken
        taken += 1
        return {"type": "http.request", "body": b"x" * 1000, "more_body": True}

    answer = asyncio.run(answered(receive, [(b"content-length", b"5")]))
    assert answer[0]["status"] == 413 and taken == 21


async def answered(receive: Any, headers: list[tuple[bytes, bytes]]) -> list[dict[str, Any]]:
    """What a guarded application with one route answers."""
    app, sent = FastAPI(), list[dict[str, Any]]()

    @app.post("/")
    async def fail() -> None:
        raise RuntimeError("a fault of the server")

    async def send(message: Any) -> None:
        sent.append(message)

    guarding.guard(app, Settings(body=20_000))
    scope = {"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": [(b"host", b"localhost"), *headers]}  # fmt: skip
    with contextlib.suppress(RuntimeError):
        await app(scope, receive, send)
    return sent


def test_the_answer_to_a_fault_of_the_server_has_the_headers_too() -> None:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    start = asyncio.run(answered(receive, []))[0]
    assert start["status"] == 500 and b"content-security-policy" in dict(start["headers"])


def test_a_key_may_have_any_letters_and_its_scheme_any_case() -> None:
    key = "schlüssel-mit-umlaut"
    app = FastAPI()
    guarding.guard(app, Settings(api_key=key))

    async def asked(given: str) -> int:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
            return (await client.get("/openapi.json", headers={"Authorization": given.encode()})).status_code

    assert [asyncio.run(asked(given)) for given in (f"Bearer {key}", f"bearer {key}", f"Bearer {key}x", key)] == [200, 200, 401, 401]  # fmt: skip


def test_a_body_that_does_not_come_is_given_up(small: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guarding, "BODY_SECONDS", 0.3)
    host, port = small.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as slow:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{{"
        slow.sendall(head.encode())
        time.sleep(0.1)
        assert slow.recv(200).startswith(b"HTTP/1.1 408")


def test_only_this_machines_names_are_answered_to(small: str) -> None:
    assert httpx.get(f"{small}/health", headers={"Host": "evil.example:80"}).status_code == 421
    for name in ("localhost:1", "127.0.0.1", "[::1]:8000"):
        assert httpx.get(f"{small}/health", headers={"Host": name}).is_success


def test_pages_of_other_sites_drive_nothing(small: str) -> None:
    answer = httpx.post(f"{small}/v1/chat/completions", json=CHAT, headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 403
    plain = httpx.post(f"{small}/v1/chat/completions", content=json.dumps(CHAT), headers={"Content-Type": "text/plain"})
    assert plain.status_code == 400
    allowed = httpx.options(f"{small}/v1/chat/completions", headers={"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"})  # fmt: skip
    assert "access-control-allow-origin" not in allowed.headers


def test_every_answer_has_the_headers_refusals_too(small: str) -> None:
    answers = [
        httpx.get(f"{small}/"),
        httpx.get(f"{small}/nothing"),
        httpx.get(f"{small}/health", headers={"Host": "evil.example"}),
        httpx.post(f"{small}/v1/chat/completions", json={}),
    ]
    for answer in answers:
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] in ("no-store", "no-cache")


@pytest.mark.parametrize("path", ["/static/../app.py", "/static/%2e%2e/app.py", "/static/..%2f..%2fapp.py", "/static//etc/passwd", "/static/index.html%00.js"])  # fmt: skip
def test_no_path_leads_to_the_file_system(small: str, path: str) -> None:
    host, port = small.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as raw:
        raw.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        assert raw.recv(100).startswith((b"HTTP/1.1 404", b"HTTP/1.1 400"))


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.4", "::", "example.org", ""])
def test_a_public_address_needs_a_key(host: str) -> None:
    with pytest.raises(ServerError, match="an API key is needed"):
        Settings(host=host)
    assert KEY not in repr(Settings(host=host, api_key=KEY))
