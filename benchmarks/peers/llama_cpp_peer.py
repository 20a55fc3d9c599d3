"""Run in llama.cpp's own environment: next-token log-probabilities without and with control vectors.

Standard input: JSON with `model`, `vectors` (name → file) and `prompts` (token ids). Standard output: name → rows; `bare`
is without, `off again` without once more at the end. The files are read as llama.cpp's `common_control_vector_load_one`
reads them: `direction.N` goes to place N - 1 of the buffer that `llama_set_adapter_cvec` takes.
"""

import ctypes
import json
import sys

import llama_cpp
import numpy as np
from gguf import GGUFReader


def main() -> None:
    """Answer one job."""
    job = json.load(sys.stdin)
    llama = llama_cpp.Llama(job["model"], n_ctx=512, n_threads=1, n_gpu_layers=0, logits_all=False, verbose=False)
    found = {"bare": rows(llama, job["prompts"])}
    for name, path in job["vectors"].items():
        apply(llama, path)
        found[name] = rows(llama, job["prompts"])
    clear(llama)
    found["off again"] = rows(llama, job["prompts"])
    json.dump(found, sys.stdout)


def apply(llama: llama_cpp.Llama, path: str) -> None:
    """Load a file and set it on all layers from 1 on, llama.cpp's own default range."""
    tensors = {tensor.name: tensor.data for tensor in GGUFReader(path).tensors}
    layers, hidden = llama_cpp.llama_model_n_layer(llama.model), llama_cpp.llama_model_n_embd(llama.model)
    data = np.zeros((layers, hidden), np.float32)
    for name, values in tensors.items():
        data[int(name.removeprefix("direction.")) - 1] += values
    pointer = data.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
    assert llama_cpp.llama_set_adapter_cvec(llama.ctx, pointer, data.size, hidden, 1, layers) == 0


def clear(llama: llama_cpp.Llama) -> None:
    """Take the vector off."""
    assert llama_cpp.llama_set_adapter_cvec(llama.ctx, None, 0, llama_cpp.llama_model_n_embd(llama.model), 0, 0) == 0


def rows(llama: llama_cpp.Llama, prompts: list[list[int]]) -> list[list[float]]:
    """Log-probabilities of the next token after each prompt, computed afresh."""
    found = []
    for ids in prompts:
        llama.reset()
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(llama.ctx), True)
        llama.eval(ids)
        logits = np.ctypeslib.as_array(llama_cpp.llama_get_logits_ith(llama.ctx, -1), (llama.n_vocab(),)).astype(np.float64)
        logits = logits - logits.max()
        found.append((logits - np.log(np.exp(logits).sum())).round(6).tolist())
    return found


if __name__ == "__main__":
    main()
