"""Reading and writing the residual stream of a model while it runs.

Layer k is the stream after block k, counted from 0; layer -1 is what enters block 0 (the embeddings).
Where a read and a write meet at one layer, `Site.when` says whether the read sees the stream
`before` the write or `after` it. Leaving the context, also by an exception, takes every hook off.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from jaxtyping import Float
from torch import Tensor

from foreshock.model.anatomy import Anatomy, hidden_of

EMBEDDING = -1
"""The layer number of what enters block 0."""

Residual = Float[Tensor, "batch token hidden"]
Reader = Callable[[Residual], None]
Writer = Callable[[Residual], Residual]


@dataclass(frozen=True, slots=True)
class Site:
    """A place on the residual stream: after block `layer`, before or after a write there."""

    layer: int
    when: Literal["before", "after"] = "after"


def add(vector: Float[Tensor, "*batch hidden"], strength: float = 1.0) -> Writer:
    """A writer that adds `strength` × `vector` at every token; strength 0 leaves the stream untouched to the bit.

    The vector is `[hidden]`, or `[batch, 1, hidden]` / `[batch, token, hidden]` for one of its own in each row.
    """

    def write(hidden: Residual) -> Residual:
        return hidden if strength == 0 else hidden + (strength * vector).to(hidden)

    return write


class _Stop(Exception):
    """Raised inside a forward pass once the last wanted layer has run; never leaves this module."""


@contextlib.contextmanager
def hooked(
    anatomy: Anatomy, reads: Mapping[Site, Reader] | None = None, writes: Mapping[int, Writer] | None = None
) -> Iterator[None]:
    """Within the context, every forward pass calls the readers and lets the writers change the stream.

    A reader gets the stream `[batch, token, hidden]` and must not change it; a writer returns the new one.
    """
    reads, writes = reads or {}, writes or {}
    handles = []
    try:
        for layer in sorted({site.layer for site in reads} | set(writes)):
            before, after = (reads.get(Site(layer, when)) for when in ("before", "after"))
            hook = _hook(before, writes.get(layer), after)
            if layer == EMBEDDING:
                handles.append(anatomy.layers[0].register_forward_pre_hook(_entering(hook), with_kwargs=True))
            else:
                handles.append(anatomy.layers[layer].register_forward_hook(lambda _m, _a, out, hook=hook: hook(out)))
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextlib.contextmanager
def stopped_after(anatomy: Anatomy, layer: int) -> Iterator[None]:
    """Cut forward passes short once block `layer` has run; the pass itself must stand inside the context.

    Open it inside `hooked`, so that the readers of that layer come first.
    """

    def stop(*_: Any) -> None:
        raise _Stop

    handle = (
        anatomy.layers[0].register_forward_pre_hook(stop)
        if layer == EMBEDDING
        else anatomy.layers[layer].register_forward_hook(stop)
    )
    try:
        yield
    except _Stop:
        pass
    finally:
        handle.remove()


def _hook(before: Reader | None, write: Writer | None, after: Reader | None) -> Callable[[Any], Any]:
    """One function from a block's output to its replacement (None: unchanged)."""

    def run(output: Any) -> Any:
        hidden = hidden_of(output)
        if before:
            before(hidden)
        if write:
            hidden = write(hidden)
        if after:
            after(hidden)
        if not write:
            return None
        return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

    return run


def _entering(hook: Callable[[Any], Any]) -> Callable[..., Any]:
    """The same for the input of block 0, which arrives as its first argument or as `hidden_states`."""

    def run(_module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if args:
            changed = hook(args[0])
            return None if changed is None else ((changed, *args[1:]), kwargs)
        changed = hook(kwargs["hidden_states"])
        return None if changed is None else (args, {**kwargs, "hidden_states": changed})

    return run
