"""repeng's control vectors: GGUF files as `ControlVector.export_gguf` writes them, read by `import_gguf`.

    from repeng import ControlModel, ControlVector
    controlled = ControlModel(model, layer_ids=[16])
    controlled.set_control(ControlVector.import_gguf("calm.gguf"), coeff=1.0)

**Layers.** repeng numbers blocks from 0, takes the hidden state after block k for layer k (`hidden_states[k + 1]`) and adds
`direction.k` to what block k puts out: our layer k. `set_control` looks up every layer that its `ControlModel` holds, so a
file has all of them from 1 on, with zeros where nothing is added.

**Strength.** Coefficient 1 is the strength that was exported. A file trained by repeng holds a unit vector for each layer,
so its strength is the length added, not mean residual norms: scale it (`4.0 * load(path)`).

Source: vgel/repeng, repeng/extract.py and repeng/control.py (0.4).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from foreshock.interop import gguf
from foreshock.interop.control_vector import ControlVector


def save(vector: ControlVector, path: Path | str) -> None:
    """Write a file for repeng, with zeros at the layers that are left alone. Raises `OutputError`."""
    layers = tuple(sorted({*range(1, vector.blocks), *vector.layers}))
    values = np.zeros((len(layers), vector.values.shape[1]), np.float32)
    values[[layers.index(layer) for layer in vector.layers]] = vector.values
    gguf.write(replace(vector, layers=layers, values=values), path)


def load(path: Path | str) -> ControlVector:
    """Read a file of repeng's; layers of zeros are left out. Apply it with `model.steered(4.0 * load(path))`.

    Raises:
        VectorsError: missing, damaged, or no control vector.
    """
    read = gguf.load(path)
    used = [k for k, values in enumerate(read.values) if values.any()] or [0]
    return replace(read, layers=tuple(read.layers[k] for k in used), values=read.values[used])
