"""What gets read: the built-in authored texts, and a user's own."""

from foreshock.texts.builtin import (
    activities,
    benign_conversations,
    bindings,
    blackmail_cases,
    coding_tasks,
    deflections,
    exchanges,
    graded_replies,
    negations,
    neutral_dialogues,
    propensity_items,
    rollout_prompts,
    scales,
    scenarios,
    stories,
    warning_pairs,
)
from foreshock.texts.library import Library, builtin_library
from foreshock.texts.loading import load_passages, load_propensity_items
from foreshock.texts.schema import Dialogue, Passage, Turn

__all__ = [
    "Dialogue",
    "Library",
    "Passage",
    "Turn",
    "activities",
    "benign_conversations",
    "bindings",
    "blackmail_cases",
    "builtin_library",
    "coding_tasks",
    "deflections",
    "exchanges",
    "graded_replies",
    "load_passages",
    "load_propensity_items",
    "negations",
    "neutral_dialogues",
    "propensity_items",
    "rollout_prompts",
    "scales",
    "scenarios",
    "stories",
    "warning_pairs",
]
