"""From what is heard to what a store keeps: messages as they grow, readings of their words, alarms."""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
from jaxtyping import Float

from foreshock.monitor.following import KEPT, Heard
from foreshock.monitor.store import Store
from foreshock.monitor.store.records import Alarm, Conversation, Message, ReadingBlock

EVERY = 0.3
"""Seconds between handing over: with the store's own half second, a crash costs less than a second."""


@dataclass
class _Turn:
    """The running message of a conversation: its words, and the readings that the store has not got yet."""

    number: int
    role: str
    text: list[str] = field(default_factory=list)
    length: int = 0
    spans: list[tuple[int, int]] = field(default_factory=list)
    values: list[Float[np.ndarray, "layer emotion"]] = field(default_factory=list)


class Keeper:
    """Gathers what is heard and gives it to a store a few times a second. Tokens of the chat template are left out."""

    def __init__(
        self, store: Store, model: str, source: str, layers: tuple[int, ...], emotions: tuple[str, ...]
    ) -> None:
        self._store, self._model, self._source = store, model, source
        self._layers, self._emotions = layers, emotions
        self._turns: OrderedDict[str, _Turn] = OrderedDict()
        """Conversations that the store has, with their running message; the longest unheard are dropped."""
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Within the context what was gathered is handed over in time, also while the model rests."""
        over = threading.Event()

        def run() -> None:
            while not over.wait(EVERY):
                self.flush()

        thread = threading.Thread(target=run, name="foreshock-keeper", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            self.flush()

    def take(self, heard: Heard) -> None:
        """Remember the words and readings of a pass."""
        with self._lock:
            for k in range(len(heard)):
                if heard.content[k]:
                    self._add(heard, k)

    def alarm(self, alarm: Alarm) -> None:
        """A sink: what the alarm is about is handed over first, then the alarm, at once."""
        self.flush()
        self._store.add(alarm)

    def flush(self) -> None:
        """Hand over what has gathered. Turns that are still running stay open."""
        with self._lock:
            for conversation in list(self._turns):
                self._hand_over(conversation)

    def _add(self, heard: Heard, k: int) -> None:
        turn = self._turns.get(heard.conversation)
        if turn is None:
            self._store.add(Conversation(heard.conversation, datetime.now(UTC), self._model, self._source))
        if turn is None or turn.number != heard.turns[k]:
            self._hand_over(heard.conversation)
            turn = self._turns[heard.conversation] = _Turn(heard.turns[k], heard.roles[k])
            self._turns.move_to_end(heard.conversation)
            self._drop_oldest()
        turn.text.append(heard.pieces[k])
        turn.spans.append((turn.length, turn.length + len(heard.pieces[k])))
        turn.length += len(heard.pieces[k])
        turn.values.append(heard.values[k])

    def _drop_oldest(self) -> None:
        while len(self._turns) > KEPT:
            oldest = next(iter(self._turns))
            self._hand_over(oldest)
            del self._turns[oldest]

    def _hand_over(self, conversation: str) -> None:
        turn = self._turns.get(conversation)
        if turn is None or not turn.values:
            return
        self._store.add(Message(conversation, turn.number, turn.role, "".join(turn.text)))
        values = np.stack(turn.values, 1)
        for layer, own in zip(self._layers, values, strict=True):
            block = ReadingBlock(conversation, turn.number, layer, self._emotions, own, tuple(turn.spans))
            self._store.add(block)
        turn.text, turn.spans, turn.values = ["".join(turn.text)], [], []
