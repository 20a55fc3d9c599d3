"""Counts and times of the server: for Prometheus, and for the dashboard's overview."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator

import numpy as np
import prometheus_client as prometheus
from fastapi import APIRouter
from fastapi.responses import Response
from jaxtyping import Float
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from foreshock.errors import Busy, ForeshockError, ServerError, StoreError, TimedOut
from foreshock.monitor.following import Heard
from foreshock.monitor.store import Alarm, Store
from foreshock.server.engine import Engine
from foreshock.server.feed import Feed
from foreshock.server.requests import Finished
from foreshock.server.settings import Served
from foreshock.server.tracing import cause

NEWEST = 1000
"""Requests whose time to the first token is remembered; also about the tokens over which readings are averaged."""
LATELY = 60.0
"""Seconds over which throughput is averaged."""
FIRST = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
WHOLE = (0.5, 1, 2, 5, 10, 30, 60, 120, 300)
ROUTES = ("chat", "completions", "readings")
NOT_RUN = ("refused", "invalid")
"""Outcomes of requests that never ran; their times would make the server look fast."""


class Metrics:
    """All labels come from small fixed sets: routes, outcomes, the rules' names and emotions. None come from requests."""

    def __init__(self, engine: Engine, store: Store | None = None, feed: Feed | None = None) -> None:
        self.registry = CollectorRegistry()
        self._requests = self._counter("foreshock_requests", "Requests that ended.", "route", "outcome")
        self._tokens = self._counter("foreshock_tokens", "Tokens of prompts and of replies.", "kind")
        self._alarms = self._counter("foreshock_alarms", "Alarms raised.", "rule")
        self._read = self._counter("foreshock_tokens_read", "Tokens whose readings were taken.")
        self._first = self._histogram("foreshock_first_token", "From a request's coming to its first token.", FIRST)
        self._whole = self._histogram("foreshock_request", "From a request's coming to its end.", WHOLE)
        rules = engine.monitor.rules.rules if engine.monitor.rules else ()
        for rule in rules:
            self._alarms.labels(rule.name)  # so that 0 is seen
        self._means = _Means(engine, {word for rule in rules for word in rule.score.weights})
        self.registry.register(_LookedUp(engine, store, feed, self._means))
        self._lock = threading.Lock()
        self._began = time.monotonic()
        self._firsts: deque[float] = deque(maxlen=NEWEST)
        self._lately: deque[tuple[float, int]] = deque()
        self.outcomes: Counter[str] = Counter()
        """How requests ended → how many."""

    def _counter(self, name: str, about: str, *labels: str) -> prometheus.Counter:
        return prometheus.Counter(name, about, labels, registry=self.registry)

    def _histogram(self, name: str, about: str, buckets: tuple[float, ...]) -> prometheus.Histogram:
        return prometheus.Histogram(name, about, unit="seconds", buckets=buckets, registry=self.registry)

    def take(self, event: Heard | Alarm) -> None:
        """Count an event of the engine."""
        if isinstance(event, Alarm):
            self._alarms.labels(event.rule).inc()
        else:
            self._read.inc(len(event))
            self._means.take(event)

    @contextlib.contextmanager
    def request(self, route: str) -> Iterator[Timed]:
        """Around one call of a route; what it raises is its outcome."""
        timed = Timed(self)
        outcome = "left"  # the client went away, unless something else is known
        try:
            yield timed
            outcome = timed.outcome
        except Exception as problem:
            outcome = _outcome(problem)
            raise
        finally:
            self._requests.labels(route if route in ROUTES else "other", outcome).inc()
            if outcome not in NOT_RUN:
                self._whole.observe(time.perf_counter() - timed.begun)
            with self._lock:
                self.outcomes[outcome] += 1

    def first(self, seconds: float) -> None:
        """A request's first token has come."""
        self._first.observe(seconds)
        with self._lock:
            self._firsts.append(seconds)

    def finished(self, reply: Finished) -> None:
        """A reply is over; a prompt that gets several replies is run, and counted, for each."""
        self._tokens.labels("prompt").inc(reply.prompt_tokens)
        self._tokens.labels("completion").inc(reply.completion_tokens)
        with self._lock:
            self._forget()
            self._lately.append((time.monotonic(), reply.completion_tokens))

    def latency(self) -> dict[str, float | None]:
        """Seconds to the first token, and throughput.

        Returns:
            `first_token_p50` and `first_token_p95`, in seconds, of the newest 1,000 requests, None before the first; and
            `tokens_per_second`: those of replies that ended in the last minute, or since the start where that is later.
        """
        with self._lock:
            self._forget()
            firsts, tokens = list(self._firsts), sum(count for _, count in self._lately)
        p50, p95 = (float(value) for value in np.quantile(firsts, [0.5, 0.95])) if firsts else (None, None)
        seconds = min(LATELY, max(1.0, time.monotonic() - self._began))
        return {"first_token_p50": p50, "first_token_p95": p95, "tokens_per_second": tokens / seconds}

    def _forget(self) -> None:
        """Replies that ended too long ago to count for throughput."""
        while self._lately and self._lately[0][0] < time.monotonic() - LATELY:
            self._lately.popleft()


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


