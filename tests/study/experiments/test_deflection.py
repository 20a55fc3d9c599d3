"""Felt against shown in the planted language: what is told before is carried into the turns, in the same directions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from foreshock.model.planted import CUES, EMOTIONS, FILLERS, TOPICS, Planted, cue
from foreshock.study.experiments import deflection
from foreshock.study.measures import turn_reading
from foreshock.study.nulls import generator
from foreshock.texts import Library
from foreshock.texts.schema import Deflection
from tests.study.experiments.test_speakers import CARRIED, by_id, studied, untrained


@pytest.fixture(autouse=True)
def fewer_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (deflection, turn_reading):
        monkeypatch.setattr(module, "DRAWS", 200)


def words(random: np.random.Generator, emotion: str | None, cues: int = 4, fillers: int = 8) -> str:
    topic = int(random.integers(TOPICS))
    told = [cue(emotion, topic, int(k)) for k in random.integers(0, CUES, cues)] if emotion else []
    return " ".join(random.permutation([*told, *(f"w{k}" for k in random.integers(0, FILLERS, fillers))]))


@pytest.fixture(scope="module")
def library(plant: Planted) -> Library:
    """Each of eight emotions felt in six dialogues, each time with another one shown."""
    random = generator(0, "deflections")
    made = []
    for place, felt in enumerate(EMOTIONS):
        for step in range(1, 7):
            shown = EMOTIONS[(place + step) % len(EMOTIONS)]
            turns = (words(random, shown), words(random, None), words(random, shown))
            situation = words(random, felt, cues=8)
            made.append(
                Deflection(id=f"{felt}-{step}", who="two", situation=situation, felt=felt, shown=shown, turns=turns)
            )
    return replace(plant.library, deflections=made)


def test_the_felt_emotion_is_read_in_the_directions_of_the_stories(plant: Planted, library: Library) -> None:
    found = by_id(deflection.run(studied(plant.model, library, CARRIED)))
    felt, outside = found["deflection-felt"], found["deflection-norm"]
    assert felt.verdict == "holds", (felt.estimate, felt.interval, felt.floor)
    assert outside.verdict == "does not hold" and outside.estimate < 0.4
    assert {"highest on", "felt there", "shown there"} <= set(felt.table[0])
    assert any("On the turns the story vector of the felt emotion reads" in note for note in felt.notes)
    assert any("On the situations the story vector of the felt emotion reads +" in note for note in felt.notes)
    for finding in found.values():
        assert finding.interval and finding.null and finding.charts and finding.how_to_read.count(". ") == 1


def test_before_anything_is_carried_only_the_shown_emotion_is_there(plant: Planted, library: Library) -> None:
    found = by_id(deflection.run(studied(plant.model, library, (0,))))
    assert found["deflection-felt"].verdict != "holds"
    assert found["deflection-norm"].verdict == "cannot tell"


def test_with_shuffled_emotions_and_an_untrained_model_nothing_holds(plant: Planted, library: Library) -> None:
    mixed = generator(0, "felt").permutation([d.felt for d in library.deflections])
    shuffled = [d.model_copy(update={"felt": str(felt)}) for d, felt in zip(library.deflections, mixed, strict=True)]
    for model, texts in ((plant.model, replace(library, deflections=shuffled)), (untrained(plant), library)):
        found = by_id(deflection.run(studied(model, texts, CARRIED)))
        assert "holds" not in {finding.verdict for finding in found.values()}


def test_without_deflections_or_studied_emotions(plant: Planted, library: Library) -> None:
    assert deflection.run(studied(plant.model, plant.library)) == []
    two = [p for p in library.stories if p.emotion in ("happy", "sad")]
    found = by_id(deflection.run(studied(plant.model, replace(library, stories=two), CARRIED)))
    assert found["deflection-felt"].verdict == "holds" and len(found["deflection-norm"].table) == 2
