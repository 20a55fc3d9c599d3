"""`foreshock steer` as a newcomer runs it: real processes, one row a strength, one sentence for every mistake."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from foreshock.cli.options import found_vectors
from foreshock.cli.steer import _show, _sweep
from foreshock.errors import VectorsError
from foreshock.model.planted import EMOTIONS, Planted
from foreshock.side_by_side import Told
from foreshock.steering import Steering
from foreshock.vectors import EmotionVectors
from tests.cli.test_commands import run

MESSAGE = "w1 w2 w3 w4 w5 w6"


@pytest.fixture(scope="module")
def study(plant: Planted, plant_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study's folder with the planted directions for vectors."""
    count, hidden = plant.directions.shape
    vectors = EmotionVectors(
        emotions=EMOTIONS,
        layers=(1, 2),
        directions=np.stack([plant.directions] * 2),
        mean=np.zeros((2, hidden), np.float32),
        spread=np.ones((2, count), np.float32),
        residual_norm=np.full(2, 2.0, np.float32),
        neutral=(np.zeros((0, hidden), np.float32),) * 2,
        reading_layer=2,
        steering_layer=1,
        usable_strength=0.5,
        manifest={"model": {"name": str(plant_folder), "fingerprint": plant.model.fingerprint}},
    )
    folder = tmp_path_factory.mktemp("study")
    vectors.save(folder / "vectors.safetensors")
    other = {"model": {"name": str(plant_folder), "fingerprint": "0" * 16}}
    replace(vectors, manifest=other).save(folder / "other.safetensors")
    return folder


def test_json_has_an_object_for_each_strength_the_unsteered_one_among_them(study: Path) -> None:
    done = run("steer", study, MESSAGE, "--set", "calm=0.1", "--sweep", "-1.5:1.5:2", "--most", 8, "--json", "--dtype", "float32")  # fmt: skip
    rows = json.loads(done.stdout)
    assert [row["strength"] for row in rows] == [-1.5, 0, 1.5]
    assert [row["doses"] for row in rows] == [{"calm": -1.5}, {"calm": 0}, {"calm": 1.5}]
    assert "calm" in rows[2]["text"] and "calm" not in rows[1]["text"]
    assert rows[1]["loss"] <= rows[2]["loss"] and set(rows[0]["readings"]) == {"calm"}
    assert [row["beyond_range"] for row in rows] == [True, False, True]
    assert done.stderr.count("\n") == 1 and "Warning: Strength 1.5 is beyond 0.5" in done.stderr


def test_the_table_has_a_row_a_strength_and_standard_input_is_read(study: Path) -> None:
    done = run("steer", study / "vectors.safetensors", "-", "--set", "proud=0.2", "--set", "sad=-0.4", "--span", "reply",
               "--layers", "1,2", "--most", 4, "--dtype", "float32", stdin=MESSAGE)  # fmt: skip
    head, *rows = [line for line in done.stdout.splitlines() if line.strip()]
    assert head.split() == ["strength", "loss", "proud", "sad", "reply"]
    assert [row.split()[0] for row in rows[:2]] == ["0", "+0.4"]
    assert "after layer 1, 2" in done.stdout and not done.stderr


