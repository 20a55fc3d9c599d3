"""`foreshock serve` with nothing read: the ceiling that watching is measured against in `benchmarks.serving`."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from foreshock.cli.serve import run
from foreshock.model import open_model
from foreshock.model.stream import Residual
from foreshock.monitor.monitor import Monitor
from foreshock.server.engine import Engine
from foreshock.server.feed import Feed
from foreshock.server.metrics import Metrics
from foreshock.server.settings import Served, Settings
from foreshock.vectors import EmotionVectors


class Unwatched(Engine):
    """Reads nothing."""

    def _reader(self, k: int) -> Callable[[Residual], None]:  # noqa: ARG002
        return lambda _hidden: None


def main(study: Path, port: int) -> None:
    """Serve until ended."""
    vectors = EmotionVectors.load(study / "vectors.safetensors")
    with ThreadPoolExecutor(1) as opening:  # as `Recipe.made` does
        model = opening.submit(open_model, vectors.manifest["model"]["name"]).result()
    monitor = Monitor(model, vectors)
    engine = Unwatched(model, monitor)
    settings = Settings(port=port, per_minute=100_000)
    run(
        Served(engine, vectors, settings, Feed(monitor.emotions, engine.shown), Metrics(engine, None)),
        socket.create_server(("127.0.0.1", port)),
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[3]))
