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

    An estimate that could not be computed gets p = 1.
    """
    values = np.asarray(draws, float)
    values = values[np.isfinite(values)]
    extreme = np.sum(values >= estimate) if np.isfinite(estimate) else len(values)
    p = (1 + extreme) / (1 + len(values))
    return Null(kind, len(values), float(values.mean()), float(np.quantile(values, 0.99)), float(p))


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


def bootstrap(
    count: int,
    statistic: Callable[[Int[np.ndarray, " sample"]], float],
    random: np.random.Generator,
    draws: int = 1000,
) -> tuple[float, float]:
    """95 % percentile interval of a statistic of `count` units resampled with replacement."""
    values = [statistic(random.integers(0, count, count)) for _ in range(draws)]
    low, high = np.nanquantile(values, [0.025, 0.975])
    return float(low), float(high)
