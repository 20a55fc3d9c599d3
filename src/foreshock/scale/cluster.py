"""Reaching Ray, and sharing out what it has."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray

from foreshock.errors import ScaleError
from foreshock.model import LanguageModel, open_model
from foreshock.model.opening import Dtype

LOCAL = "local"
"""In the place of an address: a Ray of one's own on this machine, gone with the process."""


@dataclass(frozen=True)
class Share:
    """What one worker or replica has of the cluster."""

    num_cpus: int
    num_gpus: int


@dataclass(frozen=True)
class Opening:
    """How every worker opens the model: as the driver did, in the same number format."""

    name: str | None
    dtype: Dtype
    device: str | None
    setup: str | None = None
    """What `LanguageModel.setup` is with the driver; None where the driver has not opened it."""

    @classmethod
    def of(cls, model: LanguageModel, name: str | None, device: str | None) -> Opening:
        """The opening of `model`, which was opened by `name`; a folder is given by its whole path."""
        found = str(Path(name).absolute()) if name and Path(name).exists() else name
        return cls(found, str(model.dtype).removeprefix("torch."), device, model.setup)  # type: ignore[arg-type]

    def open(self, threads: int) -> LanguageModel:
        """The model in this process, on `threads` CPU threads.

        Raises:
            ModelError: it cannot be found or loaded here.
            ScaleError: it is another one than the driver's.
        """
        import torch

        torch.set_num_threads(threads)
        model = open_model(self.name, self.dtype, self.device)
        if self.setup not in (None, model.setup):
            raise ScaleError(
                f"{model.name} is another model on a worker than here (weights, tokenizer or version of transformers); "
                "install the same versions and give all machines the same files."
            )
        return model


@contextlib.contextmanager
def cluster(address: str = LOCAL, **local: Any) -> Iterator[None]:
    """Ray at `address`, or one of its own on this machine; left alone at the end, or closed if it was made here.

    Args:
        address: `local`, `auto`, `HOST:PORT` or `ray://…`.
        local: more for `ray.init` of a local Ray.

    Raises:
        ScaleError: nothing answers there.
    """
    connect(address, **local)
    try:
        yield
    finally:
        ray.shutdown()


def connect(address: str = LOCAL, **local: Any) -> None:
    """As `cluster`, until the process ends."""
    # Ray tells its makers about its use unless told otherwise, and warns of changes to come in its own variables.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    try:
        ray.init(**quiet, **({"include_dashboard": False} | local if address == LOCAL else {"address": address}))
    except (ConnectionError, ValueError, RuntimeError, OSError) as problem:
        reason = (str(problem).strip().splitlines() or [type(problem).__name__])[0]
        raise ScaleError(
            f"Ray at {address!r} cannot be used ({reason[:200]}); start one with `ray start --head`, or give --ray local."
        ) from problem


def share(count: int | None) -> list[Share]:
    """The cluster shared out evenly to `count` workers; left out: one for each GPU, or without any one a machine.

    Raises:
        ScaleError: it has not so much.
    """
    nodes: list[Any] = ray.nodes()  # type: ignore[no-untyped-call]
    machines = [
        (int(has.get("CPU", 0)), int(has.get("GPU", 0))) for has in (n["Resources"] for n in nodes if n["Alive"])
    ]
    cpus, gpus = (sum(has[kind] for has in machines) for kind in (0, 1))
    count = count or gpus or len([1 for have, _ in machines if have]) or 1
    one = Share(max(1, cpus // count), gpus // count)
    fit = sum(min(c // one.num_cpus, g // one.num_gpus if one.num_gpus else c) for c, g in machines)
    if fit < count or (gpus and not one.num_gpus):
        raise ScaleError(
            f"{count} workers do not fit in equal parts on Ray's {cpus} CPUs and {gpus} GPUs ({len(machines)} machines); "
            "give another number of --workers."
        )
    return [one] * count
