"""Reaching Ray, and sharing out what it has."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import ray
from ray.exceptions import RayError
from ray.util import placement_group, remove_placement_group

from foreshock.errors import ScaleError
from foreshock.model import LanguageModel, open_model
from foreshock.model.opening import Dtype

LOCAL = "local"
"""In the place of an address: a Ray of one's own on this machine, gone with the process."""
PATIENCE = 60.0
"""Seconds to wait for CPUs and GPUs that others hold."""
KNOCK = 3.0
"""Seconds in which a machine has to answer; Ray itself would try for minutes."""
Machine = tuple[int, int]
"""CPUs and GPUs of one machine."""


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
        _knock(address)
        ray.init(**quiet, **({"include_dashboard": False} | local if address == LOCAL else {"address": address}))
    except (ConnectionError, ValueError, RuntimeError, OSError, RayError) as problem:
        raise ScaleError(
            f"Ray at {address!r} cannot be used ({last_line(problem)}); start one with `ray start --head`, or give --ray local. "
            "If it runs, it may ask for its token: set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN_PATH to a file that holds it."
        ) from problem


def _knock(address: str) -> None:
    """Does nothing where HOST:PORT or ray://HOST:PORT listens; raises OSError or ValueError where it does not."""
    where = urlsplit(address if "://" in address else f"//{address}")
    if where.port:
        socket.create_connection((where.hostname or "", where.port), KNOCK).close()


def last_line(told: Exception | str) -> str:
    """What Ray says in the end: the reason, after what it was doing."""
    lines = [line.strip() for line in str(told).splitlines() if line.strip()]
    return (lines or [type(told).__name__])[-1][:300]


def share(count: int | None) -> list[Share]:
    """The cluster shared out to `count` workers, see `placed`.

    Raises:
        ScaleError: it has not so much.
    """
    nodes: list[Any] = ray.nodes()  # type: ignore[no-untyped-call]
    return placed(
        [(int(n["Resources"].get("CPU", 0)), int(n["Resources"].get("GPU", 0))) for n in nodes if n["Alive"]], count
    )


def placed(machines: Sequence[Machine], count: int | None) -> list[Share]:
    """The largest equal parts of which `count` fit, each on one machine: first as many GPUs as can be, then CPUs.

    Where there are GPUs, machines without any are left out.

    Args:
        count: left out: one for each GPU, or without any one for each machine.

    Raises:
        ScaleError: so many do not fit.
    """
    on_gpus = any(gpus for _, gpus in machines)
    used = [(cpus, gpus) for cpus, gpus in machines if cpus and (gpus or not on_gpus)]
    most = sum(min(used_part) if on_gpus else used_part[0] for used_part in used)
    count = count or (most if on_gpus else len(used))
    if not 0 < count <= most:
        kind = "a CPU and a GPU" if on_gpus else "a CPU"
        raise ScaleError(
            f"{count or 'any'} workers do not fit on this Ray, which has {kind} for each of {most} at most; "
            + (f"ask for {most} or fewer." if most else "start it with CPUs (`ray start --num-cpus`).")
        )

    def fit(part: Share) -> int:
        return sum(min(c // part.num_cpus, g // part.num_gpus if part.num_gpus else c) for c, g in used)

    gpus = max((n for n in range(1, max(g for _, g in used) + 1) if fit(Share(1, n)) >= count), default=0)
    cpus = max(n for n in range(1, max(c for c, _ in used) + 1) if fit(Share(n, gpus)) >= count)
    return [Share(cpus, gpus)] * count


def wait_for_room(shares: Sequence[Share], patience: float = PATIENCE) -> None:
    """Returns once all that is asked for is free at the same time.

    Raises:
        ScaleError: others still hold some of it after `patience` seconds.
    """
    # Ray gives a placement group all its parts or none; what it held is free again for the workers.
    group = placement_group([{"CPU": one.num_cpus, "GPU": one.num_gpus} for one in shares])
    try:
        if group.wait(patience):
            return
        free, have = ray.available_resources(), ray.cluster_resources()  # type: ignore[no-untyped-call]
    finally:
        remove_placement_group(group)
    told = " and ".join(f"{free.get(kind, 0):g} of {have[kind]:g} {kind}s" for kind in ("CPU", "GPU") if kind in have)
    raise ScaleError(
        f"Ray is busy: {told} are free, and {len(shares)} workers of {shares[0].num_cpus} CPUs and {shares[0].num_gpus} GPUs "
        f"were waited for {patience:g} s; ask for fewer, or come again when others are done (`ray status`)."
    )
