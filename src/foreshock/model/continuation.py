"""A text run once up to a layer, and on from there as often as wanted with something written at that layer.

The blocks below the layer are computed once and shared by all rows; each row of a batch carries its own write. The
arguments of the blocks above (positions, masks) are those that the model itself passed on the first run, so nothing
here goes by a family's name; the first use proves that going on from the layer gives what a whole pass gives.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from foreshock.errors import NotADecoder
from foreshock.model.anatomy import hidden_of
from foreshock.model.language_model import LanguageModel

TOKENS = 4096
"""Tokens in one batch of rows."""
TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 2e-1, torch.float16: 5e-2}
"""Largest relative difference (of norms, at a token) that running on in rows may make, per number format."""


class Continuation:
    """One text, run up to block `layer`.

    Args:
        ids: the text's tokens.
        layer: the block after which is written; 0 … layers - 1.

    Raises:
        NotADecoder: this model's blocks cannot be run on their own.
    """

    def __init__(self, model: LanguageModel, ids: Sequence[int], layer: int) -> None:
        self.model, self.layer = model, layer
        self._calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
        self._hidden, last = self._run(torch.tensor([list(ids)], device=model.device))
        self._prove(last)

    @torch.inference_mode()
    def _run(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """One whole pass; keeps how each block above is called and gives the stream at the layer and at the end."""
        seen: dict[int, Tensor] = {}
        blocks, handles = self.model.anatomy.layers, []
        last = len(blocks) - 1
        for k in (self.layer, last):
            handles.append(blocks[k].register_forward_hook(lambda _m, _a, out, k=k: seen.update({k: hidden_of(out)})))
        for block in blocks[self.layer + 1 :]:
            handles.append(block.register_forward_pre_hook(self._remember, with_kwargs=True))
        try:
            self.model.anatomy.decoder(input_ids=ids, use_cache=False)
        finally:
            for handle in handles:
                handle.remove()
        return seen[self.layer], seen[last]

    def _remember(self, _block: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if args:
            self._calls.append((args[1:], kwargs))
        else:
            self._calls.append(((), {key: value for key, value in kwargs.items() if key != "hidden_states"}))

    def _prove(self, last: Tensor) -> None:
        try:
            again = self._on(self._hidden.expand(2, -1, -1))
        except (RuntimeError, TypeError, ValueError) as problem:
            raise NotADecoder(f"The blocks of {self.model.name} cannot be run on in rows ({problem}).") from problem
        apart = float(((again - last).float().norm(dim=-1) / last.float().norm(dim=-1).clamp_min(1e-6)).max())
        if apart > TOLERANCE[self.model.dtype]:
            raise NotADecoder(f"Running {self.model.name} on from layer {self.layer} differs by {apart:.1e}.")

    @torch.inference_mode()
    def _on(self, hidden: Tensor) -> Tensor:
        for block, (args, kwargs) in zip(self.model.anatomy.layers[self.layer + 1 :], self._calls, strict=True):
            hidden = hidden_of(block(hidden, *args, **kwargs))
        return hidden

    @torch.inference_mode()
    def log_probs(
        self, writes: Float[Tensor, "row hidden"], places: Sequence[int] | None = None
    ) -> Float[Tensor, "row place vocabulary"]:
        """Log-probabilities of the next token at `places` (all by default) with each row's write at every token.

        A write of zeros leaves the stream as it is. In float32, on the model's device; ask for few places at a time.
        """
        return torch.cat([logits.log_softmax(-1) for logits in self._logits(writes, places)])

    @torch.inference_mode()
    def losses(self, writes: Float[Tensor, "row hidden"], ids: Sequence[int]) -> Float[Tensor, " row"]:
        """Mean negative log-likelihood (nats a token) of the text itself, which is `ids`, in each row."""
        wanted = torch.tensor(list(ids[1:]), device=self.model.device)
        found = []
        for logits in self._logits(writes, range(len(ids) - 1)):
            found.append(-logits.log_softmax(-1).gather(-1, wanted.expand(len(logits), -1)[..., None])[..., 0].mean(1))
        return torch.cat(found)

    def _logits(self, writes: Tensor, places: Sequence[int] | None) -> list[Tensor]:
        length = self._hidden.shape[1]
        picked = list(range(length)) if places is None else list(places)
        rows = max(1, TOKENS // length)
        found = []
        for part in torch.split(writes.to(self._hidden), rows):
            last = self._on(self._hidden + part[:, None])
            found.append(self.model.logits(last[:, picked]))
        return found
