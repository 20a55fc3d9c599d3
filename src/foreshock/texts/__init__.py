"""What gets read: the built-in authored texts, and a user's own."""

from foreshock.texts.builtin import neutral_dialogues, stories
from foreshock.texts.loading import load_passages
from foreshock.texts.schema import Dialogue, Passage, Turn

__all__ = ["Dialogue", "Passage", "Turn", "load_passages", "neutral_dialogues", "stories"]