class _Means:
    """Mean readings of the rules' emotions over about the newest 1,000 tokens, templates aside."""

    def __init__(self, engine: Engine, words: set[str]) -> None:
        every = engine.monitor.emotions
        self._shown, self._columns = engine.shown, [k for k, word in enumerate(every) if word in words]
        self.words = tuple(every[k] for k in self._columns)
        self.now: Float[np.ndarray, " emotion"] | None = None

    def take(self, heard: Heard) -> None:
        """Have the newest tokens count."""
        values = heard.values[:, self._shown, self._columns][heard.content]
        if not values.size or not np.isfinite(values).all():
            return
        share = 1 - math.exp(-len(values) / NEWEST)
        new = values.mean(0, dtype=float)
        self.now = new if self.now is None else self.now + share * (new - self.now)


class _LookedUp(Collector):
    """What is known elsewhere and looked up when Prometheus asks."""

    def __init__(self, engine: Engine, store: Store | None, feed: Feed | None, means: _Means) -> None:
        self._engine, self._store, self._feed, self._means = engine, store, feed, means

    def collect(self) -> Iterator[Metric]:
        """The values of now."""
        engine, store, feed, means = self._engine, self._store, self._feed, self._means
        running, waiting = engine.load
        yield GaugeMetricFamily("foreshock_requests_running", "Requests that run.", running)
        yield GaugeMetricFamily("foreshock_requests_waiting", "Requests that wait.", waiting)
        yield GaugeMetricFamily("foreshock_up", "1 where the engine runs.", int(engine.trouble is None))
        yield CounterMetricFamily("foreshock_sinks_failed", "Alarms that a sink did not take.", engine.monitor.failed)
        drift = engine.monitor.drift()
        about = (
            "Chance of so large a difference between live conversations and the calibration's; small: calibrate again."
        )
        yield GaugeMetricFamily("foreshock_drift_p", about, value=drift.p if drift else math.nan)
        if store is not None:
            yield CounterMetricFamily("foreshock_store_lost", "Records that the store could not keep.", store.lost)
            trouble = int(store.trouble is not None)
            yield GaugeMetricFamily("foreshock_store_trouble", "1 while the store cannot be written.", trouble)
        if feed is not None:
            about = "Events that followers were too slow for."
            yield CounterMetricFamily("foreshock_events_missed", about, feed.missed)
        gauge = GaugeMetricFamily("foreshock_readings_mean", "Mean readings of late.", labels=["emotion"])
        for word, mean in zip(means.words, [] if means.now is None else means.now, strict=False):
            gauge.add_metric([word], float(mean))
        yield gauge


def _outcome(problem: Exception) -> str:
    first = cause(problem)
    if isinstance(first, Busy):
        return "refused"
    if isinstance(first, TimedOut | TimeoutError):
        return "timeout"
    asked_wrong = isinstance(first, ForeshockError) and not isinstance(first, ServerError | StoreError)
    return "invalid" if asked_wrong else "error"


def router(served: Served) -> APIRouter:
    """The route."""
    routes = APIRouter(include_in_schema=False)

    @routes.get("/metrics")
    def metrics() -> Response:
        found = prometheus.generate_latest(served.metrics.registry)
        return Response(found, media_type=prometheus.CONTENT_TYPE_LATEST)

    return routes
