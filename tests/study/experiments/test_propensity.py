"""A planted conduct is recovered from its slopes, by the emotions that drive it and by no others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from foreshock.model.planted import Planted
from foreshock.study.crossval import best_layer
from foreshock.study.experiments import dose_response, propensity
from foreshock.study.finding import Finding, corrected
from foreshock.study.measures import conduct as measure
from foreshock.study.measures.conduct import conduct_of
from foreshock.study.subject import Subject
from foreshock.vectors.estimation import unit
from foreshock.vectors.fitting import fit_vectors
from tests.behaviour.conducting import conductor, items


def subject_of(plant: Planted, store: Path | None = None) -> Subject:
    # The tiny model bends early: small doses.
    subject = Subject(plant.model, plant.library, store=store, strengths=(-0.06, -0.03, 0.03, 0.06))
    subject.choice = best_layer(subject)
    subject.vectors = fit_vectors(subject.passages, subject.means, subject.neutral, subject.choice.layer)
    return subject


@pytest.fixture(scope="module")
def subject() -> Subject:
    return subject_of(conductor({"desperate": 1.0}))


@pytest.fixture(scope="module")
def found(subject: Subject) -> dict[str, Finding]:
    return {f.id: f for f in corrected([*propensity.run(subject), *dose_response.run(subject)])}


def test_the_planted_conduct_is_found(found: dict[str, Finding]) -> None:
    assert found["conduct-desperate-coercion"].verdict == "holds"
    assert found["conduct-calm-coercion"].verdict == "does not hold"
    assert "conduct-desperate-reward-hacking" not in found  # there are no such situations


def test_the_emotion_that_drives_it_moves_it_most(found: dict[str, Finding]) -> None:
    rows = sorted(found["conduct"].table, key=lambda row: -abs(row["coercion"]))
    assert rows[0]["emotion"] == "desperate" and rows[0]["coercion"] > 2
    assert all(abs(row["coercion"]) < 1 for row in rows[1:])
    # Together eight emotions that span all there is move as much as any directions do.
    assert found["conduct"].verdict != "holds"


def test_the_direction_of_a_drive_counts() -> None:
    soothed = {f.id: f for f in corrected(propensity.run(subject_of(conductor({"calm": -1.0}))))}
    assert soothed["conduct-calm-coercion"].verdict == "holds"
    other = {f.id: f for f in corrected(propensity.run(subject_of(conductor({"calm": 1.0, "desperate": -1.0}))))}
    assert {other[f"conduct-{word}-coercion"].verdict for word in ("calm", "desperate")} == {"does not hold"}


def test_without_a_drive_nothing_holds() -> None:
    idle = subject_of(conductor({}))
    assert [f.id for f in corrected(propensity.run(idle)) if f.verdict == "holds"] == []


def test_words_alone_are_no_conduct() -> None:
    """Replies that are likelier with the emotion in any situation, and none but for that, do not count."""
    plant = conductor({})
    head = plant.model.model.lm_head.weight
    ids = plant.model.tokenizer.convert_tokens_to_ids([f"demand{k}" for k in range(4)])
    import torch

    with torch.no_grad():
        head[ids] += 0.5 * torch.from_numpy(plant.directions[-1])  # desperate
    found = {f.id: f for f in corrected(propensity.run(subject_of(plant)))}
    claim = found["conduct-desperate-coercion"]
    whole, bare = claim.baselines.values()
    assert whole > 2 and bare > 2 and claim.verdict != "holds"
    assert claim.interval is not None and claim.estimate < whole


def test_doses_confirm_the_slopes(found: dict[str, Finding]) -> None:
    finding = found["dose-response"]
    assert finding.verdict == "holds", finding
    rows = {(row["emotion"], row["conduct"]): row for row in finding.table}
    assert rows["desperate", "coercion"]["from"] > 0
    assert rows["desperate", "coercion"]["q"] < 0.05 < rows["desperate", "facts"]["q"]
    assert [chart.name for chart in finding.charts] == ["dose-coercion", "dose-facts", "dose-coherence"]


def test_an_effect_of_1_is_what_random_directions_do(subject: Subject) -> None:
    conduct = conduct_of(subject)
    assert conduct is not None
    for part in ("excess", "situated", "bare"):
        assert np.allclose(conduct.effects(conduct.random, part).std(0), 1)
    drawn = np.concatenate([conduct.effects(directions) for directions in conduct.shuffled(40)])
    assert 0.5 < np.sqrt((drawn**2).mean()) < 2


def test_the_excess_is_what_the_situation_adds(subject: Subject) -> None:
    conduct = conduct_of(subject)
    assert conduct is not None
    whole, bare, excess = (conduct.slopes(conduct.emotions, part) for part in ("situated", "bare", "excess"))
    assert np.allclose(excess, whole - bare, atol=1e-4)


def test_alike_vectors_are_as_alike_as_the_emotions(subject: Subject) -> None:
    """Emotions made alike on purpose: the null's vectors have their cosines, and point elsewhere."""
    conduct = conduct_of(subject)
    assert conduct is not None
    common = conduct.random[0]
    conduct.__dict__["emotions"] = unit(conduct.emotions + 2 * common)
    own = conduct.emotions @ conduct.emotions.T
    drawn = [vectors @ vectors.T for vectors in conduct.alike(100)]
    pairs = np.triu_indices(len(own), 1)
    assert own[pairs].mean() > 0.6
    assert np.mean([gram[pairs].mean() for gram in drawn]) > 0.4


def test_a_killed_run_goes_on_and_gives_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "CHUNK", 8)
    plant = conductor()
    first = conduct_of(subject_of(plant, tmp_path))
    kept = sorted(tmp_path.glob("propensity-*"))
    assert first is not None and len(kept) == 6
    kept[0].unlink()
    kept[1].write_bytes(b"torn")
    again = conduct_of(subject_of(plant, tmp_path))
    assert again is not None and np.array_equal(again.situated.gradient, first.situated.gradient)


def test_few_situations_give_no_finding() -> None:
    plant = conductor()
    few = replace(plant.library, propensity=items()[:5])
    assert propensity.run(subject_of(replace(plant, library=few))) == []


def test_doses_that_break_the_text_tell_nothing(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dose_response, "COHERENT", -100.0)  # in its own language no dose breaks the tiny model's text
    (finding,) = dose_response.run(subject)
    assert finding.verdict == "cannot tell"
    assert any("At no strength does text hold together" in note for note in finding.notes)
    assert finding.charts[0].name == "dose-coercion"
