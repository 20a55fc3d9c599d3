"""Readings as colours in a terminal."""

from __future__ import annotations

FULL = 6.0
"""The reading, in standard deviations, at which a tint is strongest."""


def tint(value: float) -> str:
    """A rich style: warm for readings above the average passage, cool for those below."""
    strength = min(1.0, abs(value) / FULL)
    warm = (255, int(255 - 120 * strength), int(255 - 200 * strength))
    cool = (int(255 - 170 * strength), int(255 - 90 * strength), 255)
    red, green, blue = warm if value >= 0 else cool
    return f"black on rgb({red},{green},{blue})"
