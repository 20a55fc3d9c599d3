"""Where a Hugging Face decoder-only model keeps its layers, final norm and unembedding.

Nothing here goes by a family's name. The decoder's list of blocks is found by its length, and one
dummy pass shows which module runs after the last block and what reaches the unembedding. Every part
is proved on that pass before the model is used.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from foreshock.errors import NotADecoder
from foreshock.model.devices import device_of


@dataclass(frozen=True, slots=True)
class Proof:
    """One thing that the dummy pass showed."""

    part: str
    shown: str


@dataclass(frozen=True, slots=True)
class Anatomy:
    """The parts of one model. Layer k is the residual stream after block k, counted from 0."""

    decoder: nn.Module
    layers: nn.ModuleList
    norm: Callable[[Tensor], Tensor]
    """From the last block's output to the unembedding's input."""
    unembedding: nn.Module
    hidden: int
    vocabulary: int
    proofs: tuple[Proof, ...]


def hidden_of(output: Any) -> Float[Tensor, "batch token hidden"]:
    """The residual stream in a block's output, which is a tensor or a tuple that starts with one."""
    hidden: Tensor = output[0] if isinstance(output, tuple) else output
    return hidden


def find_anatomy(model: Any) -> Anatomy:
    """Find the parts of `model` and prove them with one pass over a few tokens.

    Raises:
        NotADecoder: a part is missing or does not do what it should.
    """
    config = getattr(model, "config", None)
    name = type(model).__name__
    if config is None or getattr(config, "is_encoder_decoder", False):
        raise NotADecoder(f"{name} is not a decoder-only language model; open a causal LM (text in, next token out).")
    text_config = config.get_text_config()
    unembedding = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    decoder = model.get_decoder() if hasattr(model, "get_decoder") else None
    if unembedding is None or decoder is None or decoder is model:
        raise NotADecoder(
            f"{name} has no decoder with an unembedding, so it predicts no next token; open a causal language model."
        )
    layers = _find_layers(decoder, text_config.num_hidden_layers, name)
    return _prove(model, decoder, layers, unembedding, name)


def _find_layers(decoder: nn.Module, count: int, name: str) -> nn.ModuleList:
    stacks = [m for _, m in decoder.named_modules() if isinstance(m, nn.ModuleList) and len(m) == count]
    outermost = [s for s in stacks if not any(s is not other and s in list(other.modules()) for other in stacks)]
    if len(outermost) != 1:
        raise NotADecoder(
            f"{name} should hold one list of {count} blocks and holds {len(outermost)}; "
            "pass a model whose decoder is a plain stack of blocks."
        )
    return outermost[0]


@torch.inference_mode()
def _prove(model: Any, decoder: nn.Module, layers: nn.ModuleList, unembedding: nn.Module, name: str) -> Anatomy:
    """Run six tokens through the model and check each part against what was seen."""
    seen: dict[str, Any] = {"after": []}
    hooks = [
        layers[-1].register_forward_hook(lambda _m, _a, out: seen.update(last=hidden_of(out), after=[])),
        unembedding.register_forward_pre_hook(lambda _m, args: seen.update(unembedded=args[0])),
    ]
    inside_blocks = set(layers.modules())
    for child in decoder.modules():
        if child not in inside_blocks and not list(child.children()):
            hooks.append(child.register_forward_hook(lambda m, _a, _out: seen["after"].append(m)))
    device = device_of(model.get_input_embeddings())
    try:
        logits = model(torch.arange(2, 8, device=device)[None], use_cache=False).logits
    except Exception as problem:
        raise NotADecoder(
            f"{name} did not accept six tokens of text ({problem}); open a text-only causal LM."
        ) from problem
    finally:
        for hook in hooks:
            hook.remove()
    if "last" not in seen or "unembedded" not in seen:
        raise NotADecoder(f"{name} runs its last block or its unembedding out of sight; its forward pass is not plain.")
    after = nn.Sequential(*seen["after"])
    normed = after(seen["last"])
    if normed.shape != seen["unembedded"].shape or not torch.equal(
        normed.to(seen["unembedded"].device), seen["unembedded"]
    ):
        raise NotADecoder(f"{name}: what reaches the unembedding is not the final norm of the last block's output.")
    hidden, width = seen["last"].shape[-1], normed.shape[-1]
    steps = " → ".join(type(m).__name__ for m in after) or "nothing"
    proofs = (
        Proof("blocks", f"{len(layers)} × {type(layers[0]).__name__}, hidden size {hidden}"),
        Proof("final norm", f"{steps}: the last block's output through it equals the unembedding's input, to the bit"),
        Proof("unembedding", f"{type(unembedding).__name__}, {width} → {logits.shape[-1]} logits"),
    )
    return Anatomy(decoder, layers, after, unembedding, hidden, logits.shape[-1], proofs)
