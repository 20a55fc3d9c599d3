"""Emotion vectors: estimated, saved, loaded, combined."""

from foreshock.vectors.direction import Direction
from foreshock.vectors.emotion_vectors import STRONGEST, EmotionVectors, Readout
from foreshock.vectors.estimation import Recipe

__all__ = ["STRONGEST", "Direction", "EmotionVectors", "Readout", "Recipe"]
