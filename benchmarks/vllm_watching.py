"""Tokens a second in vLLM with and without Foreshock: `python -m benchmarks.vllm_watching`.

16 requests at once write 64 tokens each, greedily, on this machine's CPU. Within one engine the contenders take turns:
nothing asked, all emotions read, all read and steered. vLLM without the plug-in runs before and after, as an engine
of its own.
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
        bare: list[float] = []
        plain = {"bare": [one | {"foreshock": None} for one in asked["nothing asked"]]}
        bare += run(interpreter, folder / "model", timed=plain, **settings)[1]["bare"][1:]
        seconds = run(interpreter, folder / "model", vectors=folder / "vectors.safetensors", timed=asked, **settings)[1]
        bare += run(interpreter, folder / "model", timed=plain, **settings)[1]["bare"][1:]
    found = {"without Foreshock": bare} | {name: times[1:] for name, times in seconds.items()}
    speeds = {name: [STREAMS * TOKENS / one for one in times] for name, times in found.items()}
    base = median(speeds["nothing asked"])
    rows = [
        [name, f"{median(own):,.0f}", f"{min(own):,.0f} … {max(own):,.0f}", f"{median(own) / base:.3f}"]
        for name, own in speeds.items()
    ]
    show(f"{STREAMS} streams in vLLM on CPU", ["", "tokens/s", "spread", "of nothing asked"], rows)
    save("vllm_watching", {name: median(own) / base for name, own in speeds.items()}, {"tokens_per_second": speeds})


if __name__ == "__main__":
    main()
