"""The planted directions as vectors, and rules calibrated on conversations of fillers."""

from __future__ import annotations

import numpy as np
import pytest

from foreshock.model.planted import EMOTIONS, Planted
from foreshock.monitor.calibration import Calibration, calibrate
from foreshock.readings import Readings, read
from foreshock.vectors import EmotionVectors
from tests.monitor.talking import RULES, talk


@pytest.fixture(scope="session")
def vectors(plant: Planted) -> EmotionVectors:
    count, hidden = plant.directions.shape
    return EmotionVectors(
        emotions=EMOTIONS,
        layers=(1, 2),
        directions=np.stack([plant.directions] * 2),
        mean=np.zeros((2, hidden), np.float32),
        spread=np.ones((2, count), np.float32),
        residual_norm=np.ones(2, np.float32),
        neutral=(np.zeros((0, hidden), np.float32),) * 2,
        reading_layer=2,
        manifest={"model": {"fingerprint": plant.model.fingerprint}},
    )


@pytest.fixture(scope="session")
def benign(plant: Planted, vectors: EmotionVectors) -> list[Readings]:
    return list(read(plant.model, vectors, [talk(plant, seed) for seed in range(400)]))


@pytest.fixture(scope="session")
def calibration(plant: Planted, vectors: EmotionVectors, benign: list[Readings]) -> Calibration:
    return calibrate(RULES, benign[:200], 0.05, plant.model, vectors, roles=["assistant"])
