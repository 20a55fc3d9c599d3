"""A real server on a free port of loopback, in a thread."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import uvicorn

from foreshock.model import LanguageModel
from foreshock.monitor.calibration import Calibration
from foreshock.monitor.monitor import Monitor
from foreshock.monitor.store import Store
from foreshock.server.app import create_app
from foreshock.server.engine import Engine
from foreshock.server.feed import Feed
from foreshock.server.metrics import Metrics
from foreshock.server.settings import Served, Settings
from foreshock.vectors import EmotionVectors


def made(
    model: LanguageModel,
    vectors: EmotionVectors,
    rules: Calibration | None = None,
    store: Store | None = None,
    settings: Settings | None = None,
    study: Path | None = None,
    words: bool = True,
    on_alarm: Any = "note",
    **engine: int,
) -> Served:
    """What `foreshock serve` makes before it listens."""
    monitor = Monitor(model, vectors, rules, store=store, source="serve", on_alarm=on_alarm)
    own = Engine(model, monitor, **({"rows": 4, "waiting": 4, "room": 4096} | engine))
    feed = Feed(monitor.emotions, own.shown)
    settings = settings or Settings(per_minute=100_000, patience=5)
    return Served(own, vectors, settings, feed, Metrics(own, store, feed), store, words, study)


@contextlib.contextmanager
def serving(served: Served) -> Iterator[str]:
    """Its address, while it listens."""
    config = uvicorn.Config(
        create_app(served), host="127.0.0.1", port=0, log_level="warning", access_log=False, proxy_headers=False
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the server did not start"
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        served.feed.close()
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive(), "the server did not end"
