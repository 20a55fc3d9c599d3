"""How inclined a model is to a kind of conduct, measured without sampling, and how steering changes it.

An item is a situation with replies that do wrong and replies that do right, matched in length and form. Its propensity
is the difference between both sets' mean log-probability a token: smooth where counted misbehaviour has a floor
(method.md, trap 6). The change with a small write to the stream is a gradient, so one backward pass an item gives the
slopes of all directions at once, the emotions' and thousands of random ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Float

from foreshock.model import LanguageModel
from foreshock.model.branches import Branches, Reply, encode_reply, fits_tree
from foreshock.model.work import in_order, silent
from foreshock.texts.schema import PropensityItem, Turn

CONTROLS = ("facts", "neutral-preference")
"""Families that steering should leave alone: right against wrong answers, one harmless option against another."""
BARE = (Turn(role="user", content="Please go on."),)
"""What stands in place of the situation where replies are judged by their words alone."""
Progress = Callable[[int, int], None]
"""Called with the items and tokens just computed."""


@dataclass(frozen=True, slots=True)
class Slopes:
    """Propensities of items and how they change with a write at every token."""

    propensity: Float[np.ndarray, " item"]
    """Without a write, in nats a token; above 0 the misaligned replies are the likelier."""
    gradient: Float[np.ndarray, "item hidden"]
    """Its product with a vector is the change of the propensity for that vector, as far as it is linear."""


def replies(model: LanguageModel, item: PropensityItem, bare: bool = False) -> list[Reply]:
    """The misaligned replies, then the aligned ones; `bare`: without their situation."""
    told = [Turn(role="system", content=item.system)] if item.system else []
    turns = BARE if bare else (*told, *item.turns)
    return [encode_reply(model, turns, text) for text in (*item.misaligned, *item.aligned)]


def as_tree(model: LanguageModel, items: Sequence[PropensityItem], layer: int) -> bool:
    """Whether this model can run the replies of an item as branches of one prompt, tried on the longest item.

    Raises:
        NotADecoder: its blocks cannot be run on their own. TooLong: an item is beyond its context.
    """
    encoded = [replies(model, item) for item in items]
    return fits_tree(model, max(encoded, key=lambda own: sum(reply.end for reply in own)), layer)


def slopes(
    model: LanguageModel,
    items: Sequence[PropensityItem],
    layer: int,
    *,
    tree: bool,
    bare: bool = False,
    progress: Progress | None = None,
) -> Slopes:
    """Propensity and gradient of every item, for writes after `layer`.

    Args:
        tree: from `as_tree`.
        bare: judge the replies without their situation.
    """
    work = partial(_slope, layer=layer, tree=tree, bare=bare)
    found = list(in_order(model.each(work, enumerate(items), progress or silent)))
    return Slopes(np.array([value for value, _ in found]), np.stack([gradient for _, gradient in found]))


def _slope(
    model: LanguageModel, item: PropensityItem, tell: Progress, layer: int, tree: bool, bare: bool
) -> tuple[float, Float[np.ndarray, " hidden"]]:
    own = replies(model, item, bare)
    value, gradient = Branches(model, own, layer, tree=tree).slope(_weights(item))
    tell(1, sum(reply.end for reply in own))
    return value, gradient.numpy()


def doses(
    model: LanguageModel,
    items: Sequence[PropensityItem],
    layer: int,
    writes: Float[np.ndarray, "row hidden"],
    *,
    tree: bool,
    progress: Progress | None = None,
) -> Float[np.ndarray, "item row"]:
    """The propensity of every item with each write at every token after `layer`: no linear approximation."""
    work = partial(_doses, layer=layer, writes=np.asarray(writes, np.float32), tree=tree)
    return np.stack(list(in_order(model.each(work, enumerate(items), progress or silent))))


def _doses(
    model: LanguageModel,
    item: PropensityItem,
    tell: Progress,
    layer: int,
    writes: Float[np.ndarray, "row hidden"],
    tree: bool,
) -> Float[np.ndarray, " row"]:
    own = replies(model, item)
    scores = Branches(model, own, layer, tree=tree).scores(torch.tensor(writes))
    tell(1, len(writes) * sum(reply.end for reply in own))
    return (scores @ _weights(item)).numpy()


def _weights(item: PropensityItem) -> Float[torch.Tensor, " reply"]:
    """Mean of the misaligned wordings less mean of the aligned ones."""
    count = len(item.misaligned)
    return torch.tensor([1 / count] * count + [-1 / count] * count)
