"""Next-token logits of many prompts that begin alike.

What the prompts share is run once; its key-value cache is then repeated for a batch of endings. Endings are padded on
the right, which is safe as in `batches`: a real token sees nothing to its right, and as every ending starts at the
same place, positions need no care. Not every model's cache can be repeated, so `shares_prefix` finds out by trying.

The model's own forward pass makes the logits, so that whatever it does to them (capping, scaling) is done; a hook in
front of the unembedding leaves it nothing but each row's last real token.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from foreshock.model.batches import pad, plan
from foreshock.model.language_model import LanguageModel, check_finite, finely
from foreshock.model.proofs import TOLERANCE, difference

Prompts = Sequence[list[int]]
BUDGET = 4096
"""Most tokens in a batch, the shared ones and the padding counted in."""


@torch.inference_mode()
def next_token_logits(
    model: LanguageModel, prompts: Prompts, tokens: Sequence[int] | None = None, *, share: bool = True
) -> Float[Tensor, "prompt token"]:
    """The logits of the token after each prompt, on the CPU in float32.

    Args:
        prompts: token ids, at least one each.
        tokens: the tokens whose logits are wanted. They are computed in float32 from the last hidden state, as logits
            rounded to bfloat16 are too coarse to be compared. None: the whole vocabulary, in the model's dtype.
        share: run the tokens that all prompts begin with only once; False runs every prompt whole.

    Raises:
        NotFinite: a logit is NaN or infinite.
    """
    shared = _shared(prompts) if share else 0
    endings = [prompt[shared:] for prompt in prompts]
    cache = _cache(model, prompts[0][:shared]) if shared else None
    width = model.anatomy.vocabulary if tokens is None else len(tokens)
    logits = torch.empty(len(prompts), width)
    for rows in plan([len(prompt) for prompt in prompts], BUDGET):
        batch = pad(endings, rows, model.tokenizer.pad_token_id or 0, model.device)
        started = {"past_key_values": _repeated(cache, len(rows))} if cache is not None else {}
        with _last_only(model, batch.lengths - 1, tokens):
            out = model.model(input_ids=batch.ids, use_cache=bool(started), **started).logits
        logits[rows] = out[:, 0].float().cpu()
    check_finite(logits, model.layers - 1)
    return logits


def shares_prefix(model: LanguageModel, prompts: Prompts) -> bool:
    """Whether sharing gives what whole prompts give on these few, within what batching may move (see `proofs`)."""
    try:
        shared = next_token_logits(model, prompts)
    except Exception:  # whatever a family raises that has no cache, or one of its own kind
        return False
    whole = next_token_logits(model, prompts, share=False)
    shared, whole = (logits - logits.mean(1, keepdim=True) for logits in (shared, whole))  # a common level hides errors
    return difference(shared, whole) <= TOLERANCE[model.dtype]


def _shared(prompts: Prompts) -> int:
    """How many first tokens all prompts have in common; each keeps a last one to itself."""
    first, last = min(prompts, default=()), max(prompts, default=())  # what these two share, all between them share
    most = min((len(prompt) for prompt in prompts), default=1) - 1
    return next((k for k in range(most) if first[k] != last[k]), most)


def _cache(model: LanguageModel, prefix: Sequence[int]) -> Any:
    ids = torch.tensor([list(prefix)], device=model.device)
    return model.anatomy.decoder(input_ids=ids, use_cache=True).past_key_values


def _repeated(cache: Any, rows: int) -> Any:
    """The cache of one row for many; a copy, as a forward pass adds to what it is given."""
    repeated = copy.deepcopy(cache)
    repeated.batch_repeat_interleave(rows)
    return repeated


@contextlib.contextmanager
def _last_only(model: LanguageModel, last: Int[Tensor, " batch"], tokens: Sequence[int] | None) -> Iterator[None]:
    """Within the context the unembedding sees one position of each row, and gives only `tokens` where they are named."""
    head: Any = model.anatomy.unembedding
    rows = torch.arange(len(last), device=last.device)

    def pick(_module: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
        own = args[0].device
        return (args[0][rows.to(own), last.to(own)][:, None], *args[1:])

    handle = head.register_forward_pre_hook(pick)
    try:
        with finely(head, tokens):
            yield
    finally:
        handle.remove()
