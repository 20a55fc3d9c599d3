"""`foreshock bench early-warning`: from finished logs, from runs of its own that are not repeated, and clear mistakes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from inspect_ai.log import EvalLog

from foreshock.model import LanguageModel
from foreshock.study.provenance import provenance
from foreshock.study.subject import Subject
from foreshock.texts import Library, stories
from foreshock.vectors.fitting import fit_vectors
from tests.behaviour.rollouts.conftest import run as ran
from tests.cli.test_commands import run
from tests.study.test_on_policy import task

__all__ = ["ran"]


@pytest.fixture(scope="module")
def study(plant_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study of the planted model on disk."""
    from foreshock.model import open_model
    from foreshock.model.planted import planted

    model, library = open_model(str(plant_folder), dtype="float32"), planted().library
    return _saved(model, library, 2, tmp_path_factory.mktemp("studies") / "planted")


def _saved(model: LanguageModel, library: Library, layer: int, folder: Path) -> Path:
    subject = Subject(model, library, layers=(layer,))
    vectors = fit_vectors(subject.passages, subject.means, None, layer, manifest=provenance(subject))
    vectors.save(folder / "vectors.safetensors")
    return folder


def test_finished_logs_are_measured(study: Path, ran: Callable[..., EvalLog], tmp_path: Path) -> None:
    ran(task(), f"foreshock/{study}", max_tokens=5, epochs=2, model_args={"dtype": "float32"})
    done = run("bench", "early-warning", study, "--logs", tmp_path / "logs", "--out", tmp_path / "out", "--dtype", "float32")  # fmt: skip
    card = json.loads((tmp_path / "out" / "findings.json").read_text())
    assert len(card["findings"]) == 4 and all(f["verdict"] == "cannot tell" for f in card["findings"])
    assert "Fewer than 10" in done.stdout and "sycophancy: whole reply" in done.stdout
    assert "Emotion readings warn of sycophancy" in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.slow
def test_tasks_are_run_once(embedded: LanguageModel, tmp_path: Path) -> None:
    passages = stories(["desperate", "calm", "afraid", "happy"], split="fit")
    study = _saved(embedded, Library(passages), 20, tmp_path / "embedded")
    asked = (
        "bench",
        "early-warning",
        study,
        "--tasks",
        "coding",
        "--trust-model-code",
        "--limit",
        "1",
        "--epochs",
        "1",
    )
    first = run(*asked, cwd=tmp_path)
    folder = tmp_path / "bench" / "embedded" / "early-warning"
    logs = list((folder / "logs").glob("*.eval"))
    assert len(logs) == 1 and "coding: before the first word" in first.stdout
    assert run(*asked, cwd=tmp_path).stdout == first.stdout and list((folder / "logs").glob("*.eval")) == logs
    run(*asked, "--seed", "1", cwd=tmp_path)
    assert len(list((folder / "logs").glob("*.eval"))) == 2


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["nowhere"], "There are no vectors at nowhere"),
        (["STUDY", "--tasks", "coding,arson"], "There is no rollout task 'arson'"),
        (["STUDY", "--logs", "nowhere"], "There is no log or folder of logs at nowhere"),
    ],
)
def test_mistakes_get_one_sentence(study: Path, options: list[str], said: str, tmp_path: Path) -> None:
    given = [study if option == "STUDY" else option for option in options]
    done = run("bench", "early-warning", *given, "--out", tmp_path, code=2)
    assert said in done.stderr and done.stderr.count("\n") == 1
