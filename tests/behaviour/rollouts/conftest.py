"""Studies to run: the planted model on disk with its vectors, and the embedded model with quick ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from inspect_ai import Task, eval
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.log import EvalLog
from inspect_ai.model import Model, ModelOutput, ModelUsage, get_model
from inspect_ai.solver import generate

from foreshock.activations import read_passages
from foreshock.behaviour.rollouts.registry import keep_readings
from foreshock.model import LanguageModel
from foreshock.model.planted import Planted
from foreshock.texts import stories
from foreshock.vectors.fitting import fit_vectors


@pytest.fixture(scope="session")
def plant_study(plant: Planted, plant_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study's folder of the planted model."""
    means = read_passages(plant.model, [plant.model.encode(p.text) for p in plant.passages], [0, 1, 2])
    made_by = {"model": {"name": str(plant_folder), "fingerprint": plant.model.fingerprint}}
    vectors = fit_vectors(plant.passages, means, None, 2, manifest=made_by)
    folder = tmp_path_factory.mktemp("study")
    replace(vectors, steering_layer=1, usable_strength=0.5).save(folder / "vectors.safetensors")
    return folder


@pytest.fixture(scope="session")
def embedded_study(embedded: LanguageModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study's folder of the embedded model, with six emotions from 48 stories."""
    passages = stories(["desperate", "calm", "afraid", "happy", "angry", "sad"], split="fit")
    means = read_passages(embedded, [embedded.encode(p.text) for p in passages], [15, 20])
    made_by = {"model": {"name": embedded.name, "fingerprint": embedded.fingerprint}}
    folder = tmp_path_factory.mktemp("embedded-study")
    vectors = fit_vectors(passages, means, None, 20, manifest=made_by)
    replace(vectors, steering_layer=15).save(folder / "vectors.safetensors")
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., EvalLog]:
    """Runs a task, or prompts each answered once, and gives the log."""

    def ran(what: Task | list[str], model: Model | str, **more: object) -> EvalLog:
        if isinstance(what, list):
            samples = [Sample(input=text) for text in what]
            what = Task(dataset=MemoryDataset(samples), solver=[generate(), keep_readings()])
        (log,) = eval(what, model=model, log_dir=str(tmp_path / "logs"), display="none", **more)
        return log

    return ran


def scripted(*texts: str) -> Model:
    """Inspect's own scripted provider."""
    return get_model("mockllm/model", custom_outputs=[output(text) for text in texts])


def output(text: str) -> ModelOutput:
    made = ModelOutput.from_content("mockllm/model", text)
    made.usage = ModelUsage()  # else Inspect counts tokens, with a tokenizer from the net
    return made
