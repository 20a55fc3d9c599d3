"""Do two places of a message say the same about emotions? A comparison that noise cannot decide.

Readings at two tokens differ for many reasons that are no emotion: which word stands there, and the noise of the
vectors. So only that counts which comes back: in another message of the same emotion, read with vectors that were
fitted on other topics. What comes back at one place is its reliability, what comes back from one place to the other
is what they share, and the second over the first is a correlation freed of noise (Spearman's correction).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from foreshock.study.crossval import fitted_on, split_topics
from foreshock.study.measures.readout import standardised
from foreshock.study.nulls import bootstrap
from foreshock.study.subject import Subject

LEAST_KEPT = 1e-4
"""A place's reliability below which it counts as silent."""
MOST_SILENT = 0.05
"""Share of resamples in which a place may be silent before the interval is given up."""
UNKNOWN = (-1.0, 2.0)
"""The interval of a gap that nothing is known about."""
Residuals = Float[np.ndarray, "message hidden"]
Readings = Float[np.ndarray, "message column"]
Pairs = Float[np.ndarray, "message message"]
Halves = list[tuple[Float[np.ndarray, "emotion hidden"], Float[np.ndarray, "emotion hidden"]]]


def halves(subject: Subject, layer: int, splits: int, random: np.random.Generator) -> Halves:
    """Unit directions after a layer from a random half of the topics and from the other half, `splits` times."""
    rows = [split_topics(subject, random) for _ in range(splits)]
    return [(fitted_on(subject, layer, half), fitted_on(subject, layer, ~half)) for half in rows]


@dataclass(frozen=True, slots=True)
class Compared:
    """Products of readings over pairs of messages of one emotion, as sums and differences of the two places.

    For places x and y: `total` of (x + y)(x + y)', `apart` of (x - y)(x - y)', `tilt` of the mixed products.
    Swapping the places of a message turns the sign of its difference and leaves its sum, so that each swap costs no
    more than a sign.
    """

    total: Pairs
    apart: Pairs
    tilt: Float[np.ndarray, " message"]
    pairs: float
    """How many products each sum is over."""

    @property
    def kept(self) -> tuple[float, float]:
        """Reliability at either place: correlation between messages of one emotion."""
        total, apart, tilt = self.total.sum(), self.apart.sum(), self.tilt.sum()
        return float((total + tilt + apart) / self.pairs / 4), float((total - tilt + apart) / self.pairs / 4)

    @property
    def crossed(self) -> float:
        """Correlation from one place to the other, between messages of one emotion."""
        return float((self.total.sum() - self.apart.sum()) / self.pairs / 4)

    @property
    def silent(self) -> bool:
        """Whether one of the places says nothing that comes back, so that there is nothing to compare."""
        return min(self.kept) <= LEAST_KEPT

    def gap(self) -> float:
        """1 - the corrected correlation of the places; 0 where one of them is silent: no difference is shown."""
        return float(self._gap(self.total.sum(), self.apart.sum(), self.tilt.sum()))

    def swapped(self, draws: int, random: np.random.Generator) -> list[float]:
        """The gap with the two places of each message swapped or not at random: both then carry the same."""
        signs = random.choice([-1.0, 1.0], (draws, len(self.tilt)))
        apart = ((signs @ self.apart) * signs).sum(1)
        return [float(gap) for gap in self._gap(self.total.sum(), apart, signs @ self.tilt)]

    def interval(self, labels: Int[np.ndarray, " message"], random: np.random.Generator) -> tuple[float, float]:
        """95 % interval over emotions; `UNKNOWN` where a place is silent in too many resamples."""
        count = int(labels.max()) + 1
        parts = [np.bincount(labels, part, count) for part in (self.total.sum(1), self.apart.sum(1), self.tilt)]
        gaps: list[float] = []

        def gap(picked: np.ndarray) -> float:
            gaps.append(float(self._gap(*(part[picked].sum() for part in parts))))
            return gaps[-1]

        found = bootstrap(count, gap, random)
        return UNKNOWN if gaps.count(0.0) > MOST_SILENT * len(gaps) else found

    def _gap(self, total: np.ndarray, apart: np.ndarray, tilt: np.ndarray) -> np.ndarray:
        least = 4 * self.pairs * LEAST_KEPT
        first, second = total + apart + tilt, total + apart - tilt
        both = np.where((first > least) & (second > least), first * second, np.nan)
        return np.nan_to_num(1 - (total - apart) / np.sqrt(both))


def compared(x: Residuals, y: Residuals, directions: Halves, same: Bool[np.ndarray, "message message"]) -> Compared:
    """The two places' residuals read with pairs of directions, over the pairs of messages in `same`.

    Each message of a pair is read with the other half's directions.
    """
    total = apart = np.zeros(same.shape)
    tilt = np.zeros(len(same))
    for first, second in directions:
        a, b = (_places(x, y, half) for half in (first, second))
        total = total + (a[0] @ b[0].T) * same
        apart = apart + (a[1] @ b[1].T) * same
        tilt = tilt + ((a[1] @ b[0].T) * same).sum(1) + ((a[0] @ b[1].T) * same).sum(0)
    pairs = float(same.sum()) * sum(len(first) for first, _ in directions)
    return Compared(total, apart, tilt, pairs)


def crosswise(x: Residuals, y: Residuals, directions: Halves) -> tuple[Readings, Readings]:
    """Readings of both, side by side for each halving: x with the first half's directions and y with the second's,
    and the other way round. Directions that are noise then have nothing in common."""
    pairs = [pair for first, second in directions for pair in ((first, second), (second, first))]
    return (
        np.concatenate([np.asarray(x @ first.T, np.float64) for first, _ in pairs], 1),
        np.concatenate([np.asarray(y @ second.T, np.float64) for _, second in pairs], 1),
    )


def _places(x: Residuals, y: Residuals, directions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sum and difference of the standardised readings at the two places."""
    at_x, at_y = (standardised(np.asarray(place @ directions.T, np.float64)) for place in (x, y))
    return at_x + at_y, at_x - at_y
