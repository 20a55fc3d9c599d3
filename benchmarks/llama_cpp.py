"""Does an exported control vector do in llama.cpp what the steering it was made from does here?

The embedded model's GGUF file is run by llama.cpp itself, with and without the vector that `foreshock export --to gguf`
writes. For each of a few prompts the change of the next token's log-probabilities over the whole vocabulary is correlated
with the change under our own steering. The weights are the same file's: llama.cpp multiplies them quantised and Foreshock
unpacked to bfloat16, so the two agree closely, not to the bit. As a check on the layer convention the same vector is also
put one layer too early and one too late, which must agree less.

llama-cpp-python has to be there already, built from source (minutes):

    python -m venv .bench/llamacpp
    CMAKE_BUILD_PARALLEL_LEVEL=1 .bench/llamacpp/bin/pip install --no-binary llama-cpp-python llama-cpp-python gguf

Run: python -m benchmarks.llama_cpp STUDY [--python .bench/llamacpp/bin/python]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.measuring import PEERS, save, show
from foreshock.cli.options import found_vectors
from foreshock.interop import ControlVector, gguf
from foreshock.model import LanguageModel, open_model
from foreshock.model.opening import _embedded_gguf
from foreshock.steering import Steering
from foreshock.texts import Turn
from foreshock.vectors import EmotionVectors

PROMPTS = (
    "How was your day?",
    "Tell me about the letter that came this morning.",
    "My train leaves in ten minutes. What should I do?",
    "Write one sentence about the sea.",
)
DOSES = (("desperate", 0.1), ("calm", 0.1), ("angry", 0.1), ("happy", 0.1), ("desperate", -0.1))
PEER = Path(__file__).parent / "peers" / "llama_cpp_peer.py"


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", help="a study of the embedded model")
    parser.add_argument("--python", type=Path, default=PEERS / "llamacpp" / "bin" / "python")
    given = parser.parse_args()
    if not given.python.exists():
        sys.exit(f"NOT MEASURED: llama-cpp-python is not installed at {given.python}; see the head of {__file__}.")
    model, vectors = open_model(dtype="float32"), EmotionVectors.load(found_vectors(given.study))
    layer = Steering({}, vectors).where[0]
    with tempfile.TemporaryDirectory() as folder:
        rows = [measured(model, vectors, word, strength, layer, Path(folder), given.python) for word, strength in DOSES]
    show(
        f"Change of next-token log-probabilities, llama.cpp against Foreshock; {model.name}, layer {layer}",
        ["steering", "r", "slope", "r one layer early", "r one late", "own word here", "own word llama.cpp"],
        [[row["steering"], *(f"{row[key]:+.3f}" for key in ROW)] for row in rows],
    )
    unsteered = min(row["unsteered"] for row in rows)
    print(f"Unsteered log-probabilities correlate at {unsteered:.4f} or more; vector off again: to the bit as before.")
    save(
        "llama_cpp", {"least_r": min(row["r"] for row in rows)}, {"rows": rows, "unsteered": unsteered, "layer": layer}
    )


ROW = ("r", "slope", "early", "late", "own_here", "own_there")


def measured(
    model: LanguageModel, vectors: EmotionVectors, word: str, strength: float, layer: int, folder: Path, python: Path
) -> dict[str, Any]:
    """One steering on both engines."""
    steering = Steering({word: strength}, vectors, [layer])
    added = ControlVector.of(steering)
    files = {}
    for name, at in {"right": layer, "early": layer - 1, "late": layer + 1}.items():
        files[name] = str(folder / f"{word}{strength}-{name}.gguf")
        gguf.save(ControlVector((at,), added.values, added.about), files[name])
    prompts = [model.encode([Turn(role="user", content=text)], reply=True).ids for text in PROMPTS]
    job = {"model": _embedded_gguf(), "vectors": files, "prompts": prompts}
    done = subprocess.run([python, PEER], input=json.dumps(job), capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"llama.cpp failed:\n{done.stderr[-2000:]}")
    there = {name: np.array(rows) for name, rows in json.loads(done.stdout).items()}
    bare, ours = log_probabilities(model, prompts), log_probabilities(model, prompts, steering)
    assert np.array_equal(there["bare"], there["off again"]), "llama.cpp keeps something of a vector that was taken off"
    here = ours - bare
    token = model.tokenizer.encode(f" {word}", add_special_tokens=False)[0]
    moved = {name: rows - there["bare"] for name, rows in there.items()}
    return {
        "steering": f"{word} {strength:+g}",
        "unsteered": mean_r(bare, there["bare"]),
        "r": mean_r(here, moved["right"]),
        "slope": float((here * moved["right"]).sum() / (here * here).sum()),
        "early": mean_r(here, moved["early"]),
        "late": mean_r(here, moved["late"]),
        "own_here": float(here[:, token].mean()),
        "own_there": float(moved["right"][:, token].mean()),
    }


@torch.inference_mode()
def log_probabilities(model: LanguageModel, prompts: list[list[int]], steering: Steering | None = None) -> np.ndarray:
    """Of the next token, [prompt, vocabulary]; every token of the prompt is steered, as llama.cpp does."""
    rows = []
    for ids in prompts:
        with model.steered([] if steering is None else steering):
            logits = model.model(torch.tensor([ids])).logits[0, -1]
        rows.append(torch.log_softmax(logits.float(), -1).numpy())
    return np.stack(rows)


def mean_r(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Pearson's r over the vocabulary, averaged over prompts."""
    return float(np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(ours, theirs, strict=True)]))


if __name__ == "__main__":
    main()
