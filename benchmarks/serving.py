"""The server under load: streams at once against one, watched against unwatched, and against `transformers serve`.

Run: python -m benchmarks.serving [STUDY] — a study's folder, by default study/embedded-full.
All servers run at the same time, and rest while another is asked; the same prompts, greedy, through the openai client.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from openai import AsyncOpenAI
from tokenizers import Tokenizer

from benchmarks.measuring import ENVIRONMENT, for_older_transformers, median, save, show
from foreshock.model import open_model
from foreshock.vectors import EmotionVectors

ROUNDS = 3
NEW = 64
STREAMS = (1, 16)
TOPICS = ("a storm at sea", "a night train", "the first snow", "an old orchard", "a lost letter", "a market at dawn", "a quiet library", "the longest bridge")  # fmt: skip


def main(study: Path) -> None:
    """Measure, print and save."""
    vectors = EmotionVectors.load(study / "vectors.safetensors")
    model = open_model(vectors.manifest["model"]["name"])
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        for_older_transformers(model, Path(folder))
        tokenizer = model.tokenizer.backend_tokenizer
        commands = {
            "foreshock serve": ["foreshock", "serve", str(study), "--store", f"{folder}/c.db", "--per-minute", "100000"],
            "the same, nothing read": [sys.executable, "-m", "benchmarks.serving_bare", str(study)],
            "transformers serve": ["transformers", "serve", folder, "--continuous-batching", "--dtype", "bfloat16", "--cb-block-size", "32", "--cb-num-blocks", "512"],
        }  # fmt: skip
        addresses = {name: stack.enter_context(server(command)) for name, command in commands.items()}
        measured = asyncio.run(rounds(addresses, tokenizer, folder))
    report(measured)


@contextlib.contextmanager
def server(command: list[str]) -> Iterator[str]:
    """Its address, once it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = ENVIRONMENT | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HF_HUB_OFFLINE": "1"}
    process = subprocess.Popen(
        [*command, "--port", str(port)], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    address = f"http://127.0.0.1:{port}"
    try:
        while True:
            if process.poll() is not None:
                raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"{address}/health").is_success:
                    break
            time.sleep(0.5)
        yield address
    finally:
        process.terminate()
        process.wait(60)


async def rounds(addresses: dict[str, str], tokenizer: Tokenizer, model: str) -> dict[str, dict[int, list[dict]]]:
    """For each server and number of streams, what each round gave; the first round warms up and is left out."""
    found: dict[str, dict[int, list[dict]]] = {name: {n: [] for n in STREAMS} for name in addresses}
    for k in range(ROUNDS + 1):
        for streams in STREAMS:
            for name, address in addresses.items():
                own = await load(address, streams, tokenizer, model)
                if k:
                    found[name][streams].append(own)
    return found


async def load(address: str, streams: int, tokenizer: Tokenizer, model: str) -> dict[str, Any]:
    """Tokens a second over so many streams at once, and seconds to each one's first token."""
    async with AsyncOpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0, timeout=600) as client:
        begun = time.perf_counter()
        done = await asyncio.gather(*(reply(client, k, model) for k in range(streams)))
        seconds = time.perf_counter() - begun
    tokens = sum(len(tokenizer.encode(text, add_special_tokens=False).ids) for text, _ in done)
    return {"tokens_per_second": tokens / seconds, "first": [first for _, first in done], "text": [t for t, _ in done]}


async def reply(client: AsyncOpenAI, number: int, model: str) -> tuple[str, float]:
    """One streamed reply and the seconds to its first text."""
    words = f"Tell me a long story about {TOPICS[number % len(TOPICS)]}, part {number // len(TOPICS) + 1}."
    begun, first, text = time.perf_counter(), 0.0, ""
    stream = await client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": words}], max_tokens=NEW, temperature=0, stream=True
    )
    async for chunk in stream:
        said = (chunk.choices[0].delta.content or "") if chunk.choices else ""
        first = first or (time.perf_counter() - begun if said else 0.0)
        text += said
    return text, first


def report(measured: dict[str, dict[int, list[dict]]]) -> None:
    """The table, and results/serving.json."""
    rows, ratios = [], {}
    most = max(STREAMS)
    for name, by_streams in measured.items():
        speed = {n: median([one["tokens_per_second"] for one in own]) for n, own in by_streams.items()}
        first = {n: float(np.quantile([s for one in own for s in one["first"]], 0.95)) for n, own in by_streams.items()}
        rows.append([name, *(f"{speed[n]:.1f}" for n in STREAMS), f"{speed[most] / speed[1]:.1f}", *(f"{first[n]:.2f}" for n in STREAMS)])  # fmt: skip
        ratios |= {f"{name}: {most} streams over 1": speed[most] / speed[1], f"{name}: first token p95 at {most}, s": first[most]}  # fmt: skip
    for streams in STREAMS:
        pairs = zip(*(measured[name][streams] for name in ("foreshock serve", "the same, nothing read")), strict=True)
        costs = [1 - watched["tokens_per_second"] / bare["tokens_per_second"] for watched, bare in pairs]
        ratios[f"watching costs at {streams}"] = median(costs)
        peer = zip(*(measured[name][streams] for name in ("foreshock serve", "transformers serve")), strict=True)
        ratios[f"over transformers serve at {streams}"] = median(
            [own["tokens_per_second"] / other["tokens_per_second"] for own, other in peer]
        )
    show(
        f"Tokens a second, {NEW} new tokens a stream; 95th percentile of seconds to the first token",
        [
            "server",
            *(f"{n} stream{'s' * (n > 1)}" for n in STREAMS),
            "ratio",
            *(f"first token at {n}" for n in STREAMS),
        ],
        rows,
    )
    for name, value in ratios.items():
        print(f"{name}: {value:.3f}")
    plain = {
        name: {n: [{k: v for k, v in one.items() if k != "text"} for one in own] for n, own in by.items()}
        for name, by in measured.items()
    }
    save("serving", ratios, {"measured": plain, "new_tokens": NEW, "rounds": ROUNDS})


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("study/embedded-full"))
