"""A thread that writes rows in the background: bounded, twice a second, patient with a database that is away."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence

from foreshock.errors import StoreError
from foreshock.monitor.store.rows import Row

EVERY = 0.5
"""Seconds that rows wait for company before they are committed together."""
LONGEST_PAUSE = 5.0
"""Seconds between two tries when the database stays away."""


class Writer:
    """Rows wait here, at most `bound` bytes of them, until `write` has committed them.

    Args:
        write: commits rows, all or none, and returns how many had to be refused for what they hold. `StoreError` from it
            means that the database is away: the same rows are given again later.
        bound: bytes. Readings take half of it at most, so that in a long outage words and alarms outlive them.

    Attributes:
        lost: rows that found no room, were refused, or still waited when the database was away at closing.
        trouble: why the last try failed, None if it did not.
    """

    def __init__(self, write: Callable[[Sequence[Row]], int], bound: int) -> None:
        self.lost = 0
        self.trouble: str | None = None
        self._write, self._bound = write, bound
        self._rows: deque[Row] = deque()
        self._held = 0
        self._added = self._done = 0
        self._tries = self._last_failed = 0
        self._hurry = self._closing = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="foreshock-store", daemon=True)
        self._thread.start()

    def add(self, row: Row) -> None:
        """Take a row, or count it as lost when there is no room. Waits for no disk and no network."""
        room = self._bound // 2 if row.table == "reading" else self._bound
        with self._changed:
            if self._closing or self._held + row.size > room:
                self.lost += 1
                return
            self._rows.append(row)
            self._held += row.size
            self._added += 1
            if len(self._rows) == 1:
                self._changed.notify_all()

    def flush(self, timeout: float) -> None:
        """Return once all that was added before is committed. Raises `StoreError` if a try fails or time runs out."""
        with self._changed:
            goal, before = self._added, self._tries
            self._hurry = True
            self._changed.notify_all()
            ended = self._changed.wait_for(
                lambda: self._done >= goal or self._last_failed > before or not self._thread.is_alive(), timeout
            )
            if self._done < goal:
                raise StoreError(
                    self.trouble if ended and self.trouble else f"The database did not answer within {timeout:g} s."
                )

    def close(self, timeout: float) -> int:
        """Try once more to write what waits, then stop; returns how many rows that lost."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(timeout)
        with self._changed:
            left = len(self._rows)
            self._rows.clear()
            self.lost += left
        return left

    def _run(self) -> None:
        pause = EVERY
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._rows or self._closing)
                self._changed.wait_for(lambda: self._hurry or self._closing, pause)
                self._hurry = False
                self._tries += 1
                last, batch = self._closing, list(self._rows)
            refused, trouble = self._tried(batch)
            with self._changed:
                self.trouble = trouble
                if trouble is None:
                    self._committed(batch, refused)
                else:
                    self._last_failed = self._tries
                self._changed.notify_all()
            if last:
                return
            pause = EVERY if trouble is None else min(2 * pause, LONGEST_PAUSE)

    def _tried(self, batch: Sequence[Row]) -> tuple[int, str | None]:
        try:
            return (self._write(batch) if batch else 0), None
        except StoreError as problem:
            return 0, str(problem)
        except Exception as problem:  # whatever it is, the thread lives on and the rows wait
            return 0, f"Writing failed ({type(problem).__name__}: {problem})."

    def _committed(self, batch: Sequence[Row], refused: int) -> None:
        for _ in range(min(len(batch), len(self._rows))):  # a closing that lost patience has emptied them
            self._held -= self._rows.popleft().size
        self._done += len(batch)
        self.lost += refused
