"""Does an exported control vector do in llama.cpp what the steering it was made from does here?

The embedded model's GGUF file is run by llama.cpp itself, with and without the vector that `foreshock export --to gguf`
writes. For each of a few prompts the change of the next token's log-probabilities over the whole vocabulary is correlated
with the change under our own steering: once on the four-bit file, which llama.cpp multiplies with activations rounded to eight
bits, and once on the same weights unpacked as Foreshock unpacks them, where only arithmetic is left to differ. As a check on
the layer convention the vector is also put one layer too early and one too late, which must agree less.

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
from gguf import GGMLQuantizationType, GGUFReader, GGUFWriter
from gguf.quants import dequantize

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
    tables = {}
    with tempfile.TemporaryDirectory() as name:
        files = {"four-bit": Path(_embedded_gguf()), "unpacked": Path(name) / "unpacked.gguf"}
        unpack(files["four-bit"], files["unpacked"])
        for weights, file in files.items():
            rows = [measured(model, vectors, dose, layer, file, Path(name), given.python) for dose in DOSES]
            show(
                f"Change of next-token log-probabilities, llama.cpp ({weights}) against Foreshock; {model.name}, layer {layer}",
                ["steering", "r", "slope", "r one layer early", "r one late", "own word here", "own word llama.cpp"],
                [[row["steering"], *(f"{row[key]:+.4f}" for key in ROW)] for row in rows],
            )
            print(f"Unsteered log-probabilities: r at least {min(row['unsteered'] for row in rows):.5f}")
            tables[weights] = rows
    least = {f"least_r_{weights}": min(row["r"] for row in rows) for weights, rows in tables.items()}
    save("llama_cpp", least, {"rows": tables, "layer": layer})


ROW = ("r", "slope", "early", "late", "own_here", "own_there")


def measured(
    model: LanguageModel,
    vectors: EmotionVectors,
    dose: tuple[str, float],
    layer: int,
    weights: Path,
    folder: Path,
    python: Path,
) -> dict[str, Any]:
    """One steering on both engines."""
    word, strength = dose
    steering = Steering({word: strength}, vectors, [layer])
    added = ControlVector.of(steering)
    files = {}
    for name, at in {"right": layer, "early": layer - 1, "late": layer + 1}.items():
        files[name] = str(folder / f"{word}{strength}-{name}.gguf")
        gguf.save(ControlVector((at,), added.values, added.about), files[name])
    prompts = [model.encode([Turn(role="user", content=text)], reply=True).ids for text in PROMPTS]
    job = {"model": str(weights), "vectors": files, "prompts": prompts}
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


def unpack(source: Path, target: Path) -> None:
    """The same model with its weights as Foreshock keeps them, rounded to bfloat16, in float32."""
    reader, writer = GGUFReader(source), None
    for field in reader.fields.values():
        if field.name == "general.architecture":
            writer = GGUFWriter(target, field.contents())
    assert writer is not None
    for field in reader.fields.values():
        if field.name == "general.architecture" or field.name.startswith("GGUF."):
            continue
        value = GGMLQuantizationType.F32.value if field.name == "general.file_type" else field.contents()
        writer.add_key_value(
            field.name, value, field.types[0], sub_type=field.types[-1] if len(field.types) > 1 else None
        )
    for tensor in reader.tensors:
        full = torch.from_numpy(dequantize(tensor.data, tensor.tensor_type).copy())
        writer.add_tensor(tensor.name, full.bfloat16().float().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


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
