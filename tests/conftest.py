"""Real parts: the embedded model, tiny random models, the planted one. No network."""

from __future__ import annotations

import os

os.environ.update(HF_HUB_OFFLINE="1", TQDM_DISABLE="1", TRANSFORMERS_VERBOSITY="error", TOKENIZERS_PARALLELISM="false")

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from foreshock.model import LanguageModel, open_model
from foreshock.model.planted import Planted, planted

settings.register_profile(
    "foreshock", deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
settings.load_profile("foreshock")


@pytest.fixture(scope="session")
def embedded() -> LanguageModel:
    return open_model()


@pytest.fixture(scope="session")
def plant() -> Planted:
    return planted()


@pytest.fixture(scope="session")
def plant_folder(plant: Planted, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The planted model on disk, as a user's local folder."""
    folder = tmp_path_factory.mktemp("planted")
    plant.model.model.save_pretrained(folder)
    plant.model.tokenizer.save_pretrained(folder)
    return folder
