"""Does reading stay flat in memory and linear in time as a corpus grows? A process of its own for each of 1×, 10×, 100×.

Runs the untrained model of 8 layers × 64, since what grows with a corpus does not depend on the model, with the embedded
model's tokenizer. The corpus is some core stories over and over, a number in front so that no two are alike.

- `readings`: `read`, 32 directions at every token, looked at and let go.
- `passages`: `read_passages`, whose result holds a mean of each passage: that, and nothing else, may grow.

Run: python -m benchmarks.growth
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.measuring import show

TIMES = (1, 10, 100)
STORIES = 64
LAYER = 5
KINDS = ("readings", "passages")


def main() -> None:
    """Measure and print."""
    table(measured())


def measured() -> dict[str, list[dict[str, float]]]:
    """Tokens, seconds (by the clock and of the processor) and memory of each kind and size."""
    command = [sys.executable, "-m", "benchmarks.growth"]
    return {
        kind: [
            json.loads(subprocess.run([*command, kind, str(n)], check=True, stdout=subprocess.PIPE, text=True).stdout)
            for n in TIMES
        ]
        for kind in KINDS
    }


def ratios(found: dict[str, list[dict[str, float]]]) -> dict[str, float]:
    """Peak memory and CPU time a token, at the largest corpus over at a tenth of it."""
    ratio: dict[str, float] = {}
    for kind, (*_, tenth, most) in found.items():
        ratio[f"{kind}_peak_10x"] = most["peak_mb"] / tenth["peak_mb"]
        ratio[f"{kind}_cpu_a_token_10x"] = most["cpu"] / most["tokens"] / (tenth["cpu"] / tenth["tokens"])
    return ratio


def table(found: dict[str, list[dict[str, float]]]) -> None:
    """Print it."""
    rows = [
        [kind, f"{one['tokens']:,.0f}", f"{1e6 * one['cpu'] / one['tokens']:.1f}", f"{one['before_mb']:,.0f}", f"{one['peak_mb']:,.0f}", f"{one['result_mb']:,.1f}"]
        for kind, sizes in found.items()
        for one in sizes
    ]  # fmt: skip
    show("Growth with the corpus (untrained model)", ["", "tokens", "CPU µs a token", "MB before", "peak MB", "of it result"], rows)  # fmt: skip


def one(kind: str, times: int) -> dict[str, Any]:
    """Read the corpus `times` over in this process."""
    import numpy as np

    from foreshock.activations import read_passages
    from foreshock.emotions import core
    from foreshock.model import Tokens, open_model
    from foreshock.model.untrained import untrained
    from foreshock.readings import read
    from foreshock.texts import stories
    from tests.exact_vectors import exact

    model = untrained(open_model().tokenizer)
    words = list(core())
    directions = np.random.default_rng(0).standard_normal((len(words), model.hidden)).astype(np.float32)
    vectors = exact(model, directions, [LAYER], words)
    texts = [passage.text for passage in stories(core(), split="fit")][:STORIES]
    tokens = 0

    def corpus() -> Iterator[Tokens]:
        nonlocal tokens
        for number in range(times):
            for text in texts:
                encoded = model.encode(f"{number}. {text}")
                tokens += len(encoded)
                yield encoded

    def work(corpus: Iterator[Tokens]) -> int:
        """Returns the bytes of the result."""
        if kind == "passages":
            return read_passages(model, corpus, [LAYER]).values.nbytes
        highest = np.full(len(words), -np.inf)
        for readings in read(model, vectors, corpus):
            highest = np.maximum(highest, readings.values.max(0))
        return highest.nbytes

    Path("/proc/self/clear_refs").write_text("5")  # the peak so far is of opening the embedded model, for its tokenizer
    before = _peak()
    begun, cpu = time.perf_counter(), time.process_time()
    result = work(corpus())
    seconds = {"seconds": time.perf_counter() - begun, "cpu": time.process_time() - cpu}
    return {"tokens": tokens, **seconds, "before_mb": before, "peak_mb": _peak(), "result_mb": result / 2**20}


def _peak() -> float:
    """Megabytes, the most that were resident since the peak was cleared (Linux)."""
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024


if __name__ == "__main__":
    if len(sys.argv) == 3:
        print(json.dumps(one(sys.argv[1], int(sys.argv[2]))))
    else:
        main()
