"""Counts and times of the server: for Prometheus, and for the dashboard's overview."""

from __future__ import annotations

import contextlib
import time
from collections import Counter, deque
from collections.abc import Iterator

import numpy as np
import prometheus_client as prometheus
from fastapi import APIRouter
from fastapi.responses import Response
from prometheus_client import CollectorRegistry

from foreshock.monitor.following import Heard
from foreshock.monitor.store import Alarm, Store
from foreshock.server.engine import Engine
from foreshock.server.requests import Finished
from foreshock.server.settings import Served

NEWEST = 1000
"""Requests whose time to the first token is remembered."""
LATELY = 60.0
"""Seconds over which throughput is averaged."""
FIRST = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
WHOLE = (0.5, 1, 2, 5, 10, 30, 60, 120, 300)


class Metrics:
    """All labels come from a small fixed set: routes, outcomes, the rules' names. None come from requests."""

    def __init__(self, engine: Engine, store: Store | None = None) -> None:
        self.registry = CollectorRegistry()
        count = self._counter
        self._requests = count("foreshock_requests", "Requests that ended.", "route", "outcome")
        self._tokens = count("foreshock_tokens", "Tokens of prompts and of replies.", "kind")
        self._alarms = count("foreshock_alarms", "Alarms raised.", "rule")
        self._read = count("foreshock_tokens_read", "Tokens whose readings were taken.")
        self._first = prometheus.Histogram("foreshock_first_token_seconds", "From a request's coming to its first token.", buckets=FIRST, registry=self.registry)  # fmt: skip
        self._whole = prometheus.Histogram("foreshock_request_seconds", "From a request's coming to its end.", buckets=WHOLE, registry=self.registry)  # fmt: skip
        for rule in engine.monitor.rules.rules if engine.monitor.rules else ():
            self._alarms.labels(rule.name)  # so that 0 is seen
        self._gauge("foreshock_requests_running", "Requests that run.", lambda: engine.load[0])
        self._gauge("foreshock_requests_waiting", "Requests that wait.", lambda: engine.load[1])
        self._gauge("foreshock_up", "1 where the engine runs.", lambda: int(engine.trouble is None))
        self._gauge("foreshock_sinks_failed", "Alarms that a sink did not take.", lambda: engine.monitor.failed)
        if store:
            self._gauge("foreshock_store_lost_total", "Records that the store could not keep.", lambda: store.lost)
            self._gauge("foreshock_store_trouble", "1 while the store cannot be written.", lambda: int(store.trouble is not None))  # fmt: skip
        self._firsts: deque[float] = deque(maxlen=NEWEST)
        self._lately: deque[tuple[float, int]] = deque()
        self.outcomes: Counter[str] = Counter()
        """How requests ended → how many."""

    def _counter(self, name: str, about: str, *labels: str) -> prometheus.Counter:
        return prometheus.Counter(name, about, labels, registry=self.registry)

    def _gauge(self, name: str, about: str, value: object) -> None:
        prometheus.Gauge(name, about, registry=self.registry).set_function(value)  # type: ignore[arg-type]

    def take(self, event: Heard | Alarm) -> None:
        """Count an event of the engine."""
        if isinstance(event, Alarm):
            self._alarms.labels(event.rule).inc()
        else:
            self._read.inc(len(event))

    @contextlib.contextmanager
    def request(self, route: str) -> Iterator[Timed]:
        """Around one call of a route; what it raises is its outcome."""
        timed = Timed(self)
        outcome = "left"  # the client went away, unless something else is known
        try:
            yield timed
            outcome = timed.outcome
        except Exception as problem:
            inner = problem.exceptions[0] if isinstance(problem, ExceptionGroup) else problem
            outcome = {"Busy": "refused", "TimedOut": "timeout", "TimeoutError": "timeout"}.get(type(inner).__name__, "error")  # fmt: skip
            raise
        finally:
            self._requests.labels(route, outcome).inc()
            self.outcomes[outcome] += 1
            self._whole.observe(time.perf_counter() - timed.begun)

    def first(self, seconds: float) -> None:
        """A request's first token has come."""
        self._first.observe(seconds)
        self._firsts.append(seconds)

    def finished(self, reply: Finished) -> None:
        """A reply is over."""
        self._tokens.labels("prompt").inc(reply.prompt_tokens)
        self._tokens.labels("completion").inc(reply.completion_tokens)
        self._lately.append((time.monotonic(), reply.completion_tokens))

    def latency(self) -> dict[str, float | None]:
        """Seconds to the first token (median and 95th percentile of the newest 1,000), tokens a second of the last minute."""
        now, firsts = time.monotonic(), list(self._firsts)
        while self._lately and self._lately[0][0] < now - LATELY:
            self._lately.popleft()
        p50, p95 = (float(value) for value in np.quantile(firsts, [0.5, 0.95])) if firsts else (None, None)
        tokens = sum(count for _, count in list(self._lately))
        return {"first_token_p50": p50, "first_token_p95": p95, "tokens_per_second": tokens / LATELY}


class Timed:
    """The clock of one call."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics, self.begun, self._first = metrics, time.perf_counter(), True
        self.outcome = "stop"

    def first_token(self) -> None:
        """A token has come; only the first counts."""
        if self._first:
            self._first = False
            self._metrics.first(time.perf_counter() - self.begun)

    def finished(self, reply: Finished) -> None:
        """One of its replies is over."""
        self.outcome = reply.reason
        self._metrics.finished(reply)


def router(served: Served) -> APIRouter:
    """The route."""
    routes = APIRouter(include_in_schema=False)

    @routes.get("/metrics")
    async def metrics() -> Response:
        found = prometheus.generate_latest(served.metrics.registry)
        return Response(found, media_type=prometheus.CONTENT_TYPE_LATEST)

    return routes
