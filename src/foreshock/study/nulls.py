"""What nothing looks like: shuffled labels, random directions, and the p-values and intervals they give."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float, Int
from scipy.stats import false_discovery_control

from foreshock.study.finding import Null


def generator(seed: int, purpose: str) -> np.random.Generator:
    """Random numbers for one purpose, the same whatever else is drawn."""
    return np.random.default_rng([seed, zlib.crc32(purpose.encode())])


def shuffled_within(
    labels: Int[np.ndarray, " passage"], groups: Int[np.ndarray, " passage"], random: np.random.Generator
) -> Int[np.ndarray, " passage"]:
    """Labels permuted inside each group, so that a crossed design stays crossed."""
    shuffled = labels.copy()
    for group in np.unique(groups):
        rows = np.flatnonzero(groups == group)
        shuffled[rows] = labels[random.permutation(rows)]
    return shuffled


def random_directions(
    residuals: Float[np.ndarray, "passage hidden"], count: int, random: np.random.Generator
) -> Float[np.ndarray, "count hidden"]:
    """Unit directions in the span of the activations: random mixtures of centred passage means.

    They have the covariance of real activations, unlike isotropic ones, which mostly point where no text does.
    """
    centred = residuals - residuals.mean(0)
    mixed = random.standard_normal((count, len(centred))) @ centred
    return np.asarray(mixed / np.linalg.norm(mixed, axis=1, keepdims=True))


def against(kind: str, estimate: float, draws: Sequence[float]) -> Null:
    """The null whose draws these are, with the one-sided p-value of an estimate that is claimed large.

    An estimate that could not be computed gets p = 1, and so does any where no draw could be.
    """
    values = np.asarray(draws, float)
    values = values[np.isfinite(values)]
    if not len(values):
        return Null(kind, 0, float("nan"), float("nan"), 1.0)
    extreme = np.sum(values >= estimate) if np.isfinite(estimate) else len(values)
    p = (1 + extreme) / (1 + len(values))
    return Null(kind, len(values), float(values.mean()), float(np.quantile(values, 0.99)), float(p))


def harder(first: Null, second: Null) -> tuple[Null, Null]:
    """Two nulls of one claim, the one that is harder to beat first: the verdict is taken against that."""
    return (first, second) if (first.p, first.upper) >= (second.p, second.upper) else (second, first)


def beside(other: Null) -> str:
    """A note on the null that the verdict is not taken against."""
    return (
        f"The verdict is taken against the harder of two nulls; the other, {other.kind}, has mean {other.mean:.2f}, "
        f"99 % below {other.upper:.2f}, p = {other.p:.4f}."
    )


def dealt_out(table: Float[np.ndarray, "direction word"], random: np.random.Generator, draws: int) -> list[float]:
    """Mean effect on their word of directions dealt out to the words at random, each word its own draw."""
    words = np.arange(table.shape[1])
    return [float(table[random.integers(0, len(table), len(words)), words].mean()) for _ in range(draws)]


def shuffled_over(table: Float[np.ndarray, "emotion word"], random: np.random.Generator, draws: int) -> list[float]:
    """The same when the emotions' own vectors are shuffled, which keeps them as alike as they are."""
    words = np.arange(len(table))
    return [float(table[random.permutation(words), words].mean()) for _ in range(draws)]


def corrected_p(p: Sequence[float]) -> list[float]:
    """p-values of one family corrected together (Benjamini-Hochberg); NaN stays NaN."""
    values = np.asarray(p, float)
    known = np.isfinite(values)
    if known.any():
        values[known] = false_discovery_control(values[known])
    return [float(value) for value in values]


def correlation(x: Float[np.ndarray, " item"], y: Float[np.ndarray, " item"]) -> float:
    """Pearson's r; NaN where one side does not vary."""
    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    return float(np.corrcoef(x, y)[0, 1])


def pairs_of(rows: Int[np.ndarray, " sample"]) -> tuple[np.ndarray, np.ndarray]:
    """Places of all pairs of a sample, without those of a row that was drawn twice with itself."""
    i, j = np.triu_indices(len(rows), 1)
    apart = rows[i] != rows[j]
    return i[apart], j[apart]


def bootstrap(
    count: int,
    statistic: Callable[[Int[np.ndarray, " sample"]], float],
    random: np.random.Generator,
    draws: int = 1000,
) -> tuple[float, float]:
    """95 % percentile interval of a statistic of `count` units resampled with replacement."""
    values = np.array([statistic(random.integers(0, count, count)) for _ in range(draws)])
    values = values[np.isfinite(values)]
    if not len(values):
        return float("nan"), float("nan")
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)
