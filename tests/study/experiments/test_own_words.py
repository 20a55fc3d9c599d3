"""Steering along planted vectors names their emotions; random vectors and an untrained model name nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from foreshock.model.planted import Planted
from foreshock.study.measures import steering_range
from foreshock.study.measures.words import specific, specific_of_each
from foreshock.study.running import run_study
from foreshock.texts import Library


def test_planted_vectors_raise_their_own_words(plant: Planted) -> None:
    study = run_study(plant.model, plant.library, only=["own-words"])
    (finding,) = study.findings
    assert finding.verdict == "holds"
    assert all(row["rank of own vector"] == 1 for row in finding.table)
    assert study.vectors.steering_layer in range(plant.model.layers)
    assert study.vectors.usable_strength in steering_range.STRENGTHS


def test_vectors_of_shuffled_stories_raise_nothing_of_their_own(plant: Planted) -> None:
    labels = np.random.default_rng(0).permutation([p.emotion for p in plant.passages])
    shuffled = [
        p.model_copy(update={"emotion": str(w), "topic": ""}) for p, w in zip(plant.passages, labels, strict=True)
    ]
    (finding,) = run_study(plant.model, replace(plant.library, stories=shuffled), only=["own-words"]).findings
    assert finding.verdict != "holds"


def test_the_usable_strength_is_the_largest_that_costs_little(plant: Planted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steering_range, "COHERENT", 0.02)
    careful = run_study(plant.model, plant.library, only=["own-words"])
    monkeypatch.setattr(steering_range, "COHERENT", 10.0)
    bold = run_study(plant.model, plant.library, only=["own-words"])
    assert careful.vectors.usable_strength < bold.vectors.usable_strength == max(steering_range.STRENGTHS)  # type: ignore[operator]


def test_it_works_without_neutral_dialogues(plant: Planted) -> None:
    (finding,) = run_study(plant.model, Library(plant.passages), only=["own-words"]).findings
    assert np.isfinite(finding.estimate)


def test_a_direction_that_raises_all_words_alike_is_not_specific() -> None:
    flat = np.tile(np.array([[3.0], [0.0]]), (1, 4))
    assert np.allclose(specific_of_each(flat), 0)
    own = np.eye(4) * 2
    assert np.allclose(specific(own), 2)
