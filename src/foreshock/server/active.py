"""Which emotions read highest of late: the mean over the newest readings, kept in memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from foreshock.monitor.following import Heard
from foreshock.monitor.store import Alarm

NEWEST = 2000
"""Passes that the mean goes over."""


class Active:
    """Sums of the newest passes' readings.

    Args:
        shown: place of the layer in `Heard.values` whose readings count.
    """

    def __init__(self, shown: int) -> None:
        self._shown = shown
        self._sums: deque[tuple[Float[np.ndarray, " emotion"], int]] = deque(maxlen=NEWEST)

    def take(self, event: Heard | Alarm) -> None:
        """Add the readings of words, not those of the chat template; called in the engine's thread."""
        if isinstance(event, Heard) and any(event.content):
            own = event.values[np.array(event.content), self._shown].astype(np.float32)
            own = own[np.isfinite(own).all(1)]
            self._sums.append((own.sum(0), len(own)))

    def highest(self, emotions: Sequence[str], most: int) -> list[tuple[str, float]]:
        """The emotions with the highest means, in standard deviations of the fitted passages; nothing before a reading."""
        sums = list(self._sums)
        tokens = sum(count for _, count in sums)
        if not tokens:
            return []
        means = np.sum([own for own, _ in sums], 0) / tokens
        return [(emotions[k], round(float(means[k]), 4)) for k in np.argsort(-means, kind="stable")[:most]]
