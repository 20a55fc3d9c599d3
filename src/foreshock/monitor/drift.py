"""Drift: does live traffic still look like the conversations that the thresholds came from?

Where it does not, the guarantee of `calibration` is void, whatever the alarms say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.stats import ks_2samp

from foreshock.monitor.calibration import Calibration

LEAST = 20
"""Live conversations below which nothing is said."""
LEVEL = 0.01


@dataclass(frozen=True, slots=True)
class Drift:
    """The rule whose scores differ most from the calibration's."""

    rule: str
    statistic: float
    """Largest distance between the two distributions of mean scores (Kolmogorov-Smirnov), from 0 to 1."""
    p: float
    """Corrected for the number of rules (Bonferroni); of this one look. Looking often makes false warnings likelier."""
    live: int
    """Live conversations that were compared."""

    @property
    def warned(self) -> bool:
        """Whether live traffic no longer looks like the calibration."""
        return self.p < LEVEL


def drift(calibration: Calibration, live: Sequence[Float[np.ndarray, " rule"]]) -> Drift | None:
    """Compare conversations' mean scores, rule by rule; None while there are fewer than 20.

    Seen are shifts and changes of spread in what the rules look at; other changes of the traffic stay unseen.
    """
    if len(live) < LEAST:
        return None
    now, rules = np.stack(list(live)), calibration.rules
    tests = [ks_2samp(calibration.means[:, k], now[:, k]) for k in range(len(rules))]
    worst = min(range(len(rules)), key=lambda k: tests[k].pvalue)
    p = min(1.0, len(rules) * float(tests[worst].pvalue))
    return Drift(rules[worst].name, float(tests[worst].statistic), p, len(live))
