"""All that a server is made of, as plain data: what one process makes once, and each replica for itself."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from foreshock.model import LanguageModel
from foreshock.monitor.calibration import Calibration
from foreshock.monitor.monitor import DriftWarning, Monitor
from foreshock.monitor.sinks import JsonLines, Sink
from foreshock.monitor.store import Store
from foreshock.monitor.webhook import Webhook
from foreshock.server.engine import Engine
from foreshock.server.feed import Feed
from foreshock.server.metrics import Metrics
from foreshock.server.settings import Served, Settings
from foreshock.steering import BeyondRange
from foreshock.vectors import EmotionVectors


@dataclass(frozen=True)
class Recipe:
    """What the options of `foreshock serve` say, besides the model."""

    vectors: Path
    settings: Settings
    rules: Path | None = None
    store: str | None = None
    """A SQLite file or a database's address; None keeps nothing."""
    words: bool = True
    """Whether the store keeps words."""
    on_alarm: Literal["note", "stop"] = "note"
    alarms: Path | None = None
    """A file that every alarm is added to."""
    webhook: str | None = None
    secret: str = field(default="", repr=False)
    """What the webhook signs with."""
    rows: int = 16
    waiting: int = 64
    room: int = 16_384

    def made(self, open: Callable[[], LanguageModel], stack: contextlib.ExitStack) -> Served:
        """The parts of a server of the model that `open` opens, closed with the stack.

        Raises:
            WrongModel, CalibrationError: the vectors or rules are another model's.
            StoreError: the store cannot be opened.
        """
        # Each thread that computes keeps workers of its own, and while all threads' are more than the cores, OpenMP lets
        # them fall asleep after every operation: half the engine's speed. This thread's end with it.
        with ThreadPoolExecutor(1) as opening:
            model = opening.submit(open).result()
        vectors = EmotionVectors.load(self.vectors)
        rules = Calibration.load(self.rules) if self.rules else None
        store = stack.enter_context(Store.open(self.store, keep_text=self.words)) if self.store else None
        sinks: list[Sink] = [JsonLines(self.alarms)] if self.alarms else []
        if self.webhook:
            sinks.append(stack.enter_context(Webhook(self.webhook, self.secret)))
        monitor = Monitor(model, vectors, rules, sinks=sinks, on_alarm=self.on_alarm, store=store, source="serve")
        engine = Engine(model, monitor, self.rows, self.waiting, self.room)
        feed = Feed(monitor.emotions, engine.shown)
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("always", DriftWarning)
        warnings.simplefilter("ignore", BeyondRange)  # said in the answers
        metrics = Metrics(engine, store, feed)
        return Served(engine, vectors, self.settings, feed, metrics, store, self.words, self.vectors.parent)
