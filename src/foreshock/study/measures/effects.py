"""Two emotions at once: their additive effects on turns, read held out and compared between halves.

residual = effect of the first emotion + effect of the second. Fitted together by least squares, so that neither
takes up what the other does; where the design is fully crossed these are the differences of means.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.sparse import csr_array

from foreshock.vectors.estimation import unit

RIDGE = 0.01
"""In turns: just enough for a design with gaps. More would leave some of one emotion in the effects of the other,
and, where each pair of emotions occurs but once, make the true emotion read too low."""

Matrix = Float[np.ndarray, "turn hidden"]
Labels = Int[np.ndarray, " turn"]


def effects(
    x: Matrix, own: Labels, beside: Labels, count: int, weights: Float[np.ndarray, "set turn"]
) -> Float[np.ndarray, "set 2 emotion hidden"]:
    """Effects of emotions 0 … count - 1 in both places, once for each set of weights; each sums to 0 over emotions.

    Args:
        x: centred rows.
    """
    of_set, turn = np.nonzero(weights)
    columns = np.concatenate([own[turn], count + beside[turn]]) + np.tile(of_set, 2) * 2 * count
    value = np.tile(weights[of_set, turn], 2).astype(np.float32)
    # Two entries a turn: far fewer products than with a dense design.
    weighted = csr_array((value, (columns, np.tile(turn, 2))), shape=(len(weights) * 2 * count, len(x)))
    design = np.zeros((len(x), 2 * count), np.float32)
    design[np.arange(len(x)), own] = 1
    design[np.arange(len(x)), count + beside] = 1
    gram = (weighted @ design).reshape(len(weights), 2 * count, -1) + RIDGE * np.eye(2 * count, dtype=np.float32)
    sums = (weighted @ x).reshape(len(weights), 2 * count, -1)
    fitted = np.linalg.solve(gram, sums).reshape(len(weights), 2, count, x.shape[1])
    return np.asarray(fitted - fitted.mean(2, keepdims=True))


def compact(x: Matrix) -> Float[np.ndarray, "turn coordinate"]:
    """The rows in no more coordinates than there are rows; all their products stay the same."""
    if x.shape[1] <= len(x):
        return x
    turned: np.ndarray = np.linalg.qr(x.T, mode="r")  # type: ignore[assignment]
    return turned.T


def held_out(x: Matrix, own: Labels, beside: Labels, count: int, fold: Labels) -> Float[np.ndarray, "turn emotion"]:
    """Projection of each turn on the unit effects of `own`, fitted without the turn's fold."""
    folds = np.unique(fold)
    train = fold != folds[:, None]
    directions = unit(effects(x, own, beside, count, train)[:, 0])
    scores = np.empty((len(x), count), np.float32)
    for number, rows in enumerate(train):
        scores[~rows] = (x[~rows] - x[rows].mean(0)) @ directions[number].T
    return scores


@dataclass(frozen=True, slots=True)
class Halves:
    """Effects fitted on halves of the dialogues, so that no product holds one half's noise twice."""

    inner: Float[np.ndarray, "2 2 emotion"]
    """Mean over splits of the inner product of place f's effect from one half with place g's from the other."""
    reliability: Float[np.ndarray, " 2"]
    """Cosine of the effects of each place with themselves between halves, all emotions together."""

    @property
    def cosine(self) -> float:
        """Cosine between both places over all emotions, as it would be without noise; NaN without signal."""
        (own, cross), (back, beside) = self.inner.sum(2)
        return float((cross + back) / 2 / np.sqrt(own * beside)) if own > 0 and beside > 0 else float("nan")


def halves(
    x: Matrix,
    own: Labels,
    beside: Labels,
    count: int,
    first: Bool[np.ndarray, "split turn"],
    weight: Float[np.ndarray, " turn"] | None = None,
) -> Halves:
    """Inner products of effects between halves, averaged over splits.

    Args:
        first: which turns stand in the first half, for each split; whole dialogues.
        weight: how often each turn counts (a bootstrap keeps a repeated dialogue in one half).
    """
    sets = np.concatenate([first, ~first]).astype(np.float32)
    if weight is not None:
        sets *= weight.astype(np.float32)
    one, other = np.split(effects(x, own, beside, count, sets), 2)
    inner = np.einsum("sfeh,sgeh->fge", one, other, optimize=True) / len(first)
    lengths = [np.sqrt((half**2).sum((2, 3))) for half in (one, other)]
    same = np.einsum("ffe->f", inner)
    return Halves(inner, same / np.maximum((lengths[0] * lengths[1]).mean(0), 1e-12))


def split_dialogues(
    group: Int[np.ndarray, " dialogue"], splits: int, random: np.random.Generator
) -> Bool[np.ndarray, "split dialogue"]:
    """Random halves of the dialogues, each group of them halved."""
    first = np.zeros((splits, len(group)), bool)
    for number in range(splits):
        for value in np.unique(group):
            members = random.permutation(np.flatnonzero(group == value))
            odd = int(random.integers(2)) * (len(members) % 2)
            first[number, members[: len(members) // 2 + odd]] = True
    return first


def resampled(group: Int[np.ndarray, " dialogue"], random: np.random.Generator) -> Float[np.ndarray, " dialogue"]:
    """How often a bootstrap draws each dialogue, each group resampled by itself."""
    weight = np.zeros(len(group), np.float32)
    for value in np.unique(group):
        members = np.flatnonzero(group == value)
        weight += np.bincount(random.choice(members, len(members)), minlength=len(group)).astype(np.float32)
    return weight
