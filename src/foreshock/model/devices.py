"""A model whose layers lie on different devices, some of their weights left in memory or on disk until they are run.

Accelerate places the layers and moves what flows between them; what looks at weights by itself asks here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from accelerate.utils import align_module_device
from torch import Tensor, nn


def device_of(module: nn.Module) -> torch.device:
    """Where a module with weights computes, also while they are elsewhere."""
    device = next(module.parameters()).device
    if device.type == "meta":
        hooks = (getattr(part, "_hf_hook", None) for part in module.modules())
        device = next(torch.device(hook.execution_device) for hook in hooks if hook is not None)
    return device


@contextlib.contextmanager
def present(module: nn.Module) -> Iterator[None]:
    """Within the context the module's own weights can be looked at; its parts' need a context of their own."""
    with align_module_device(module):
        yield


def weights(model: Any) -> Iterator[tuple[str, Tensor]]:
    """Every parameter of a model of transformers with its name, those that are tied once; one at a time in memory."""
    first = {id(weight): name for name, weight in model.named_parameters()}
    # Weights that are elsewhere are no longer one tensor where they are tied, so that is asked of the model.
    tied = getattr(model, "all_tied_weights_keys", None) or {}
    again = {name for name, source in tied.items() if source in first.values()}
    for prefix, module in model.named_modules():
        own = [(name, id(weight)) for name, weight in module.named_parameters(recurse=False)]
        with present(module):
            for short, number in own:
                name = f"{prefix}.{short}" if prefix else short
                if first.get(number) == name and name not in again:
                    yield name, getattr(module, short).detach()
