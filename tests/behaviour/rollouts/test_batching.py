"""Requests that wait together run together, never two batches at once, and a failure reaches all who asked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import pytest

from foreshock.behaviour.rollouts.batching import ROWS, Gathered


def test_what_waits_together_runs_together() -> None:
    batches: list[list[int]] = []
    running: list[bool] = []

    def run(numbers: Sequence[int]) -> list[int]:
        assert not running
        running.append(True)
        batches.append(list(numbers))
        time.sleep(0.05)
        running.clear()
        return [-number for number in numbers]

    doubled: Gathered[int, int] = Gathered(run)

    async def ask(count: int) -> list[int]:
        return await asyncio.gather(*(doubled(number) for number in range(count)))

    assert asyncio.run(ask(40)) == [-number for number in range(40)]
    assert [len(batch) for batch in batches] == [ROWS, ROWS, 40 - 2 * ROWS]
    assert asyncio.run(ask(3)) == [0, -1, -2]  # another event loop


def test_a_failure_reaches_all_and_a_request_given_up_is_not_run() -> None:
    seen: list[str] = []

    def run(words: Sequence[str]) -> list[str]:
        seen.extend(words)
        if "bad" in words:
            raise ValueError("bad one")
        return list(words)

    said: Gathered[str, str] = Gathered(run)

    async def ask() -> None:
        results = await asyncio.gather(said("good"), said("bad"), return_exceptions=True)
        assert [str(result) for result in results] == ["bad one", "bad one"]
        given_up = asyncio.create_task(said("given up"))
        await asyncio.sleep(0)
        given_up.cancel()
        assert await said("again") == "again"
        with pytest.raises(asyncio.CancelledError):
            await given_up

    asyncio.run(ask())
    assert seen == ["good", "bad", "again"]
