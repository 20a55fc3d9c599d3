"""From an alarm's rule to a guard that counters what the rule watches."""

from __future__ import annotations

from collections.abc import Mapping

from foreshock.guard import Guard
from foreshock.monitor.calibration import Calibration
from foreshock.monitor.rules import Level
from foreshock.vectors import EmotionVectors

LET_GO = 0.5
"""The guard lets go once the score stands at this share of the rule's threshold above the benign mean."""


def guard_for(
    calibration: Calibration, vectors: EmotionVectors, counter: Mapping[str, float], most: float = 0.2, rule: int = 0
) -> Guard:
    """A guard that acts above the threshold of one of the rules, said in readings, and reads where the rule does.

    Thresholds of detectors other than `Level` are no levels of a score; for these the guard acts two standard
    deviations of benign tokens above their mean.

    Args:
        counter: emotion → strength of one step, in mean residual norms.
        most: the largest strength in all.

    Raises:
        SteeringError, UnknownEmotion: see `Guard`.
    """
    watched = calibration.rules[rule]
    score, detector = watched.score, watched.detector
    limit = calibration.thresholds[rule] if isinstance(detector, Level) else 2.0
    size = sum(abs(weight) for weight in score.weights.values())
    above = (score.mean + limit * score.spread) / size
    below = (score.mean + min(limit, LET_GO * limit) * score.spread) / size
    window = detector.window if isinstance(detector, Level) else 8
    return Guard(vectors, score.weights, above, below, counter, most, window, read_at=calibration.layer)
