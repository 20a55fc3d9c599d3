"""Run in llama.cpp's own environment: next-token log-probabilities without and with control vectors.

Standard input: JSON with `model`, `vectors` (name → file) and `prompts` (token ids). Standard output: name → rows; `bare`
is without, `off again` without once more at the end. The files are read as llama.cpp's `common_control_vector_load_one`
reads them: `direction.N` goes to place N - 1 of the buffer that `llama_set_adapter_cvec` takes.
"""

import ctypes
import json
import sys
from typing import Any

import llama_cpp
import numpy as np
from gguf import GGUFReader


def main() -> None:
    """Answer one job."""
    job = json.load(sys.stdin)
    llama_cpp.llama_backend_init()
    settings = llama_cpp.llama_model_default_params()
    settings.n_gpu_layers = 0
    settings.use_extra_bufts = False  # weights repacked for AMX crash llama.cpp on some virtual machines
    model = llama_cpp.llama_model_load_from_file(job["model"].encode(), settings)
    context = llama_cpp.llama_context_default_params()
    context.n_ctx, context.n_threads, context.n_threads_batch = 512, 1, 1
    context = llama_cpp.llama_init_from_model(model, context)
    found = {"bare": rows(model, context, job["prompts"])}
    for name, path in job["vectors"].items():
        apply(model, context, path)
        found[name] = rows(model, context, job["prompts"])
    clear(model, context)
    found["off again"] = rows(model, context, job["prompts"])
    json.dump(found, sys.stdout)


def apply(model: Any, context: Any, path: str) -> None:
    """Load a file and set it on all layers from 1 on, llama.cpp's own default range."""
    layers, hidden = llama_cpp.llama_model_n_layer(model), llama_cpp.llama_model_n_embd(model)
    data = np.zeros((layers, hidden), np.float32)
    for tensor in GGUFReader(path).tensors:
        data[int(tensor.name.removeprefix("direction.")) - 1] += tensor.data
    pointer = data.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
    assert llama_cpp.llama_set_adapter_cvec(context, pointer, data.size, hidden, 1, layers) == 0


def clear(model: Any, context: Any) -> None:
    """Take the vector off."""
    assert llama_cpp.llama_set_adapter_cvec(context, None, 0, llama_cpp.llama_model_n_embd(model), 0, 0) == 0


def rows(model: Any, context: Any, prompts: list[list[int]]) -> list[list[float]]:
    """Log-probabilities of the next token after each prompt, computed afresh."""
    words = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
    found = []
    for ids in prompts:
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(context), True)
        tokens = (llama_cpp.llama_token * len(ids))(*ids)
        assert llama_cpp.llama_decode(context, llama_cpp.llama_batch_get_one(tokens, len(ids))) == 0
        logits = np.ctypeslib.as_array(llama_cpp.llama_get_logits_ith(context, -1), (words,)).astype(np.float64)
        logits = logits - logits.max()
        found.append((logits - np.log(np.exp(logits).sum())).round(6).tolist())
    return found


if __name__ == "__main__":
    main()
