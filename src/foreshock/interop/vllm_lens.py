"""Steering vectors for vLLM-Lens (UK AI Security Institute): one `SteeringVector` as JSON.

vLLM-Lens has no file format; it takes `vllm_lens.SteeringVector` objects, or their JSON over HTTP. A file is that JSON:

    vector = SteeringVector.model_validate_json(Path("calm.json").read_text())
    SamplingParams(extra_args={"apply_steering_vectors": [vector]})                                    # offline
    extra_body={"vllm_xargs": {"apply_steering_vectors": json.dumps([json.load(open("calm.json"))])}}  # over HTTP

Fields: `activations`, the base64 of little-endian float32 with its shape [layer, hidden] (uncompressed, which its decoder
takes as well as its own zstd); `layer_indices`; `scale` 1, so that the strength is the one exported; `norm_match` false, as
the vectors are absolute; `position_indices` null: every token. The key `foreshock`, where it comes from, is one that its
model passes over.

**Layers.** vLLM-Lens hooks the output of decoder layer k, counted from 0: our layer k.

Source: UKGovernmentBEIS/vllm-lens, vllm_lens/_helpers/types.py and _serialize.py (1.2). Run by it (1.3) in vLLM:
`benchmarks/vllm_lens.py`.
"""

from __future__ import annotations

import base64
import binascii
import json
from pathlib import Path

import numpy as np

from foreshock.errors import VectorsError
from foreshock.files import write_text
from foreshock.interop.control_vector import ControlVector

DTYPE = "<f4"


def save(vector: ControlVector, path: Path | str) -> None:
    """Write one `SteeringVector` as JSON. Raises `OutputError`."""
    values = np.ascontiguousarray(vector.values, DTYPE)
    shown = {
        "activations": {
            "data": base64.b64encode(values.tobytes()).decode(),
            "dtype": "float32",
            "original_dtype": "torch.float32",
            "shape": list(values.shape),
        },
        "layer_indices": list(vector.layers),
        "scale": 1.0,
        "norm_match": False,
        "position_indices": None,
        "foreshock": vector.about,
    }
    write_text(Path(path), json.dumps(shown))


def load(path: Path | str) -> ControlVector:
    """Read such a file, its scale worked in.

    Raises:
        VectorsError: missing, damaged, of single positions, of another number format, or scaled to the stream.
    """
    path = Path(path)
    try:
        shown = json.loads(path.read_text(encoding="utf-8"))
        packed = shown["activations"]
        if packed["dtype"] != "float32" or "compression" in packed or shown.get("position_indices") is not None:
            raise VectorsError(
                f"{path} is compressed, not float32 or of single positions; this reads what `export` wrote."
            )
        if shown.get("norm_match"):
            raise VectorsError(
                f"{path} is to be scaled to the stream at every token (norm_match), and a control vector is added as it is; "
                "write it with norm_match false and absolute strengths."
            )
        layers = tuple(int(str(layer)) for layer in shown["layer_indices"])  # "3" is one, as for vLLM-Lens; 1.7 is none
        values = np.frombuffer(base64.b64decode(packed["data"]), DTYPE).reshape(packed["shape"])
        scaled = (values * shown.get("scale", 1.0)).astype(np.float32)
        return ControlVector(layers, scaled, shown.get("foreshock", {}))
    except (OSError, ValueError, KeyError, TypeError, binascii.Error) as problem:
        raise VectorsError(f"{path} cannot be read as a steering vector of vLLM-Lens ({problem}).") from problem
