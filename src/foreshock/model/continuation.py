"""A text run once up to a layer, and on from there as often as wanted with something written at that layer.

The blocks below the layer are computed once and shared by all rows; each row of a batch carries its own write. The
arguments of the blocks above (positions, masks) are those that the model itself passed on the first run, so nothing
here goes by a family's name; the first use proves that going on from the layer gives what a whole pass gives.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from foreshock.errors import NotADecoder
from foreshock.model.anatomy import hidden_of
from foreshock.model.language_model import LanguageModel
from foreshock.model.tree import Tree

TOKENS = 2048
"""Tokens in one batch of rows."""
PLACES = 128
"""Places whose logits are held at a time."""
TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 2e-1, torch.float16: 5e-2}
"""Largest relative difference (of norms, at a token) that running on in rows may make, per number format."""


class Continuation:
    """One text, run up to block `layer`.

    Args:
        ids: the text's tokens.
        layer: the block after which is written; 0 … layers - 1.
        span: the only tokens that writes reach; None: all.
        tree: endings after a common beginning, in one sequence (see `Tree`); None: a plain text.
        prove: compare going on from the layer with the whole pass; one text of a kind is enough.

    Raises:
        NotADecoder: this model's blocks cannot be run on their own.
    """

    def __init__(
        self,
        model: LanguageModel,
        ids: Sequence[int],
        layer: int,
        *,
        span: slice | None = None,
        tree: Tree | None = None,
        prove: bool = True,
    ) -> None:
        self.model, self.layer = model, layer
        self._calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
        laid_out = tree.arguments(model) if tree else {}
        self._hidden, last = self._run(torch.tensor([list(ids)], device=model.device), laid_out)
        self._inside = torch.zeros_like(self._hidden[..., :1])
        self._inside[:, span or slice(None)] = 1
        if prove:
            self._prove(last)

    @torch.no_grad()
    def _run(self, ids: Tensor, laid_out: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """One whole pass; keeps how each block above is called and gives the stream at the layer and at the end."""
        seen: dict[int, Tensor] = {}
        blocks, handles = self.model.anatomy.layers, []
        last = len(blocks) - 1
        for k in (self.layer, last):
            handles.append(blocks[k].register_forward_hook(lambda _m, _a, out, k=k: seen.update({k: hidden_of(out)})))
        for block in blocks[self.layer + 1 :]:
            handles.append(block.register_forward_pre_hook(self._remember, with_kwargs=True))
        try:
            self.model.anatomy.decoder(input_ids=ids, use_cache=False, **laid_out)
        finally:
            for handle in handles:
                handle.remove()
        return seen[self.layer], seen[last]

    def _remember(self, _block: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if args:
            self._calls.append((args[1:], kwargs))
        else:
            self._calls.append(((), {key: value for key, value in kwargs.items() if key != "hidden_states"}))

    @torch.no_grad()
    def _prove(self, last: Tensor) -> None:
        try:
            again = self._on(self._hidden.expand(2, -1, -1))
        except (RuntimeError, TypeError, ValueError) as problem:
            raise NotADecoder(f"The blocks of {self.model.name} cannot be run on in rows ({problem}).") from problem
        apart = float(((again - last).float().norm(dim=-1) / last.float().norm(dim=-1).clamp_min(1e-6)).max())
        if apart > TOLERANCE[self.model.dtype]:
            raise NotADecoder(f"Running {self.model.name} on from layer {self.layer} differs by {apart:.1e}.")

    def _on(self, hidden: Tensor) -> Tensor:
        for block, (args, kwargs) in zip(self.model.anatomy.layers[self.layer + 1 :], self._calls, strict=True):
            hidden = hidden_of(block(hidden, *args, **kwargs))
        return hidden

    @torch.no_grad()
    def log_probs(
        self, writes: Float[Tensor, "row hidden"], places: Sequence[int] | None = None
    ) -> Float[Tensor, "row place vocabulary"]:
        """Log-probabilities of the next token at `places` (all by default) with each row's write.

        A write of zeros leaves the stream as it is. In float32, on the model's device; ask for few places at a time.
        """
        return torch.cat([logits.log_softmax(-1) for logits in self._logits(writes, places)])

    @torch.no_grad()
    def chosen(
        self, writes: Float[Tensor, "row hidden"], places: Sequence[int], tokens: Sequence[int]
    ) -> Float[Tensor, "row place"]:
        """Log-probability of one token at each place, in each row; in float32, on the model's device."""
        found = []
        for last in self._last(writes):
            picked, wanted = last[:, list(places)].flatten(0, 1)[None], list(tokens) * len(last)
            # A few places at a time: the logits of all are many times as large as the stream.
            parts = [
                of_tokens(self.model.logits(picked[:, k : k + PLACES]), wanted[k : k + PLACES])
                for k in range(0, len(wanted), PLACES)
            ]
            found.append(torch.cat(parts, 1).view(len(last), len(tokens)))
        return torch.cat(found)

    @torch.no_grad()
    def fine_logits(
        self, writes: Float[Tensor, "row hidden"], place: int, tokens: Sequence[int]
    ) -> Float[Tensor, "row token"]:
        """Logits of a few tokens at one place, unembedded in float32, in each row."""
        return torch.cat([logits[:, 0] for logits in self._logits(writes, [place], tokens)])

    def losses(self, writes: Float[Tensor, "row hidden"], ids: Sequence[int]) -> Float[Tensor, " row"]:
        """Mean negative log-likelihood (nats a token) of the text itself, which is `ids`, in each row."""
        return -self.chosen(writes, range(len(ids) - 1), ids[1:]).mean(1)

    def gradient(
        self,
        places: Sequence[int],
        score: Callable[[Float[Tensor, "place vocabulary"]], Float[Tensor, ""]],
        tokens: Sequence[int] | None = None,
    ) -> tuple[float, Float[Tensor, " hidden"]]:
        """A score of the logits at `places`, and how it changes with a write, at a write of 0.

        The product of the change with a vector is the slope in that vector's direction, so one backward pass serves
        all directions. In float32, on the model's device. With `tokens` the score gets those logits alone.
        """
        with torch.enable_grad(), _frozen(self.model):
            write = torch.zeros(self.model.hidden, device=self._hidden.device, requires_grad=True)
            last = self._on(self._hidden + self._inside * write.to(self._hidden.dtype))
            value = score(self.model.logits(last[:, list(places)], tokens)[0])
            (slope,) = torch.autograd.grad(value, write)
        return float(value.detach()), slope

    def _logits(
        self, writes: Tensor, places: Sequence[int] | None, tokens: Sequence[int] | None = None
    ) -> Iterator[Tensor]:
        picked = list(range(self._hidden.shape[1])) if places is None else list(places)
        for last in self._last(writes):
            yield self.model.logits(last[:, picked], tokens)

    def _last(self, writes: Tensor) -> Iterator[Tensor]:
        """The stream after the last block, for some rows at a time."""
        for part in torch.split(writes.to(self._hidden), max(1, TOKENS // self._hidden.shape[1])):
            yield self._on(self._hidden + part[:, None] * self._inside)


def of_tokens(logits: Float[Tensor, "*row place vocabulary"], tokens: Sequence[int]) -> Float[Tensor, "*row place"]:
    """Log-probability of one token at each place."""
    wanted = torch.tensor(list(tokens), device=logits.device).expand(logits.shape[:-1])
    return logits.log_softmax(-1).gather(-1, wanted[..., None])[..., 0]


@contextlib.contextmanager
def _frozen(model: LanguageModel) -> Iterator[None]:
    """No gradients of weights inside: they would cost as much again, and memory as large as the model."""
    learning = [weight for weight in model.model.parameters() if weight.requires_grad]
    for weight in learning:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in learning:
            weight.requires_grad_(True)
