"""Is it the whole residual stream? Small random models of families whose blocks give back different things in vLLM.

`python -m benchmarks.vllm_families` steers and reads each in vLLM and in transformers, after the second of four blocks.
Beside it how far off the stream one block before would be, so that the difference says something.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
import transformers as hf

from benchmarks.measuring import save, show
from benchmarks.vllm_invariants import ENGINE, WORDS, apart, asking
from benchmarks.vllm_running import made, run
from foreshock.model import LanguageModel, open_model
from foreshock.model.stream import add
from foreshock.readings import project
from foreshock.steering import Steering
from foreshock.vectors import EmotionVectors

LAYER = 1
SHAPE = {
    "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 32, "max_position_embeddings": 512, "initializer_range": 0.1,
}  # fmt: skip


def families(words: int) -> dict[str, tuple[str, hf.PretrainedConfig]]:
    """What a block of each gives back in vLLM, and a small configuration of it."""
    own = SHAPE | {"vocab_size": words, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    gpt2 = {"n_embd": 128, "n_layer": 4, "n_head": 4, "n_positions": 512, "initializer_range": 0.1}
    return {
        "llama": ("output, stream before it", hf.LlamaConfig(**own)),
        "qwen3": ("output, stream before it", hf.Qwen3Config(**own)),
        "gemma2": ("output, stream before it", hf.Gemma2Config(**own)),
        "cohere": ("whole stream, its input", hf.CohereConfig(**own)),
        "granite": ("whole stream", hf.GraniteConfig(**own, residual_multiplier=0.5, embedding_multiplier=3.0)),
        "gpt2": ("whole stream", hf.GPT2Config(vocab_size=words, bos_token_id=1, eos_token_id=2, **gpt2)),
    }


def vectors_of(model: LanguageModel) -> EmotionVectors:
    """Random directions."""
    shape = (model.layers, len(WORDS), model.hidden)
    return EmotionVectors(
        WORDS, tuple(range(model.layers)), np.random.default_rng(1).standard_normal(shape).astype(np.float32),
        mean=np.zeros((model.layers, model.hidden), np.float32), spread=np.ones(shape[:2], np.float32),
        residual_norm=np.ones(model.layers, np.float32), neutral=tuple(np.zeros((0, model.hidden)) for _ in range(4)),
        reading_layer=LAYER, steering_layer=LAYER,
        manifest={"model": {"name": model.name, "fingerprint": model.fingerprint}},
    )  # fmt: skip


def measured(interpreter: Path, model: LanguageModel) -> tuple[float, float]:
    """Largest difference from transformers; and how far the readings move, so that the first is worth something."""
    vectors = vectors_of(model)
    requests = [asking(list(range(5, 25 + 7 * k)), 8, True, {"calm": 2.0} if k % 2 else {}) for k in range(4)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model.model.save_pretrained(folder / "model")
        vectors.save(folder / "vectors.safetensors")
        (told,) = run(
            interpreter, folder / "model", [requests], folder / "vectors.safetensors", max_model_len=256,
            skip_tokenizer_init=True,
        ).batches  # fmt: skip
    worst, least = 0.0, np.inf
    for one, request in zip(told, requests, strict=True):
        (batch,) = model.batches([list(one.given)])
        write = torch.from_numpy(Steering(request["foreshock"]["steer"], vectors, [LAYER]).vector(LAYER))
        with model.hooked(writes={LAYER: add(write)}):
            streams = model.residuals(batch, [LAYER - 1, LAYER])
        theirs, before = (project(vectors.readout(LAYER), streams[k][0].numpy()) for k in (LAYER, LAYER - 1))
        worst, least = max(worst, apart(one.read, theirs)), min(least, apart(one.read, before))
    return worst, float(least)


def main() -> int:
    """Print the table; 1 where a family does not hold."""
    interpreter, tokenizer = made(), open_model(None).tokenizer
    found = {}
    for name, (gives, config) in families(len(tokenizer)).items():
        torch.manual_seed(0)
        model = LanguageModel(hf.AutoModelForCausalLM.from_config(config, dtype=torch.float32), tokenizer, name)
        found[name] = (gives, *measured(interpreter, model))
    rows = [[name, gives, f"{worst:.2g}", f"{least:.2g}"] for name, (gives, worst, least) in found.items()]
    show("vLLM against transformers", ["Family", "A block gives back", "difference", "of a block less"], rows)
    save("vllm_families", {}, {"families": found})
    return 0 if all(worst < ENGINE for _, worst, _ in found.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