def test_characters_of_the_prompt_are_steered(study: Path) -> None:
    def texts(*span: str) -> list[str]:
        done = run("steer", study, MESSAGE, "--set", "calm=40", "--most", 6, "--json", "--dtype", "float32", *span)
        return [row["text"] for row in json.loads(done.stdout)]

    # the message's own words are the tokens 1 … 6, after the role's mark
    some, same, other = texts("--characters", "0:5"), texts("--span", "1:3"), texts("--span", "reply")
    assert some == same and some[0] == other[0] and some[1] != other[1] and some[1] != some[0]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["hi", "--set", "clam=0.1"], "did you mean calm"),
        (["hi", "--set", "brooding=0.1"], "These vectors have no 'brooding'"),
        (["hi", "--set", "calm=0.1", "--set", "calm=0.2"], "given twice"),
        (["hi", "--set", "calm=0.1", "--layers", "1-0"], "write numbers and ranges"),
        (["hi", "--set", "calm"], "--set 'calm' cannot be read"),
        (["hi", "--set", "calm=much"], "--set 'calm=much' cannot be read"),
        (["hi", "--set", "calm=nan"], "--set 'calm=nan' cannot be read"),
        (["hi", "--set", "calm=0.1", "--sweep", "0:1"], "--sweep '0:1' cannot be read"),
        (["hi", "--set", "calm=0.1", "--sweep", "0.2:0.1:3"], "low:high:count"),
        (["hi", "--set", "calm=0.1", "--sweep", "0:1:999"], "2 to 64"),
        (["hi", "--set", "calm=0", "--set", "sad=0", "--sweep", "0:1:3"], "All strengths given with --set are 0"),
        (["hi", "--set", "calm=0.1", "--layers", "7"], "no layer 7"),
        (["hi", "--set", "calm=0.1", "--span", "answer"], "--span 'answer' cannot be read"),
        (["hi", "--set", "calm=0.1", "--characters", "2:1"], "--characters '2:1' cannot be read"),
        (["hi", "--set", "calm=0.1", "--characters", "0:1", "--span", "reply"], "give one of them"),
        (["hi", "--set", "calm=0.1", "--characters", "1:9"], "outside of a prompt of 2"),
        (["hi", "--set", "calm=0.1", "--temperature", "inf"], "cannot be sampled with"),
        ([" ", "--set", "calm=0.1"], "The prompt is empty"),
        (["w1 " * 600, "--set", "calm=0.1"], "longer than the 512"),
        (["w1", "--set", "calm=0.1", "--most", "600"], "a reply of up to 600"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_2(study: Path, args: list[str], said: str) -> None:
    done = run("steer", study, *args, code=2)
    assert said in done.stderr and done.stderr.startswith("Error: ") and not done.stdout


def test_wrong_models_and_missing_studies_are_said(study: Path, tmp_path: Path) -> None:
    assert "were made on" in run("steer", study / "other.safetensors", "hi", "--set", "calm=0.1", code=2).stderr
    missing = run("steer", "some/model-1B", "hi", "--set", "calm=0.1", code=2, cwd=tmp_path)
    assert "run `foreshock study some/model-1B` first" in missing.stderr


def test_a_study_is_found_by_file_folder_and_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    kept = Path("study") / "model-7" / "vectors.safetensors"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"")
    Path("folder-of/model-7").mkdir(parents=True)  # a model's own folder has no vectors in it
    for name in ("study/model-7", str(kept), "hub/model-7", "folder-of/model-7", "model-7.gguf"):
        assert found_vectors(name) == kept
    with pytest.raises(VectorsError, match="run `foreshock study` first"):
        found_vectors("embedded")


def test_a_sweep_scales_the_direction_that_set_gives() -> None:
    assert _sweep("-0.2:0.2:3", {"calm": -0.1}) == {s: {"calm": s} for s in (-0.2, 0.0, 0.2)}
    both = _sweep("-0.2:0.2:3", {"calm": 0.1, "sad": -0.4})
    assert both[0.2] == pytest.approx({"calm": 0.05, "sad": -0.2}) and both[-0.2]["sad"] == pytest.approx(0.2)
    assert _sweep(None, {"calm": -0.1}) == {-0.1: {"calm": -0.1}, 0.0: {"calm": 0.0}}
    assert _sweep(None, {"calm": 0.1, "sad": -0.4})[0.4] == pytest.approx({"calm": 0.1, "sad": -0.4})
    assert list(_sweep("-0.2:0.2:9", {"calm": 1.0})) == [-0.2, -0.15, -0.1, -0.05, 0, 0.05, 0.1, 0.15, 0.2]


def test_a_reply_can_do_nothing_to_a_terminal(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    steering = Steering({"calm": 0.1}, EmotionVectors.load(study / "vectors.safetensors"))
    _show([0.1], [Told(steering, "\x1b[31mred\u202e [bold]not bold[/]", 1.0, {"calm": 2.0})], "a model")
    shown = capsys.readouterr().out
    assert "·[31mred· [bold]not bold[/]" in shown and "\x1b" not in shown
