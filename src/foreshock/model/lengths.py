"""Linear layers that meet few different numbers of tokens, for engines whose passes are of any length."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import pad

STEP = 32
FEW = 16
"""Up to here the numbers are kept: to fill up a pass of few tokens would cost time."""


@contextlib.contextmanager
def few_lengths(module: nn.Module) -> Iterator[None]:
    """Within the context the module's linear layers run on up to `FEW` tokens or on a multiple of `STEP`, zeros added.

    On a CPU, oneDNN makes kernels of its own for every number of tokens in bfloat16, which takes time, and keeps them,
    which takes memory: two to three megabytes for each number with a model of 135M, a gigabyte over a server's first hours.
    """
    layers = [layer for layer in module.modules() if isinstance(layer, nn.Linear) and layer.weight.is_cpu]
    own = [vars(layer).get("forward") for layer in layers]
    for layer in layers:
        layer.forward = _filled_up(layer.forward)  # type: ignore[method-assign, assignment]  # quicker than a pair of hooks
    try:
        yield
    finally:
        for layer, before in zip(layers, own, strict=True):
            del layer.forward
            if before is not None:  # another library's, accelerate's for one
                layer.forward = before  # type: ignore[method-assign]


def _filled_up(inner: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    def forward(x: Float[Tensor, "... token width"]) -> Float[Tensor, "... token out"]:
        tokens = x.shape[-2]
        more = -tokens % STEP
        if tokens <= FEW or not more:
            return inner(x)
        return inner(pad(x, (0, 0, 0, more)))[..., :tokens, :]

    return forward
