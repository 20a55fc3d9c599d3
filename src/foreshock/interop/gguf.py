"""llama.cpp's control vectors: a GGUF file of architecture `controlvector` with tensors `direction.N`.

    llama-cli -m model.gguf --control-vector calm.gguf
    llama-cli -m model.gguf --control-vector-scaled calm.gguf:0.5

**Layers.** llama.cpp counts blocks from 0 and adds `direction.N` to what block N puts out (its `llama_adapter_cvec::apply`
gives tensor N the data at N - 1 because layer 0 has no place in them; its model graphs call `build_cvec(cur, il)` after the
last addition of block `il`). That is our layer N, so numbers stay as they are. `direction.0` makes llama.cpp refuse the
file: it cannot add after the first block. Its default range is all layers from 1 on.

**Strength.** The tensors are what is added, so scale 1 is the strength that was exported.

**Tokens.** llama.cpp adds it at every token, of the prompt too: the span `all`.

Source: ggml-org/llama.cpp, src/llama-adapter.cpp, src/llama-graph.cpp and common/common.cpp
(`common_control_vector_load_one`), as vendored by llama-cpp-python 0.3.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from foreshock.errors import SteeringError, VectorsError
from foreshock.files import written_aside
from foreshock.interop.control_vector import ControlVector

ARCHITECTURE = "controlvector"
ABOUT = "foreshock.about"
"""The field that holds where a vector comes from, as JSON; llama.cpp and repeng pass over it."""


def save(vector: ControlVector, path: Path | str) -> None:
    """Write a file for llama.cpp.

    Raises:
        SteeringError: it has layer 0, which llama.cpp cannot steer.
        OutputError: the file cannot be written.
    """
    if 0 in vector.layers:
        raise SteeringError(
            "llama.cpp cannot add a control vector after its first block (layer 0); export layers from 1 on."
        )
    write(vector, path)


def write(vector: ControlVector, path: Path | str) -> None:
    """Write the tensors and fields, whichever program they are for. Raises `OutputError`."""
    from gguf import GGUFWriter

    with written_aside(Path(path)) as aside:
        writer = GGUFWriter(aside, ARCHITECTURE)
        writer.add_string(f"{ARCHITECTURE}.model_hint", model_hint(vector.about.get("model", {}).get("class", "")))
        writer.add_uint32(f"{ARCHITECTURE}.layer_count", len(vector.layers))
        writer.add_string(ABOUT, json.dumps(vector.about))
        for layer, values in zip(vector.layers, vector.values, strict=True):
            writer.add_tensor(f"direction.{layer}", np.ascontiguousarray(values, np.float32))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()


def load(path: Path | str) -> ControlVector:
    """Read a control vector of llama.cpp, repeng or Foreshock.

    Raises:
        VectorsError: missing, damaged, or no control vector.
    """
    from gguf import GGUFReader
    from gguf.quants import dequantize

    path = Path(path)
    if not path.is_file():
        raise VectorsError(f"There is no control vector {path}; give a .gguf file.")
    try:
        reader = GGUFReader(path)
        kind, kept = _text(reader, "general.architecture"), _text(reader, ABOUT)
        tensors = reader.tensors if kind == ARCHITECTURE else []
        values = {tensor.name: dequantize(tensor.data, tensor.tensor_type) for tensor in tensors}
        about: dict[str, Any] = json.loads(kept) if kept else {}
    except Exception as problem:  # the reader meets damage with whatever NumPy raises
        raise VectorsError(f"{path} is damaged or no GGUF file ({problem}); make it again.") from problem
    if kind != ARCHITECTURE:
        raise VectorsError(f"{path} is a GGUF file of a {kind or 'nameless'!r}, not of a control vector.")
    named = [(re.fullmatch(r"direction\.(\d+)", name), numbers.astype(np.float32)) for name, numbers in values.items()]
    found = {int(match[1]): numbers for match, numbers in named if match}
    shapes = {numbers.shape for numbers in found.values()}
    if len(found) < len(named) or [len(shape) for shape in shapes] != [1]:
        raise VectorsError(
            f"{path} has other tensors than directions of one size; a control vector has direction.1, direction.2, …"
        )
    layers = tuple(sorted(found))
    hint = _text(reader, f"{ARCHITECTURE}.model_hint")
    about = about or {
        "name": path.stem,
        "model_hint": hint,
        "layer_convention": "as in the file: after block k, from 0",
    }
    return ControlVector(layers, np.stack([found[layer] for layer in layers]), about)


def _text(reader: Any, name: str) -> str:
    field = reader.get_field(name)
    return "" if field is None else str(field.contents())


def model_hint(class_name: str) -> str:
    """What transformers calls the family of a model class (`LlamaForCausalLM`: `llama`), as repeng writes it."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as FAMILIES

    stem = re.sub(r"(For|LMHead)[A-Z].*", "", class_name).lower()
    return next((family for family in FAMILIES if family.replace("_", "") == stem), stem or "unknown")
