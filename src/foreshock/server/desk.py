"""Where prompts are encoded before the engine takes them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from foreshock.errors import Busy

if TYPE_CHECKING:
    from foreshock.server.engine import Engine

T = TypeVar("T")
AT_ONCE, IN_LINE = 2, 64
"""Prompts that are encoded at a time, and that may stand in line for it."""


class Desk:
    """Prompts are encoded a few at a time: many long ones at once would take the model's time."""

    def __init__(self) -> None:
        self._free, self._standing = asyncio.Semaphore(AT_ONCE), 0

    async def encoded(self, engine: Engine, work: Callable[[], T]) -> T:
        """What `work` gives, done in a thread.

        Raises:
            Busy, ServerError: the engine could not run it anyhow, or the line is full.
        """
        engine.check_free()
        if self._standing >= IN_LINE:
            raise Busy(f"{self._standing} prompts are being encoded already; ask again in a while.")
        self._standing += 1
        try:
            async with self._free:
                return await asyncio.to_thread(work)
        finally:
            self._standing -= 1
