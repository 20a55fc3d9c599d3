"""Tokens a second in vLLM with and without Foreshock: `python -m benchmarks.vllm_watching`.

16 requests at once write 64 tokens each, greedily, on this machine's CPU. Within one engine the contenders take turns:
nothing asked, all emotions read, all read and steered. vLLM without the plug-in runs before and after, as an engine
of its own. The ratio is of processor time, which other work on the machine disturbs less; the first round is left out.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from benchmarks.measuring import median, save, show
from benchmarks.vllm_invariants import WORDS, asking, random_vectors
from benchmarks.vllm_running import made, run
from foreshock.model import LanguageModel, open_model
from foreshock.vectors import EmotionVectors

STREAMS, TOKENS, ROUNDS = 16, 64, 5
BARE = "without Foreshock"


def contenders(model: LanguageModel) -> dict[str, list[dict[str, Any]]]:
    """The same prompts, asked for in three ways."""
    ids = model.encode("The letter lay on the table for three days before she opened it, and then").ids
    plain = [asking([*ids, 100 + k], TOKENS, False, {}) for k in range(STREAMS)]
    read = [one | {"foreshock": {"readings": True}} for one in plain]
    steered = [one | {"foreshock": {"readings": True, "steer": {WORDS[0]: 0.05}}} for one in plain]
    return {"nothing asked": plain, "read": read, "read and steered": steered}


def wide(vectors: EmotionVectors, emotions: int) -> EmotionVectors:
    """The same repeated under other names, so that as many emotions are read as a study has."""
    from dataclasses import replace

    import numpy as np

    from foreshock.emotions import catalogue

    words = [*WORDS, *(word for word in catalogue() if word not in WORDS)][:emotions]
    pick = np.arange(emotions) % len(WORDS)
    return replace(
        vectors, emotions=tuple(words), directions=vectors.directions[:, pick], spread=vectors.spread[:, pick]
    )  # fmt: skip


def main() -> None:
    """Print the table."""
    interpreter, model = made(), open_model(None, dtype="bfloat16")
    asked = contenders(model)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model.model.save_pretrained(folder / "model")
        model.tokenizer.save_pretrained(folder / "model")
        wide(random_vectors(model), 171).save(folder / "vectors.safetensors")
        settings: dict[str, Any] = {"dtype": "bfloat16", "rounds": ROUNDS}
        plain = {BARE: [one | {"foreshock": None} for one in asked["nothing asked"]]}
        before = run(interpreter, folder / "model", timed=plain, **settings).seconds
        seconds = run(
            interpreter, folder / "model", vectors=folder / "vectors.safetensors", timed=asked, **settings
        ).seconds
        after = run(interpreter, folder / "model", timed=plain, **settings).seconds
    speeds = {name: [STREAMS * TOKENS / one for one in times[1:]] for name, times in (before | seconds).items()}
    for name, times in after.items():
        speeds[name] += [STREAMS * TOKENS / one for one in times[1:]]
    base = median(speeds[f"{BARE} (processor)"])
    ratios = {name: median(speeds[f"{name} (processor)"]) / base for name in (BARE, *asked)}
    rows = [
        [
            name,
            f"{median(speeds[name]):,.0f}",
            f"{min(speeds[name]):,.0f} … {max(speeds[name]):,.0f}",
            f"{median(speeds[f'{name} (processor)']):,.0f}",
            f"{ratio:.3f}",
        ]
        for name, ratio in ratios.items()
    ]
    columns = ["", "tokens/s", "spread", "tokens a processor second", "of bare"]
    show(f"{STREAMS} streams in vLLM on CPU", columns, rows)
    save("vllm_watching", ratios, {"tokens_per_second": speeds})


if __name__ == "__main__":
    main()
