"""`foreshock serve` as a process: it starts, drains, is killed and comes back."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx
import pytest

from foreshock.model.planted import Planted
from foreshock.monitor.calibration import Calibration
from foreshock.monitor.store import Store
from foreshock.vectors import EmotionVectors
from tests.cli.test_commands import FORESHOCK, run
from tests.monitor.store.conftest import cluster  # noqa: F401

pytestmark = pytest.mark.slow  # each opens the model anew
KEY = "a-secret-of-many-letters"
HEADERS = {"Authorization": f"Bearer {KEY}"}
WARM = {"model": "any", "messages": [{"role": "user", "content": "w1 w2 w3"}], "temperature": 1.9}


@pytest.fixture(scope="module")
def study(
    plant_folder: Path, vectors: EmotionVectors, calibration: Calibration, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The planted model's vectors and rules, in a folder as a study leaves it."""
    folder = tmp_path_factory.mktemp("study")
    vectors.save(folder / "vectors.safetensors")
    calibration.save(folder / "rules.json")
    return folder


@contextlib.contextmanager
def process(study: Path, model: Path, *options: str) -> Iterator[tuple[subprocess.Popen, str]]:
    command = [*FORESHOCK, "serve", str(study), "--model", str(model), "--dtype", "float32", "--port", "0", *options]
    environment = os.environ | {"FORESHOCK_API_KEY": KEY, "COLUMNS": "200"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    ) as running:
        assert running.stdout
        said = ""
        while not (found := re.search(r"dashboard +(http://[\d.:]+)/", said)):
            line = running.stdout.readline()
            assert line, f"it did not start: {said}"
            said += line
        try:
            yield running, found[1]
        finally:
            running.kill()


def ask(address: str, **given: object) -> httpx.Response:
    return httpx.post(f"{address}/v1/chat/completions", json=WARM | given, headers=HEADERS, timeout=60)


def test_it_drains_at_sigterm_and_tells_no_secret(study: Path, plant_folder: Path) -> None:
    with process(study, plant_folder, "--store", "none") as (running, address):
        assert httpx.post(f"{address}/v1/chat/completions", json=WARM).status_code == 401
        found: list[httpx.Response] = []
        late = threading.Thread(target=lambda: found.append(ask(address, max_tokens=450)))
        followed = threading.Thread(target=_follow, args=(address,))
        followed.start()
        late.start()
        while "foreshock_requests_running 1" not in httpx.get(f"{address}/metrics", headers=HEADERS).text:
            assert not found, "the reply was over too soon"
        running.send_signal(signal.SIGTERM)
        late.join(60)
        followed.join(60)
        assert found[0].is_success and found[0].json()["choices"][0]["finish_reason"] in ("stop", "length")
        assert running.wait(60) == 0
        assert running.stdout
        rest = running.stdout.read()
        assert KEY not in rest and "Traceback" not in rest, rest


def _follow(address: str) -> None:
    with httpx.stream("GET", f"{address}/events", headers=HEADERS, timeout=60) as stream:
        for _ in stream.iter_bytes():
            pass


@pytest.mark.parametrize("place", ["sqlite", "postgresql"])
def test_killed_under_load_it_comes_back_with_all_but_the_last_second(
    study: Path, plant_folder: Path, place: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = str(tmp_path / "c.db") if place == "sqlite" else request.getfixturevalue("cluster").database()
    with process(study, plant_folder, "--store", url) as (running, address):
        assert ask(address, max_tokens=20, foreshock={"conversation": "early"}).is_success
        time.sleep(1.2)
        threads = [threading.Thread(target=_suppressed, args=(address, k)) for k in range(8)]
        for thread in threads:
            thread.start()
        time.sleep(0.5)
        running.kill()
        for thread in threads:
            thread.join(60)
    with Store.open(url) as store:
        kept = store.conversation("early")
        assert kept and [message.role for message in kept.messages] == ["user", "assistant"]
        assert all(len(block.spans) == len(block.values) for one in store.conversations() for block in _blocks(store, one.id))  # fmt: skip
    with process(study, plant_folder, "--store", url) as (_, address):
        assert ask(address, max_tokens=5, foreshock={"conversation": "late"}).is_success
        listed = httpx.get(f"{address}/api/conversations", headers=HEADERS).json()
        assert "early" in [one["id"] for one in listed["conversations"]]


def _suppressed(address: str, k: int) -> None:
    with contextlib.suppress(httpx.HTTPError):
        ask(address, max_tokens=400, foreshock={"conversation": f"load {k}"})


def _blocks(store: Store, id: str) -> Sequence:
    kept = store.conversation(id)
    return kept.readings if kept else ()


def test_a_public_address_needs_a_key(study: Path, plant: Planted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FORESHOCK_API_KEY", raising=False)
    done = run("serve", study, "--host", "0.0.0.0", code=2)
    assert "an API key is needed" in done.stderr
    monkeypatch.setenv("FORESHOCK_API_KEY", "short")
    assert "at least 16 characters" in run("serve", study, code=2).stderr
