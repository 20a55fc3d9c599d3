"""Emotion vectors: estimated, saved, loaded, combined."""

from foreshock.vectors.direction import Direction
from foreshock.vectors.emotion_vectors import EmotionVectors, Readout
from foreshock.vectors.estimation import Recipe

__all__ = ["Direction", "EmotionVectors", "Readout", "Recipe"]
