"""Memory of `foreshock serve` over half an hour of load on loopback. The load is bounded, and stops by itself.

Run: python -m benchmarks.soak [STUDY] [MINUTES] — by default study/embedded-full and 30.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import tempfile
import time
from pathlib import Path

import httpx
import numpy as np
import psutil

from benchmarks.measuring import save, show
from benchmarks.serving import TOPICS, server

EVERY = 5.0
"""Seconds between two looks at the memory."""
CLIENTS = 4
WARM = 0.2
"""Share of the time at the beginning in which caches fill; growth is measured over the rest."""


def main(study: Path, minutes: float) -> None:
    """Measure, print and save."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["foreshock", "serve", str(study), "--store", f"{folder}/c.db", "--per-minute", "100000"]
        with server(command) as address:
            seconds, megabytes, done = asyncio.run(soak(address, minutes * 60))
            lost = httpx.get(f"{address}/metrics").text.partition("\nforeshock_store_lost_total ")[2].split()[0]
    late = seconds > WARM * seconds[-1]
    slope, _ = np.polyfit(seconds[late] / 60, megabytes[late], 1)
    first, last = (float(np.median(part)) for part in np.array_split(megabytes[late], 4)[::3])
    rows = [["requests", str(done)], ["memory after warm-up, MB", f"{first:.0f}"], ["memory at the end, MB", f"{last:.0f}"], ["growth, MB a minute", f"{slope:.2f}"], ["records lost", lost]]  # fmt: skip
    show(f"{minutes:g} minutes of {CLIENTS} clients", ["", ""], rows)
    save("soak", {"end_over_warm": last / first}, {"minutes": minutes, "requests": done, "megabytes_a_minute": float(slope), "seconds": seconds.tolist(), "megabytes": megabytes.tolist()})  # fmt: skip


async def soak(address: str, seconds: float) -> tuple[np.ndarray, np.ndarray, int]:
    """Times and memory of the server, and how many requests were answered."""
    end = time.monotonic() + seconds
    (process,) = (one for one in psutil.Process().children() if any("serve" in part for part in one.cmdline()))
    times, sizes = [], []
    begun = time.monotonic()

    async def look() -> None:
        while time.monotonic() < end:
            await asyncio.sleep(EVERY)
            times.append(time.monotonic() - begun)
            sizes.append(process.memory_info().rss / 2**20)

    async with httpx.AsyncClient(base_url=address, timeout=120) as client:
        followed = asyncio.create_task(follow(client))
        *counts, _ = await asyncio.gather(*(talk(client, k, end) for k in range(CLIENTS)), look())
        followed.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await followed
    return np.array(times), np.array(sizes), sum(count for count in counts if count)


async def talk(client: httpx.AsyncClient, number: int, end: float) -> int:
    """Conversations of three turns with readings, again and again; every fifth reply is left in the middle."""
    done = 0
    while time.monotonic() < end:
        messages = []
        for turn in range(3):
            messages.append(
                {"role": "user", "content": f"Go on about {TOPICS[(number + done) % len(TOPICS)]}, {turn}."}
            )
            body = {
                "model": "m",
                "messages": messages,
                "max_tokens": 40,
                "stream": True,
                "foreshock": {"readings": True},
            }
            async with client.stream("POST", "/v1/chat/completions", json=body) as answer:
                async for _ in answer.aiter_lines():
                    if done % 5 == 4:
                        break
            messages.append({"role": "assistant", "content": f"So it was, number {done}."})
            done += 1
    return done


async def follow(client: httpx.AsyncClient) -> None:
    """A dashboard that follows the events."""
    async with client.stream("GET", "/events") as stream:
        async for _ in stream.aiter_lines():
            pass


if __name__ == "__main__":
    main(
        Path(sys.argv[1]) if len(sys.argv) > 1 else Path("study/embedded-full"),
        float(sys.argv[2]) if len(sys.argv) > 2 else 30,
    )
