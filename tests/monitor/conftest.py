"""The planted directions as vectors, and rules calibrated on conversations of fillers."""

from __future__ import annotations

import pytest

from foreshock.model.planted import Planted
from foreshock.monitor.calibration import Calibration, calibrate
from foreshock.readings import Readings, read
from foreshock.vectors import EmotionVectors
from tests.exact_vectors import exact
from tests.monitor.talking import RULES, talk


@pytest.fixture(scope="session")
def vectors(plant: Planted) -> EmotionVectors:
    return exact(plant.model, plant.directions, (1, 2))


@pytest.fixture(scope="session")
def benign(plant: Planted, vectors: EmotionVectors) -> list[Readings]:
    return list(read(plant.model, vectors, [talk(plant, seed) for seed in range(400)]))


@pytest.fixture(scope="session")
def calibration(plant: Planted, vectors: EmotionVectors, benign: list[Readings]) -> Calibration:
    return calibrate(RULES, benign[:200], 0.05, plant.model, vectors, roles=["assistant"])
