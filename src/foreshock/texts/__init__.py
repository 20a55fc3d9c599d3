"""What gets read: the built-in authored texts, and a user's own."""

from foreshock.texts.builtin import (
    activities,
    bindings,
    deflections,
    exchanges,
    negations,
    neutral_dialogues,
    propensity_items,
    scales,
    scenarios,
    stories,
)
from foreshock.texts.library import Library, builtin_library
from foreshock.texts.loading import load_passages
from foreshock.texts.schema import Dialogue, Passage, Turn

__all__ = [
    "Dialogue",
    "Library",
    "Passage",
    "Turn",
    "activities",
    "bindings",
    "builtin_library",
    "deflections",
    "exchanges",
    "load_passages",
    "negations",
    "neutral_dialogues",
    "propensity_items",
    "scales",
    "scenarios",
    "stories",
]
