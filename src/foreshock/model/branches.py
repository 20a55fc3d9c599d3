"""How likely a model finds each of several replies to one prompt, with anything written to its stream.

The prompt is computed once for all replies (as a tree, where the model can do that), and the blocks below the written
layer once for all writes. One backward pass gives the slopes in all directions at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from foreshock.errors import TextError
from foreshock.model.continuation import Continuation, of_tokens
from foreshock.model.language_model import LanguageModel
from foreshock.model.tree import Tree
from foreshock.texts.schema import Turn

TOLERANCE = {torch.float32: 0.02, torch.float16: 0.1, torch.bfloat16: 0.2}
"""By how much of what tells the replies apart (RMS error over SD) a tree may differ from whole texts, per number format.
In bfloat16 right trees differ by up to 0.06, and wrong ones (windows, positions or distances of their own) by 0.45 and
more."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One conversation with its last message as the reply in question."""

    ids: list[int]
    start: int
    """First token of the reply's own words."""
    end: int


@dataclass(frozen=True, slots=True)
class _Part:
    """Some replies in one run: the log-probabilities of `tokens` at `places`, averaged within each reply."""

    run: Continuation
    replies: list[int]
    places: list[int]
    tokens: list[int]
    average: Float[Tensor, "place reply"]
    """Each reply's column holds 1 / its tokens at its places."""


def encode_reply(model: LanguageModel, turns: Sequence[Turn], reply: str) -> Reply:
    """The conversation with a reply of the assistant at its end.

    Raises:
        TooLong: beyond the context. TextError: the reply has no words.
    """
    tokens = model.encode_transcript([*turns, Turn(role="assistant", content=reply)])
    last = max(tokens.turns)
    own = [k for k, content in enumerate(tokens.content) if content and tokens.turns[k] == last]
    if not own:
        raise TextError(f"A reply to {turns[-1].content[:40]!r} has no words; give at least one.")
    return Reply(tokens.ids[: own[-1] + 1], own[0], own[-1] + 1)


class Branches:
    """Replies to one prompt, run up to block `layer`.

    Args:
        replies: of one prompt; what their tokens have in common is computed once.
        tree: whether to lay them out as a tree; ask `fits_tree` once for a model, which also proves the rest.
    """

    def __init__(
        self, model: LanguageModel, replies: Sequence[Reply], layer: int, *, tree: bool, prove: bool = False
    ) -> None:
        self.count = len(replies)
        self._parts = (
            [_as_tree(model, replies, layer, prove)]
            if tree
            else [_as_text(model, k, reply, layer, prove) for k, reply in enumerate(replies)]
        )

    def scores(self, writes: Float[Tensor, "row hidden"]) -> Float[Tensor, "row reply"]:
        """Mean log-probability (nats a token) of each reply's own words with each row's write at every token."""
        found = torch.empty(len(writes), self.count)
        for part in self._parts:
            chosen = part.run.chosen(writes, part.places, part.tokens).cpu()
            found[:, part.replies] = chosen @ part.average
        return found

    def slope(self, weights: Float[Tensor, " reply"]) -> tuple[float, Float[Tensor, " hidden"]]:
        """Σ weight · score without a write, and how it changes with a write at every token.

        The product of the change with a vector is the slope in that vector's direction.
        """
        value, total = 0.0, torch.zeros(self._parts[0].run.model.hidden)
        for part in self._parts:
            each = part.average @ weights[part.replies]
            own, slope = part.run.gradient(
                part.places,
                lambda logits, part=part, each=each: of_tokens(logits, part.tokens) @ each.to(logits.device),  # type: ignore[misc]
            )
            value, total = value + own, total + slope.cpu()
        return value, total


def _as_tree(model: LanguageModel, replies: Sequence[Reply], layer: int, prove: bool) -> _Part:
    beginning = _shared(replies)
    tree = Tree(beginning, [reply.end - beginning for reply in replies])
    ids = list(replies[0].ids[:beginning])
    places, tokens, owner = [], [], []
    for k, (reply, first) in enumerate(zip(replies, tree.first, strict=True)):
        ids += reply.ids[beginning : reply.end]
        for place in range(reply.start, reply.end):
            before = place - 1
            places.append(before if before < beginning else first + before - beginning)
            tokens.append(reply.ids[place])
            owner.append(k)
    run = Continuation(model, ids, layer, tree=tree, prove=prove)
    return _Part(run, list(range(len(replies))), places, tokens, _averages(owner, len(replies)))


def _as_text(model: LanguageModel, number: int, reply: Reply, layer: int, prove: bool) -> _Part:
    run = Continuation(model, reply.ids[: reply.end], layer, prove=prove)
    places = list(range(reply.start - 1, reply.end - 1))
    return _Part(run, [number], places, reply.ids[reply.start : reply.end], _averages([0] * len(places), 1))


def _averages(owner: list[int], count: int) -> Float[Tensor, "place reply"]:
    one = torch.nn.functional.one_hot(torch.tensor(owner), count).float()
    return one / one.sum(0)


def _shared(replies: Sequence[Reply]) -> int:
    """How many first tokens all replies have in common, before the words of any begin."""
    first, last = min(r.ids for r in replies), max(r.ids for r in replies)
    most = min(reply.start for reply in replies)
    return next((k for k in range(most) if first[k] != last[k]), most)


def fits_tree(model: LanguageModel, replies: Sequence[Reply], layer: int) -> bool:
    """Whether a tree gives what whole texts give, within what the number format may move; try the longest of all.

    Args:
        replies: two or more, that are not the same.

    A window of attention shorter than the text, or positions that a model counts by itself, show here.

    Raises:
        NotADecoder: this model's blocks cannot be run on their own.
    """
    none = torch.zeros(1, model.hidden)
    whole = Branches(model, replies, layer, tree=False, prove=True).scores(none)[0]
    try:
        tree = Branches(model, replies, layer, tree=True, prove=True).scores(none)[0]
    except Exception:  # whatever a family raises that takes no mask or no positions
        return False
    error = (tree - whole).pow(2).mean().sqrt()
    return bool(error <= TOLERANCE[model.dtype] * whole.std())
