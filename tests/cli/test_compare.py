"""`foreshock compare` as a newcomer runs it: two models on disk, a page, a card; what cannot be compared is refused."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path

import pytest
import torch

from foreshock.cli.compare import compare
from foreshock.cli.options import Dtype
from foreshock.errors import ModelError, VectorsError, WrongModel
from foreshock.model.planted import EMOTIONS, Planted
from tests.cli.test_commands import run
from tests.exact_vectors import exact


@pytest.fixture(scope="module")
def tuned(plant: Planted, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The planted model with more of *desperate* in what every token starts with."""
    model = copy.deepcopy(plant.model.model)
    with torch.no_grad():
        model.model.embed_tokens.weight += 2.0 * torch.from_numpy(plant.directions[EMOTIONS.index("desperate")])
    folder = tmp_path_factory.mktemp("runs") / "desperate" / "checkpoint-200"
    model.save_pretrained(folder)
    plant.model.tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def study(plant: Planted, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    exact(plant.model, plant.directions, [2]).save(folder / "vectors.safetensors")
    return folder


def test_a_page_a_card_and_pictures_are_left(study: Path, plant_folder: Path, tuned: Path, tmp_path: Path) -> None:
    done = run("compare", plant_folder, tuned, "--vectors", study, "--dtype", "float32", "--json", cwd=tmp_path)
    out = tmp_path / "compare" / f"{plant_folder.name}-desperate-checkpoint-200"
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
    assert not (tmp_path / "out").exists()


def test_what_is_wrong_with_the_second_is_said_before_the_first_is_read(
    plant_folder: Path, tuned: Path, study: Path, tmp_path: Path
) -> None:
    (tmp_path / "damaged.gguf").write_bytes(b"GGUF and no more")
    bare = shutil.copytree(tuned, tmp_path / "bare", ignore=shutil.ignore_patterns("tokenizer*"))
    given = (str(study), tmp_path / "out", False, 0, Dtype.float32)
    for second, said in {
        "none.gguf": "no file",
        "damaged.gguf": "GGUF",
        "bare": "no tokenizer",
        "none": "model at",
    }.items():
        with pytest.raises(ModelError, match=said):
            compare(str(tmp_path / "first is not there"), str(bare.parent / second), *given)
    turned = shutil.copytree(tuned, tmp_path / "turned")
    tokens = json.loads((turned / "tokenizer.json").read_text())
    words = tokens["model"]["vocab"]
    tokens["model"]["vocab"] = dict(zip(words, [*list(words.values())[1:], 0], strict=True))
    (turned / "tokenizer.json").write_text(json.dumps(tokens))
    with pytest.raises(WrongModel, match="another tokenizer"):
        compare(str(plant_folder), str(turned), *given)
    assert not (tmp_path / "out").exists()


def test_only_vectors_of_the_first_are_taken_unasked(
    plant_folder: Path, tuned: Path, study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(study, Path("study") / "desperate-checkpoint-200")
    with pytest.raises(WrongModel, match="other weights; say with --vectors"):
        compare(str(tuned), str(plant_folder), None, None, False, 0, Dtype.float32)
    assert not Path("compare").exists()
