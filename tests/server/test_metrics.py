"""What is counted and timed."""

from __future__ import annotations

import asyncio

import pytest
from prometheus_client.parser import text_string_to_metric_families

from foreshock.errors import Busy
from foreshock.server.requests import Finished
from foreshock.server.settings import Served


def value(served: Served, name: str, **labels: str) -> float:
    return served.metrics.registry.get_sample_value(name, labels) or 0.0


def test_requests_are_counted_by_how_they_ended(served: Served) -> None:
    metrics = served.metrics
    with metrics.request("chat") as timed:
        timed.first_token()
        timed.first_token()
        timed.finished(Finished("length", 7, 5, "c"))
    with pytest.raises(Busy), metrics.request("chat"):
        raise Busy("full")
    with pytest.raises(ExceptionGroup), metrics.request("chat"):
        raise ExceptionGroup("several", [Busy("full")])
    with pytest.raises(asyncio.CancelledError), metrics.request("completions"):
        raise asyncio.CancelledError
    assert value(served, "foreshock_requests_total", route="chat", outcome="length") == 1
    assert value(served, "foreshock_requests_total", route="chat", outcome="refused") == 2
    assert value(served, "foreshock_requests_total", route="completions", outcome="left") == 1
    assert value(served, "foreshock_tokens_total", kind="completion") == 5
    assert value(served, "foreshock_first_token_seconds_count") == 1
    found = metrics.latency()
    assert found["first_token_p50"] and found["first_token_p95"] and found["tokens_per_second"] == 5 / 60


def test_the_route_speaks_prometheus_and_rules_begin_at_nought(served: Served, address: str) -> None:
    import httpx

    families = {f.name: f for f in text_string_to_metric_families(httpx.get(f"{address}/metrics").text)}
    assert {s.labels["rule"] for s in families["foreshock_alarms"].samples if s.name.endswith("_total")} >= {"desperate", "rise"}  # fmt: skip
    assert families["foreshock_up"].samples[0].value == 1
