"""Foreshock: find a language model's emotion vectors, prove what they do, watch them while it runs.

    import foreshock
    model = foreshock.open_model()
    vectors = foreshock.EmotionVectors.load("study/vectors.safetensors")
    for readings in foreshock.read(model, vectors, [model.encode("I can't find her anywhere.")]):
        print(readings.top())

Importing this loads neither torch nor transformers; the names below are fetched when first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from foreshock.emotions import Emotion, catalogue
    from foreshock.errors import ForeshockError
    from foreshock.guard import Guard
    from foreshock.model import LanguageModel, open_model
    from foreshock.monitor.calibration import Calibration, calibrate
    from foreshock.monitor.monitor import Monitor
    from foreshock.monitor.rules import Rule
    from foreshock.monitor.scores import Score
    from foreshock.readings import Readings, read
    from foreshock.steering import Steering
    from foreshock.study.running import Study, run_study
    from foreshock.texts import Dialogue, Passage, load_passages, neutral_dialogues, stories
    from foreshock.vectors import Direction, EmotionVectors, Recipe

_HOME = {
    "Emotion": "foreshock.emotions",
    "catalogue": "foreshock.emotions",
    "ForeshockError": "foreshock.errors",
    "Guard": "foreshock.guard",
    "LanguageModel": "foreshock.model",
    "open_model": "foreshock.model",
    "Calibration": "foreshock.monitor.calibration",
    "calibrate": "foreshock.monitor.calibration",
    "Monitor": "foreshock.monitor.monitor",
    "Rule": "foreshock.monitor.rules",
    "Score": "foreshock.monitor.scores",
    "Readings": "foreshock.readings",
    "read": "foreshock.readings",
    "Steering": "foreshock.steering",
    "Study": "foreshock.study.running",
    "run_study": "foreshock.study.running",
    "Dialogue": "foreshock.texts",
    "Passage": "foreshock.texts",
    "load_passages": "foreshock.texts",
    "neutral_dialogues": "foreshock.texts",
    "stories": "foreshock.texts",
    "Direction": "foreshock.vectors",
    "EmotionVectors": "foreshock.vectors",
    "Recipe": "foreshock.vectors",
}
__all__ = [
    "Calibration",
    "Dialogue",
    "Direction",
    "Emotion",
    "EmotionVectors",
    "ForeshockError",
    "Guard",
    "LanguageModel",
    "Monitor",
    "Passage",
    "Readings",
    "Recipe",
    "Rule",
    "Score",
    "Steering",
    "Study",
    "calibrate",
    "catalogue",
    "load_passages",
    "neutral_dialogues",
    "open_model",
    "read",
    "run_study",
    "stories",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'foreshock' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
