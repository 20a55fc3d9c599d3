"""Requests that wait at the same time run as one batch."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import Generic, TypeVar

Asks = TypeVar("Asks")
Gets = TypeVar("Gets")

ROWS = 16
"""Most requests of a batch: 16 streams cost little more than one on a CPU."""
GATHER = 0.05
"""Seconds that a batch waits for company before it starts; writing one takes seconds."""


class Gathered(Generic[Asks, Gets]):
    """An async function over one request, made from a blocking one over many.

    A queue, and a single thread that takes up to `ROWS` requests from it and runs them. The thread belongs to no event
    loop, so one model serves every evaluation of a process, and never two batches at once.

    Args:
        run: requests → answers, in order. What it raises is raised for each of the requests.
    """

    def __init__(self, run: Callable[[Sequence[Asks]], Sequence[Gets]]) -> None:
        self._run = run
        self._waiting: SimpleQueue[tuple[Asks, Future[Gets]]] = SimpleQueue()
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="foreshock")

    async def __call__(self, request: Asks) -> Gets:
        """The answer to this request, once its batch has run."""
        answer: Future[Gets] = Future()
        self._waiting.put((request, answer))
        self._worker.submit(self._batch)
        return await asyncio.wrap_future(answer)

    def _batch(self) -> None:
        if self._waiting.empty():
            return  # an earlier batch took the request that this call was made for
        time.sleep(GATHER)
        taken: list[tuple[Asks, Future[Gets]]] = []
        while len(taken) < ROWS and not self._waiting.empty():
            request, answer = self._waiting.get()
            if answer.set_running_or_notify_cancel():
                taken.append((request, answer))
        if not taken:
            return
        try:
            for (_, answer), found in zip(taken, self._run([request for request, _ in taken]), strict=True):
                answer.set_result(found)
        except BaseException as problem:
            for _, answer in taken:
                if not answer.done():
                    answer.set_exception(problem)
