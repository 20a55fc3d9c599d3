"""`foreshock write` against a real server that speaks chat completions, and with a real model of this machine."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from foreshock.errors import ModelError
from foreshock.texts import load_passages
from foreshock.texts.writing import write_stories
from foreshock.texts.writing.casting import Plan
from foreshock.texts.writing.endpoint import Endpoint
from foreshock.texts.writing.ledger import manifest_path
from tests.cli.test_commands import FORESHOCK, run
from tests.texts.writing.test_stories import written


class Server(ThreadingHTTPServer):
    """Writes plausible stories, the same for the same prompt and seed; fails, names the emotion and repeats itself now and then."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answering)
        self.url = f"http://127.0.0.1:{self.server_address[1]}/v1"
        self.models = ["scribe-1"]
        self.key = ""
        self.unknown: set[str] = set()
        self.body: bytes | None = None
        self.faulty = True
        self.last: int | None = None
        """Requests after this many all fail."""
        self.pause = 0.0
        self.asked = self.failed = self.under_way = self.most_under_way = 0
        self.lock = threading.Lock()


class Answering(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_: object) -> None: ...

    def send(self, code: int, body: Any) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("retry-after-ms", "5")
        self.end_headers()
        self.wfile.write(data)

    def allowed(self) -> bool:
        if self.server.key and self.headers["Authorization"] != f"Bearer {self.server.key}":
            self.send(401, {"error": {"message": "wrong key"}})
            return False
        return True

    def do_GET(self) -> None:
        if self.allowed():
            self.send(200, {"object": "list", "data": [{"id": name, "object": "model"} for name in self.server.models]})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server = self.server
        if not self.allowed():
            return
        with server.lock:
            server.asked += 1
            server.under_way += 1
            server.most_under_way = max(server.most_under_way, server.under_way)
            number = server.asked
        time.sleep(server.pause)
        with server.lock:
            server.under_way -= 1
        if refused := server.unknown & set(asked):
            self.send(400, {"error": {"message": f"Unrecognized request argument: {refused.pop()}"}})
        elif (server.faulty and number % 5 == 0) or (server.last is not None and number > server.last):
            server.failed += 1
            self.send(500 if number % 2 else 429, {"error": {"message": "too busy"}})
        elif server.body is not None:
            self.send(200, server.body)
        else:
            message = {"role": "assistant", "content": story(asked["messages"][0]["content"], asked.get("seed", 0))}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            self.send(200, {"id": "1", "object": "chat.completion", "created": 0, "model": asked["model"], "choices": [choice]})  # fmt: skip


