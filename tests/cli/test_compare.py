"""`foreshock compare` as a newcomer runs it: two models on disk, a page, a card; what cannot be compared is refused."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import torch

from foreshock.cli.compare import compare
from foreshock.cli.options import Dtype
from foreshock.errors import VectorsError, WrongModel
from foreshock.model.planted import EMOTIONS, Planted
from tests.cli.test_commands import run
from tests.exact_vectors import exact


@pytest.fixture(scope="module")
def tuned(plant: Planted, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The planted model with more of *desperate* in what every token starts with."""
    model = copy.deepcopy(plant.model.model)
    with torch.no_grad():
        model.model.embed_tokens.weight += 2.0 * torch.from_numpy(plant.directions[EMOTIONS.index("desperate")])
    folder = tmp_path_factory.mktemp("tuned")
    model.save_pretrained(folder)
    plant.model.tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def study(plant: Planted, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    exact(plant.model, plant.directions, [2]).save(folder / "vectors.safetensors")
    return folder


def test_a_page_a_card_and_pictures_are_left(study: Path, plant_folder: Path, tuned: Path, tmp_path: Path) -> None:
    out = tmp_path / "compared"
    done = run("compare", plant_folder, tuned, "--vectors", study, "--out", out, "--dtype", "float32", "--json")
    shown = json.loads(done.stdout)
    assert [finding["id"] for finding in shown["findings"]] == ["profile-neutral", "profile-challenging"]
    for finding in shown["findings"]:
        top = finding["table"][0]
        assert top["emotion"] == "desperate" and top["from"] <= top["effect"] <= top["to"] and top["shift"] > 1
    assert shown["manifest"]["prompts"] == {"neutral": 120, "challenging": 144}
    page = (out / "report.html").read_text()
    assert str(tuned) in page and 'id="chart-profile-neutral"' in page and "vegaEmbed" in page
    assert (out / "charts" / "profile-challenging.png").stat().st_size > 5000
    assert "profile before replies" in run("card", out).stdout.replace("\n", " ")


def test_another_shape_or_missing_vectors_are_one_sentence(
    plant: Planted, plant_folder: Path, tuned: Path, tmp_path: Path
) -> None:
    exact(plant.model, plant.directions[:, :64], [2]).save(tmp_path / "small.safetensors")
    given = (tmp_path / "out", False, 0, Dtype.float32)
    with pytest.raises(WrongModel, match="compare a model with its own fine-tunes"):
        compare(str(plant_folder), str(tuned), str(tmp_path / "small.safetensors"), *given)
    with pytest.raises(VectorsError, match="foreshock study"):
        compare(str(plant_folder), str(tuned), None, *given)
