"""A server of Foreshock's beside another application, on a Ray and a Ray Serve that are somebody else's."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import ray

from foreshock.vectors import EmotionVectors
from tests.monitor.conftest import vectors  # noqa: F401

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # Ray Serve's own

SERVER = """
import sys
from pathlib import Path
import httpx
from foreshock.scale.cluster import Opening
from foreshock.scale.serving import served_on_ray
from foreshock.server.recipe import Recipe
from foreshock.server.settings import Settings
kept, model, address, port, *others = sys.argv[1:]
recipe = Recipe(Path(kept), Settings(port=int(port), patience=5), rows=2, waiting=2, room=1024)
with served_on_ray(recipe, Opening(model, "float32", None), address, 1):
    print(httpx.get(f"http://127.0.0.1:{port}/v1/models").json()["object"], httpx.get(f"http://127.0.0.1:{port}/other").text)
"""


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Of another's Ray Serve, on the Ray that this process starts."""
    from ray import serve

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    ray.init(num_cpus=1, include_dashboard=False, object_store_memory=80_000_000, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": port})

    @serve.deployment(ray_actor_options={"num_cpus": 0})
    class Other:
        def __call__(self, _request: object) -> str:
            return "another's"

    serve.run(Other.bind(), name="other", route_prefix="/other")
    yield port
    serve.shutdown()
    ray.shutdown()


def served(plant_folder: Path, kept: Path, port: int) -> subprocess.CompletedProcess[str]:
    address = ray.get_runtime_context().gcs_address
    command = [sys.executable, "-W", "ignore", "-c", SERVER, str(kept), str(plant_folder), address, str(port)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_others_application_answers_before_and_after(
    port: int,
    plant_folder: Path,
    vectors: EmotionVectors,  # noqa: F811
    tmp_path: Path,
) -> None:
    from ray import serve

    vectors.save(tmp_path / "vectors.safetensors")
    done = served(plant_folder, tmp_path / "vectors.safetensors", port)
    assert done.stdout == "list another's\n", done.stderr
    assert list(serve.status().applications) == ["other"]
    assert httpx.get(f"http://127.0.0.1:{port}/other").text == "another's"


def test_another_port_is_refused_with_what_to_give(port: int, plant_folder: Path, tmp_path: Path) -> None:
    done = served(plant_folder, tmp_path / "none", port + 1)
    assert f"ScaleError: Ray Serve runs on this cluster already and listens at 127.0.0.1 port {port}" in done.stderr
    assert httpx.get(f"http://127.0.0.1:{port}/other").text == "another's"


def test_a_replica_that_does_not_start_is_told_of_and_taken_away(port: int, tmp_path: Path) -> None:
    from ray import serve

    done = served(tmp_path / "nowhere", tmp_path / "none", port)
    assert "ScaleError: The replicas did not start: foreshock.errors.ModelError: There is no model at" in done.stderr
    assert list(serve.status().applications) == ["other"]