def story(prompt: str, seed: int) -> str:
    dice = random.Random(f"{seed} {prompt}")
    named = re.search(r"Feeling: ([^(]+) \(", prompt)
    assert named
    kind = dice.random()
    if kind < 0.15:
        return f"{written(dice, 50)} She was so {named[1]}."
    return written(random.Random(1)) if kind < 0.3 else f"**A title**\n\n{written(dice)}"


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as serving:
        thread = threading.Thread(target=serving.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield serving
        serving.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def asking(server: Server, out: Path, *more: str) -> list[str]:
    return [
        "write",
        "--endpoint",
        server.url,
        "--out",
        str(out),
        "--emotions",
        "core",
        "--topics",
        "a key,a bus",
        *more,
    ]


@pytest.mark.slow
def test_killed_and_started_again_it_ends_with_the_same_file(server: Server, tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole.jsonl", tmp_path / "cut.jsonl"
    done = run(*asking(server, whole, "--batch", "8"))
    rows = load_passages(whole)
    summary = re.match(r"Kept (\d+) of 64 stories in \S+. Dropped (\d+) tries \((.*)\). Given up: (\d+)\.", done.stdout)
    assert summary and int(summary[1]) == len(rows) and int(summary[1]) + int(summary[4]) == 64
    assert "named the emotion" in summary[3] and "repeated another story" in summary[3] and int(summary[2]) > 5
    assert not [row for row in rows if "title" in row.text] and server.failed > 10

    server.pause = 0.1
    process = subprocess.Popen([*FORESHOCK, *asking(server, cut, "--batch", "8")], stderr=subprocess.DEVNULL)
    while not cut.exists() or cut.read_bytes().count(b"\n") < 20:
        assert process.poll() is None
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert 20 <= cut.read_bytes().count(b"\n") < len(rows)
    with open(cut, "ab") as file:
        file.write(b'{"text": "She put the k')
    server.pause = 0.0
    server.asked = 0
    assert run(*asking(server, cut, "--batch", "8")).stdout.replace("cut", "whole") == done.stdout
    assert cut.read_bytes() == whole.read_bytes() and server.asked < 100
    tallies = [json.loads(manifest_path(path).read_text())["tally"] for path in (whole, cut)]
    assert tallies[0] == tallies[1]

    other = run(*asking(server, cut, "--seed", "1"), code=2)
    assert "seed: 0, now 1" in other.stderr and cut.read_bytes() == whole.read_bytes()


@pytest.mark.slow
def test_a_failing_endpoint_is_one_sentence_and_loses_nothing(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "own.jsonl"
    server.key = "right"
    refused = run(*asking(server, out), code=2).stderr
    assert "refuses the key (401)" in refused and "OPENAI_API_KEY" in refused
    monkeypatch.setenv("OPENAI_API_KEY", "right")
    run(*asking(server, out))
    before = out.read_bytes()
    assert before and "right" not in manifest_path(out).read_text()
    server.models = ["one", "two"]
    assert "Name the model" in run(*asking(server, tmp_path / "more.jsonl"), code=2).stderr
    away = run("write", "--endpoint", "http://127.0.0.1:9/v1", "--out", out, code=2)
    assert "cannot be reached" in away.stderr and away.stderr.count("\n") == 1
    assert out.read_bytes() == before


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--emotions", "happpy"], "did you mean happy"),
        (["--topics", " , "], "There are no topics"),
        (["--topics", "none.txt"], "none.txt cannot be read"),
        (["--out", "file/deep/own.jsonl"], "could not be written"),
        (["--endpoint", "localhost:8000"], "is no endpoint's address"),
        (["/no/model"], "no model at /no/model"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_2(args: list[str], said: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run("write", *args, code=2, cwd=tmp_path)
    assert said in done.stderr and done.stderr.startswith("Error: ") and not done.stdout


def test_without_the_extra_the_pip_line_is_named(tmp_path: Path) -> None:
    code = "import sys; sys.modules['openai'] = None; from foreshock.cli import main; main()"
    args = ["write", "--endpoint", "http://127.0.0.1:9/v1", "--out", str(tmp_path / "own.jsonl")]
    done = subprocess.run([sys.executable, "-c", code, *args], capture_output=True, text=True)
    assert done.returncode == 2 and "pip install 'foreshock[write]'" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_local_model_is_asked_and_counted(plant_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "own.jsonl"
    args = ["write", plant_folder, "--out", out, "--emotions", "happy,sad", "--topics", "a key", "--dtype", "float32"]
    done = run(*args, "--tries", "2")
    assert "of 2 stories" in done.stdout
    manifest = json.loads(manifest_path(out).read_text())
    assert len(manifest["order"]["fingerprint"]) == 16 and "torch" in manifest["versions"]
    assert manifest["tally"]["settled"] == 2 == manifest["tally"]["kept"] + manifest["tally"]["given_up"]
    assert run(*args, "--tries", "2").stdout == done.stdout


# The endpoint by itself

PROMPT = "Feeling: calm (at rest)"


@pytest.fixture
def endpoint(server: Server) -> Iterator[Endpoint]:
    endpoint = Endpoint(server.url, "scribe-1", 1.0, at_once=3, patience=1)
    yield endpoint
    endpoint.close()


def test_answers_come_in_order_and_requests_are_bounded(server: Server, endpoint: Endpoint) -> None:
    server.pause, server.faulty = 0.02, False
    prompts = [f"{PROMPT} {k}" for k in range(12)]
    assert endpoint(prompts, 7) == [story(asked, 7 + k) for k, asked in enumerate(prompts)]
    assert server.most_under_way == 3


def test_an_endpoint_that_breaks_down_midway_costs_one_batch(
    server: Server, endpoint: Endpoint, tmp_path: Path
) -> None:
    plan, out, server.faulty, server.last = (
        Plan(("calm", "sad"), ("a key", "a bus", "a bet")),
        tmp_path / "own.jsonl",
        False,
        5,
    )
    with pytest.raises(ModelError, match=r"answers 500|answers 429"):
        write_stories(plan, endpoint, out, {"model": "scribe-1"}, batch=2)
    settled = out.read_bytes()
    server.last = None
    assert settled and write_stories(plan, endpoint, out, {"model": "scribe-1"}, batch=2).settled == len(plan)
    whole = tmp_path / "whole.jsonl"
    write_stories(plan, endpoint, whole, {"model": "scribe-1"}, batch=2)
    assert out.read_bytes() == whole.read_bytes() and whole.read_bytes().startswith(settled)


def test_an_option_that_the_endpoint_does_not_know_is_left_out(server: Server, endpoint: Endpoint) -> None:
    server.unknown, server.faulty = {"seed", "max_completion_tokens"}, False
    assert endpoint([PROMPT] * 4, 7) == [story(PROMPT, 0)] * 4
    server.unknown = {"temperature"}
    with pytest.raises(ModelError, match="answers 400: .*temperature"):
        endpoint([PROMPT], 7)


@pytest.mark.parametrize("body", [b"<html>hello</html>", b'{"choices": []}', b'{"choices": null}', b"[]"])
def test_an_endpoint_of_another_kind_is_said(server: Server, endpoint: Endpoint, body: bytes) -> None:
    server.body, server.faulty = body, False
    with pytest.raises(ModelError, match="does not answer as OpenAI's chat completions do"):
        endpoint([PROMPT], 7)


def test_no_text_is_an_empty_story_and_a_password_is_not_kept(server: Server) -> None:
    server.body, server.faulty = b'{"choices": [{"message": {"content": null}}]}', False
    endpoint = Endpoint(server.url.replace("//", "//me:secret@"), None, 1.0)
    assert endpoint.model == "scribe-1" and "secret" not in endpoint.url
    assert endpoint([PROMPT], 7) == [""]
    endpoint.close()
