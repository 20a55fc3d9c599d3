"""A server of the planted model, with rules and a store, for the tests of a module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from openai import OpenAI

from foreshock.model.planted import Planted
from foreshock.monitor.calibration import Calibration
from foreshock.monitor.store import Store
from foreshock.server.settings import Served
from foreshock.vectors import EmotionVectors
from tests.monitor.conftest import benign, calibration, vectors  # noqa: F401


@pytest.fixture(scope="module")
def served(
    plant: Planted,
    vectors: EmotionVectors,  # noqa: F811
    calibration: Calibration,  # noqa: F811
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Served]:
    from tests.server.serving import made

    with Store.open(tmp_path_factory.mktemp("store") / "conversations.db") as store:
        yield made(plant.model, vectors, calibration, store)


@pytest.fixture(scope="module")
def address(served: Served) -> Iterator[str]:
    from tests.server.serving import serving

    with serving(served) as address:
        yield address


@pytest.fixture(scope="module")
def client(address: str) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as client:
        yield client


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests talk otherwise than the calibration did, and a warning of that is an error here, in the engine's thread."""
    for item in items:
        if "server" in item.path.parts:
            item.add_marker(pytest.mark.filterwarnings("ignore::foreshock.monitor.monitor.DriftWarning"))
