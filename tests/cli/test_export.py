"""`foreshock export` as a newcomer runs it: one file a format, one sentence for every mistake."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from foreshock.cli.export import Format, export
from foreshock.errors import ForeshockError
from foreshock.interop import gguf, npz, repeng, vllm_lens
from foreshock.model.planted import Planted
from tests.cli.test_commands import run
from tests.exact_vectors import exact

FORMATS = {"gguf": gguf, "vllm-lens": vllm_lens, "repeng": repeng, "npz": npz}


@pytest.fixture(scope="module")
def study(plant: Planted, tmp_path_factory: pytest.TempPathFactory) -> Path:
    vectors = exact(
        plant.model, plant.directions, range(4), norms=[2.0, 3.0, 4.0, 5.0], steering_layer=2, usable_strength=0.4
    )
    folder = tmp_path_factory.mktemp("study")
    vectors.save(folder / "vectors.safetensors")
    return folder  # fmt: skip


def test_a_file_holds_the_strength_asked_for(study: Path, plant: Planted, tmp_path: Path) -> None:
    done = run("export", study, "sad=0.5", "calm=-0.25", "--to", "gguf", "--out", tmp_path / "v", "--layers", "1,3")
    assert "sad 0.5, calm -0.25 after layer 1, 3" in done.stdout and "--control-vector" in done.stdout
    read = gguf.load(tmp_path / "v")
    assert read.layers == (1, 3)
    wanted = 0.5 * plant.directions[4] - 0.25 * plant.directions[1]
    assert np.allclose(read.values, [3.0 * wanted, 5.0 * wanted], atol=1e-6)


@pytest.mark.parametrize("form", FORMATS)
def test_left_out_are_the_measured_layer_and_strength(form: str, study: Path, plant: Planted, tmp_path: Path) -> None:
    export(str(study), ["sad"], Format(form), tmp_path / "v")
    read = FORMATS[form].load(tmp_path / "v")
    assert read.layers == (2,) and np.allclose(read.values[0], 0.4 * 4.0 * plant.directions[4], atol=1e-6)


def test_a_layer_given_twice_is_one(study: Path, tmp_path: Path) -> None:
    export(str(study), ["sad=0.1"], Format.gguf, tmp_path / "v", "3,3,1-3")
    assert gguf.load(tmp_path / "v").layers == (1, 2, 3)


@pytest.mark.parametrize(
    ("doses", "layers", "said"),
    [(["sad"], "0", "layers from 1 on"), (["sad", "sad=0.1"], None, "given twice"), (["sad=much"], None, "cannot be read")],
)  # fmt: skip
def test_mistakes_are_said_in_one_sentence(
    doses: list[str], layers: str | None, said: str, study: Path, tmp_path: Path
) -> None:
    with pytest.raises(ForeshockError, match=said):
        export(str(study), doses, Format.gguf, tmp_path / "v", layers)
    assert not (tmp_path / "v").exists()
