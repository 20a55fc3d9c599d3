"""Plain NumPy arrays: `layers` [layer] (after block k, from 0), `vectors` [layer, hidden] (float32, what is added at the
strength exported) and `about`, where it comes from, as a JSON string. Opened without pickle.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np

from foreshock.errors import VectorsError
from foreshock.files import written_aside
from foreshock.interop.control_vector import ControlVector


def save(vector: ControlVector, path: Path | str) -> None:
    """Write the arrays. Raises `OutputError`."""
    with written_aside(Path(path)) as aside, open(aside, "wb") as file:
        np.savez(file, layers=np.array(vector.layers), vectors=vector.values, about=np.array(json.dumps(vector.about)))


def load(path: Path | str) -> ControlVector:
    """Read such a file.

    Raises:
        VectorsError: missing, damaged, without the arrays, or layers that are no whole numbers.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            layers, values = tuple(arrays["layers"].tolist()), arrays["vectors"].astype(np.float32)
            return ControlVector(layers, values, json.loads(str(arrays["about"])))
    except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as problem:
        raise VectorsError(f"{path} cannot be read as a control vector in NumPy's format ({problem}).") from problem
