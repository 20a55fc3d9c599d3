"""Does the promised false-alarm rate hold on benign conversations that the thresholds do not come from?"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from scipy.stats import binomtest

from foreshock.monitor.alarms import scan
from foreshock.monitor.calibration import Calibration
from foreshock.readings import Readings

LEVEL = 0.01


@dataclass(frozen=True, slots=True)
class Observed:
    """How many of some benign conversations raised any alarm."""

    alarmed: int
    conversations: int
    alpha: float
    """The rate that the calibration promises at most."""

    @property
    def rate(self) -> float:
        """Share of the conversations."""
        return self.alarmed / self.conversations

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the rate (Clopper and Pearson 1934)."""
        found = binomtest(self.alarmed, self.conversations).proportion_ci(0.95)
        return float(found.low), float(found.high)

    @property
    def p(self) -> float:
        """Probability of as many alarms or more if every conversation raised one with probability alpha.

        One calibration's own rate scatters around its bound (see `calibration`), so with many conversations to check
        on and few to calibrate on, this is small more often than its level says.
        """
        return float(binomtest(self.alarmed, self.conversations, self.alpha, alternative="greater").pvalue)

    @property
    def kept(self) -> bool:
        """Whether the observed rate is one that the promise allows for, at the level of 1 %."""
        return self.p >= LEVEL


def check(calibration: Calibration, benign: Iterable[Readings]) -> Observed | None:
    """Count alarms in benign conversations that were not calibrated on; None where there are none."""
    alarmed = [bool(scan(readings, calibration)) for readings in benign]
    return Observed(sum(alarmed), len(alarmed), calibration.alpha) if alarmed else None
