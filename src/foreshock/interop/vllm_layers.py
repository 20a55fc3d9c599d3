"""Where a vLLM model keeps its blocks, and how their outputs make up the residual stream; proved, not guessed.

Most of vLLM's models return a pair from each block: the output of its last sublayer, and the stream that the next norm
will add it to. The stream after the block is their sum. A few return the stream itself, some of them in a pair too.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import nn

from foreshock.errors import NotADecoder


def blocks_of(model: nn.Module, count: int) -> nn.ModuleList:
    """The model's `count` blocks, in order.

    Raises:
        NotADecoder: no list of so many modules, or more than one, or some of them on other machines.
    """
    lists = [module for module in model.modules() if isinstance(module, nn.ModuleList) and len(module) == count]
    lists = [found for found in lists if all("hidden_states" in _parameters(block) for block in found)]
    if len(lists) != 1:
        raise NotADecoder(
            f"{type(model).__name__} has {len(lists)} lists of {count} blocks where one is expected; Foreshock cannot "
            "watch it in vLLM. Pipeline parallelism is not supported either: use tensor parallelism."
        )
    return lists[0]


def is_fused(block: nn.Module) -> bool:
    """Whether the stream after the block is the sum of the two tensors that it returns.

    Proved on one of its norms, called as the block calls it: a fused norm gives back x + residual as the new stream.

    Raises:
        NotADecoder: the block takes a residual, and no norm of its own shows what becomes of it.
    """
    if "residual" not in _parameters(block):
        return False
    for norm in block.children():
        if "norm" in type(norm).__name__.lower() and len(_parameters(norm)) > 1:
            weight = next(norm.parameters())
            x, residual = (torch.randn(4, weight.shape[-1]).to(weight) for _ in range(2))
            _, stream = norm(x.clone(), residual.clone())
            if torch.allclose(stream, x + residual, atol=1e-2):
                return True
            if torch.allclose(stream, residual):
                return False
    raise NotADecoder(f"What {type(block).__name__} returns could not be proved; Foreshock cannot watch it in vLLM.")


def _parameters(module: nn.Module) -> list[str]:
    call: Any = getattr(module, "forward_native", module.forward)
    return list(inspect.signature(call).parameters)
