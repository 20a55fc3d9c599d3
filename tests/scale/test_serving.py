"""Two replicas of the server on a real Ray, behind one address, asked by OpenAI's client."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from openai import OpenAI

from foreshock.errors import ScaleError
from foreshock.model.planted import Planted
from foreshock.monitor.calibration import Calibration
from foreshock.scale.cluster import Opening
from foreshock.server.recipe import Recipe
from foreshock.server.settings import Settings
from foreshock.vectors import EmotionVectors
from tests.monitor.conftest import benign, calibration, vectors  # noqa: F401

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # Ray Serve's own
KEY = "a-secret-of-many-letters"


@pytest.fixture(scope="module")
def address(
    plant_folder: Path,
    vectors: EmotionVectors,  # noqa: F811
    calibration: Calibration,  # noqa: F811
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[str]:
    from foreshock.scale.serving import served_on_ray  # Ray Serve warns of itself when imported

    folder = tmp_path_factory.mktemp("study")
    vectors.save(folder / "vectors.safetensors")
    calibration.save(folder / "rules.json")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = Settings(port=port, api_key=KEY, patience=5)
    recipe = Recipe(folder / "vectors.safetensors", settings, folder / "rules.json", rows=4, waiting=8, room=4096)
    opening = Opening(str(plant_folder), "float32", None)
    with served_on_ray(recipe, opening, count=2, num_cpus=2, object_store_memory=80_000_000) as replicas:
        assert replicas.count == 2 and replicas.each.num_cpus == 1
        yield f"http://127.0.0.1:{port}"


def test_replies_and_readings_come_through(address: str, plant: Planted) -> None:
    with OpenAI(base_url=f"{address}/v1", api_key=KEY, max_retries=0) as client:
        asked = {
            "model": "any",
            "messages": [{"role": "user", "content": "w1 w2 w3"}],
            "temperature": 0,
            "max_tokens": 12,
        }
        with ThreadPoolExecutor(8) as many:
            replies = list(many.map(lambda _: client.chat.completions.create(**asked), range(24)))
        texts = {reply.choices[0].message.content for reply in replies}
        assert len(texts) == 1  # whichever replica wrote it
        streamed = client.chat.completions.create(**asked, stream=True)
        assert "".join(chunk.choices[0].delta.content or "" for chunk in streamed if chunk.choices) in texts
        told = client.chat.completions.create(**asked, extra_body={"foreshock": {"readings": ["sad"]}})
        tokens = told.choices[0].model_dump()["foreshock"]["tokens"]
        assert len(tokens) >= 12 and all(set(token["readings"]) == {"sad"} for token in tokens)


def test_both_replicas_answer_and_keep_their_own_counts(address: str) -> None:
    headers = {"Authorization": f"Bearer {KEY}"}
    counts = {httpx.get(f"{address}/metrics", headers=headers).text for _ in range(30)}
    # Seconds spent on requests, which no two engines have alike.
    spent = {line for text in counts for line in text.splitlines() if line.startswith("foreshock_request_seconds_sum")}
    assert len(spent) == 2


def test_the_key_is_asked_for(address: str) -> None:
    assert httpx.get(f"{address}/v1/models").status_code == 401


def test_a_sqlite_file_is_refused(tmp_path: Path) -> None:
    from foreshock.scale.serving import served_on_ray

    recipe = Recipe(tmp_path / "v", Settings(), store=str(tmp_path / "c.db"))
    with pytest.raises(ScaleError, match="SQLite"), served_on_ray(recipe, Opening(None, "auto", None), count=2):
        pass


def test_an_address_of_its_own_is_not_to_be_had_where_serve_runs(address: str, tmp_path: Path) -> None:
    from foreshock.scale import serving

    port = int(address.rsplit(":", 1)[1])
    with pytest.raises(ScaleError, match=f"listens at 127.0.0.1 port {port} for all"):
        serving._serve_of_others("127.0.0.1", port + 1)
    with pytest.raises(ScaleError, match="'foreshock' answers at /"):
        serving._serve_of_others("127.0.0.1", port)
