"""A corpus read by Ray actors, each of which holds the model.

The driver cuts the corpus into the blocks that one process would read, hands out those that are not finished yet, two to
a worker, and takes the results as they come. An actor that dies is started again by Ray and does its block anew; a
driver that dies is started again by the user and finds the finished blocks where any run keeps them.

Ray Data is not used: its sources hold a whole corpus, or cut it themselves, and the cut decides which texts share a batch.
"""

from __future__ import annotations

import copy
import os
from collections import deque
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Any

import ray
from ray.exceptions import RayActorError, RayTaskError

from foreshock.errors import ForeshockError, ScaleError
from foreshock.model import LanguageModel
from foreshock.model.work import Block, Result, Tell, Work
from foreshock.scale.cluster import LOCAL, PATIENCE, Opening, Share, connect, share, wait_for_room

EACH = 2
"""Blocks handed to a worker: one at work, one waiting, so that it need not wait for the driver."""
AHEAD = 8
"""Blocks for each worker by which the newest may be ahead of the oldest at work: what a reader in order has to hold."""
RESTARTS = 20
"""How often one worker may die; more is no accident."""


class _Worker:
    """An actor: the model, opened when first needed and again after a restart."""

    def __init__(self, opening: Opening, threads: int) -> None:
        self._opening, self._threads = opening, threads

    @cached_property
    def _model(self) -> LanguageModel:
        return self._opening.open(self._threads)

    def pid(self) -> int:
        """The number of its process, once the model is open."""
        return os.getpid() if self._model else 0

    def do(self, work: Work[Any, Any], block: Any) -> tuple[Any, list[tuple[Any, ...]]]:
        """The result for one block, and what was told on the way."""
        told: list[tuple[Any, ...]] = []
        result = work(self._model, block, lambda *said: told.append(said))
        return result, told


class RayWorkers:
    """Workers on the Ray that is connected, each with its share of it; they go when this object goes.

        with cluster("auto"):
            model.workers = RayWorkers(Opening.of(model, name, device), share(None))

    Args:
        patience: seconds to wait for what others hold of it.

    Raises:
        ScaleError: they do not fit, or others hold what they need.
        ModelError: a worker cannot open the model.
    """

    def __init__(self, opening: Opening, shares: list[Share], patience: float = PATIENCE) -> None:
        wait_for_room(shares, patience)
        made: Any = ray.remote(max_restarts=RESTARTS, max_task_retries=RESTARTS)(_Worker)
        self._actors: list[Any] = [
            made.options(num_cpus=one.num_cpus, num_gpus=one.num_gpus).remote(opening, one.num_cpus) for one in shares
        ]
        self.pids()

    def pids(self) -> list[int]:
        """Their processes, each with its model open."""
        return [_got(ref) for ref in [actor.pid.remote() for actor in self._actors]]

    def each(
        self, work: Work[Block, Result], blocks: Iterable[tuple[int, Block]], tell: Tell
    ) -> Iterator[tuple[int, Result]]:
        """See `model.work.Workers`.

        Raises:
            ScaleError: a worker died too often.
            ForeshockError: whatever the work raised.
        """
        sent, coming = ray.put(work), iter(blocks)
        free = deque(self._actors * EACH)
        running: dict[Any, tuple[int, int, Any]] = {}
        count = 0
        while True:
            oldest = min((place for place, _, _ in running.values()), default=count)
            while free and count - oldest < AHEAD * len(self._actors):
                block = next(coming, None)
                if block is None:
                    break
                actor = free.popleft()
                running[actor.do.remote(sent, block[1])] = count, block[0], actor
                count += 1
            if not running:
                return
            (done,), _ = ray.wait(list(running), num_returns=1)
            _, number, actor = running.pop(done)
            free.append(actor)
            # Arrays that Ray gives lie in its store, and fill it for as long as anyone keeps them.
            result, told = copy.deepcopy(_got(done))
            del done  # else Ray would keep the result as long as this loop waits
            for said in told:
                tell(*said)
            yield number, result


def _got(ref: Any) -> Any:
    try:
        return ray.get(ref)
    except RayTaskError as problem:
        if isinstance(problem.cause, ForeshockError):
            raise problem.cause from None
        raise
    except RayActorError as problem:
        raise ScaleError(
            f"A worker on Ray died and could not be started again ({str(problem).splitlines()[0][:200]}); see whether it "
            "has memory enough, then run the same command again."
        ) from problem


def spread(
    model: LanguageModel, name: str | None, device: str | None, address: str = LOCAL, count: int | None = None
) -> None:
    """Have `model.each` done by workers on Ray, until the process ends.

    Args:
        name, device: what the model was opened by.
        address, count: see `cluster` and `share`.

    Raises:
        ScaleError: Ray cannot be used. ModelError: a worker cannot open the model.
    """
    connect(address)
    model.workers = RayWorkers(Opening.of(model, name, device), share(count))
