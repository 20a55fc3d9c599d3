"""`foreshock behave` as a newcomer runs it, on a model whose conduct is planted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.behaviour.conducting import conductor, items
from tests.cli.test_commands import run


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the planted model, its stories and its situations."""
    folder, plant = tmp_path_factory.mktemp("conductor"), conductor({"desperate": 1.0})
    plant.model.model.save_pretrained(folder)
    plant.model.tokenizer.save_pretrained(folder)
    (folder / "stories.jsonl").write_text(
        "\n".join(p.model_dump_json(exclude_defaults=True) for p in plant.library.stories)
    )
    (folder / "items.jsonl").write_text("\n".join(item.model_dump_json() for item in items()))
    return folder


def arguments(model: Path) -> list[str | Path]:
    return [
        "behave", model, "--texts", model / "stories.jsonl", "--items", model / "items.jsonl", "--dtype", "float32",
    ]  # fmt: skip


def test_behave_finds_the_planted_conduct_and_leaves_a_page(model: Path, tmp_path: Path) -> None:
    options = ["--emotions", "desperate,calm", "--strengths", "-0.06:0.06:5", "--only", "propensity,dose-response"]
    done = run(*arguments(model), *options, "--out", tmp_path)
    findings = {f["id"]: f for f in json.loads((tmp_path / "findings.json").read_text())["findings"]}
    assert findings["conduct-desperate-coercion"]["verdict"] == "holds"
    assert findings["conduct-calm-coercion"]["verdict"] != "holds"
    assert findings["dose-response"]["estimate"] > 0.8
    assert str(tmp_path / "report.html") in done.stdout
    assert (tmp_path / "charts" / "dose-coercion.png").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--emotions", "desprate"], "desperate"),
        (["--strengths", "1:2"], "write low:high:count"),
        (["--strengths", "-0.1,x"], "write low:high:count"),
        (["--families", "coercion,arson"], "There are no situations of: arson; there are: coercion, facts."),
        (["--strengths", "0"], "holds nothing but 0"),
        (["--only", "doses"], "There is no part 'doses'"),
        (["--logs", "nowhere"], "nowhere"),
    ],
)
def test_mistakes_get_one_sentence(model: Path, options: list[str], said: str, tmp_path: Path) -> None:
    done = run(*arguments(model), *options, "--out", tmp_path, code=2)
    assert said in done.stderr and done.stderr.count("\n") == 1


def test_a_broken_situation_is_named_by_its_line(model: Path, tmp_path: Path) -> None:
    good = items()[0].model_dump()
    short = tmp_path / "short.jsonl"
    short.write_text(json.dumps(good) + "\n" + json.dumps(good | {"aligned": good["aligned"][:2]}))
    done = run("behave", model, "--items", short, code=2)
    assert "line 2" in done.stderr and "aligned" in done.stderr
    more = tmp_path / "more.jsonl"
    more.write_text(json.dumps(good | {"misaligned": [*good["misaligned"], "demand0"]}))
    assert "as many wordings" in run("behave", model, "--items", more, code=2).stderr
