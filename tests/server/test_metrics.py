"""What Prometheus and the dashboard are told."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from foreshock.errors import Busy, ServerError, TimedOut, TooLong
from foreshock.model.planted import Planted
from foreshock.monitor.calibration import Calibration
from foreshock.monitor.following import Heard
from foreshock.monitor.monitor import Monitor
from foreshock.monitor.store import Alarm, Store
from foreshock.server import metrics as module
from foreshock.server.engine import Engine
from foreshock.server.feed import Feed
from foreshock.server.metrics import Metrics, router
from foreshock.server.requests import Finished
from foreshock.server.settings import Served
from foreshock.vectors import EmotionVectors


@pytest.fixture(scope="module")
def engine(plant: Planted, vectors: EmotionVectors, calibration: Calibration) -> Engine:
    return Engine(plant.model, Monitor(plant.model, vectors, calibration), rows=2, room=256)


def scraped(metrics: Metrics) -> dict[tuple[str, ...], float]:
    """As Prometheus reads it: name, then values of the labels by their names → value."""
    app = FastAPI()
    app.include_router(router(cast(Served, SimpleNamespace(metrics=metrics))))
    answer = TestClient(app).get("/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain")
    families = text_string_to_metric_families(answer.text)
    return {
        (one.name, *(value for _, value in sorted(one.labels.items()))): one.value
        for family in families
        for one in family.samples
    }


def finished(reason: str = "stop") -> Finished:
    return Finished(reason, 10, 4, "c")  # type: ignore[arg-type]


def test_requests_are_counted_by_how_they_end(engine: Engine) -> None:
    metrics = Metrics(engine)
    with metrics.request("chat") as timed:
        for _ in range(3):
            timed.first_token()
        timed.finished(finished())
        timed.finished(finished("length"))
    with metrics.request("completions") as timed:
        timed.finished(finished("alarm"))
    ends = {"refused": Busy("full"), "timeout": TimedOut("late"), "invalid": TooLong("long"), "error": ServerError("broken")}  # fmt: skip
    for problem in (*ends.values(), TimeoutError(), RuntimeError(), asyncio.CancelledError()):
        with pytest.raises(type(problem)), metrics.request("chat"):
            raise problem
    with pytest.raises(ExceptionGroup), metrics.request("chat"):
        raise ExceptionGroup("", [ExceptionGroup("", [Busy("full")])])
    with metrics.request("/secret/route/of/a/client"):
        pass
    found = scraped(metrics)
    told = {key[1:]: value for key, value in found.items() if key[0] == "foreshock_requests_total"}
    assert told == {
        ("length", "chat"): 1, ("alarm", "completions"): 1, ("refused", "chat"): 2, ("timeout", "chat"): 2,
        ("invalid", "chat"): 1, ("error", "chat"): 2, ("left", "chat"): 1, ("stop", "other"): 1,
    }  # fmt: skip
    assert dict(metrics.outcomes) == {"length": 1, "alarm": 1, "refused": 2, "timeout": 2, "invalid": 1, "error": 2, "left": 1, "stop": 1}  # fmt: skip
    assert found["foreshock_tokens_total", "prompt"] == 30 and found["foreshock_tokens_total", "completion"] == 12
    assert found["foreshock_first_token_seconds_count",] == 1, "a call has one first token"
    assert found["foreshock_request_seconds_count",] == 8, "what was refused did not run"


def test_alarms_and_readings_are_counted_and_rules_are_there_from_the_start(engine: Engine) -> None:
    metrics = Metrics(engine)
    emotions, shown = engine.monitor.emotions, engine.shown
    found = scraped(metrics)
    assert found["foreshock_alarms_total", "desperate"] == found["foreshock_alarms_total", "rise"] == 0
    values = np.zeros((3, len(engine.monitor.layers), len(emotions)), np.float32)
    values[:, shown, emotions.index("desperate")] = [2, 4, 1000]
    heard = Heard("c", 0, 0, np.arange(3), list("abc"), ["user"] * 3, [0] * 3, [True, True, False], values, "")
    metrics.take(heard)
    metrics.take(Alarm("c", "rise", 5, 4, 0.01, 3, 0, "user", "", datetime.now(UTC)))
    found = scraped(metrics)
    assert found["foreshock_alarms_total", "rise"] == 1 and found["foreshock_tokens_read_total",] == 3
    means = {key[1]: value for key, value in found.items() if key[0] == "foreshock_readings_mean"}
    assert means == {"desperate": 3, "calm": 0}, "the rules' emotions, over what was said"
    values[:] = np.nan
    metrics.take(heard)
    values[:, shown] = 1.0
    for _ in range(3000):
        metrics.take(heard)
    found = scraped(metrics)
    assert found["foreshock_readings_mean", "desperate"] == pytest.approx(1, abs=0.01), "the newest count"


def test_what_others_know_is_looked_up_when_it_is_asked_for(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> None:  # fmt: skip
    feed = Feed(engine.monitor.emotions, engine.shown)
    store = Store.open(tmp_path_factory.mktemp("store") / "store.db")
    metrics = Metrics(engine, store, feed)
    found = scraped(metrics)
    names = ["requests_running", "requests_waiting", "up", "store_lost_total", "store_trouble", "events_missed_total"]
    assert [found[f"foreshock_{name}",] for name in names] == [0] * 6
    store.close()
    store.add(Alarm("c", "rise", 5, 4, 0.01, 3, 0, "user", "", datetime.now(UTC)))
    feed.missed = 7
    engine.start()
    try:
        found = scraped(metrics)
    finally:
        engine.stop(5)
    assert [found[f"foreshock_{name}",] for name in names] == [0, 0, 1, 1, 0, 7]


def test_latency_is_of_the_newest_requests_and_throughput_of_the_last_minute(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    metrics = Metrics(engine)
    assert metrics.latency() == {"first_token_p50": None, "first_token_p95": None, "tokens_per_second": 0}
    for seconds in [100.0] * 500 + [k / 1000 for k in range(1000)]:
        metrics.first(seconds)
    found = metrics.latency()
    assert found["first_token_p50"] == pytest.approx(0.4995) and found["first_token_p95"] == pytest.approx(0.94905)
    now = module.time.monotonic()
    for after in (1000, 1010, 1059, 1062):
        monkeypatch.setattr(module.time, "monotonic", lambda after=after: now + after)
        metrics.finished(finished())
    assert metrics.latency()["tokens_per_second"] == pytest.approx(3 * 4 / 60)
    assert len(metrics._lately) == 3, "what is old is forgotten, whether or not anybody asks"
