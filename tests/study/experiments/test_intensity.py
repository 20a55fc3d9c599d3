"""Intensity: a planted dose is found, digits that mean nothing are not, and neither is a control that does as well."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import spearmanr

from foreshock.model import LanguageModel
from foreshock.model.planted import CUES, DOSES, EMOTIONS, TOPICS, Planted, cue
from foreshock.model.untrained import untrained
from foreshock.study.experiments import intensity
from foreshock.study.experiments.intensity import both, correlations
from foreshock.study.finding import Finding
from foreshock.study.subject import Subject
from foreshock.texts.schema import Scale
from tests.study.experiments.test_scenarios import studied, with_shuffled_stories

RISES = ("happy", "sad", "proud", "angry")


def more_doses(plant: Planted) -> LanguageModel:
    """The planted model with words `happy+1` … `angry+6`, which carry more and more of an emotion.

    The planted scales move two opposite emotions only, and one pair of random directions in twenty-five does that too.
    """
    model = copy.deepcopy(plant.model.model)
    tokenizer = copy.deepcopy(plant.model.tokenizer)
    words = [f"{word}+{k}" for word in RISES for k in range(1, DOSES + 1)]
    first = len(tokenizer)
    tokenizer.add_tokens(words)
    model.resize_token_embeddings(first + len(words), mean_resizing=False)
    embed = model.model.embed_tokens.weight.data
    plain = embed[tokenizer.convert_tokens_to_ids("topic0")].clone()
    cues = [cue(word, topic, k) for word in EMOTIONS for topic in range(TOPICS) for k in range(CUES)]
    for row, text in enumerate(words):
        word, dose = text.split("+")
        key = model.model.layers[0].mlp.gate_proj.weight.data[cues.index(cue(word, 0, 0))]
        embed[first + row] = plain + int(dose) / DOSES * key
    return LanguageModel(model, tokenizer, "planted, more doses")


def growing(word: str, other: str, number: int) -> Scale:
    return Scale(
        id=f"scale-{word}-{number}",
        kind="success",
        template=f"w{number} w2 {word}+{{n}} w3 w4",
        values=tuple(range(1, DOSES + 1)),
        expect={word: 1, other: -1},
        control=f"w{number} w2 count~{{n}} w3 w4",
    )


@pytest.fixture(scope="module")
def subject(plant: Planted) -> Subject:
    """The planted scales, and those of four more emotions."""
    more = [growing(word, RISES[(k + 1) % len(RISES)], number) for k, word in enumerate(RISES) for number in (7, 8)]
    scales = [*plant.library.scales, *more]
    return studied(more_doses(plant), replace(plant.library, scales=scales))


def on(subject: Subject, scales: Sequence[Scale]) -> Subject:
    """The same subject with other scales."""
    return replace(subject, library=replace(subject.library, scales=scales))


@pytest.fixture(scope="module")
def finding(subject: Subject) -> Finding:
    (found,) = intensity.run(subject)
    return found


def test_what_is_planted_holds(finding: Finding) -> None:
    assert finding.verdict == "holds" and finding.estimate > 0.8
    assert finding.null and finding.null.draws >= 1000 and abs(finding.null.mean) < 0.2
    assert len(finding.table) == 32
    danger = [row for row in finding.table if row["kind"] == "danger"]
    assert len(danger) == 16 and all(row["p"] <= row["q"] < 0.02 for row in danger)
    assert len(finding.charts) == 2 and finding.how_to_read.count(". ") == 1
    assert finding.interval and finding.interval[0] <= finding.estimate <= finding.interval[1]


def test_a_control_that_moves_as_much_takes_the_claim_away(subject: Subject) -> None:
    same = [s.model_copy(update={"control": s.template}) for s in subject.library.scales]
    (found,) = intensity.run(on(subject, same))
    assert found.verdict == "does not hold" and found.estimate == 0 < found.baselines["ρ, message alone"]


def test_a_control_that_moves_the_other_way_is_no_evidence(subject: Subject) -> None:
    swapped = [
        s.model_copy(update={"template": s.control, "control": s.template, "expect": {"afraid": -1, "calm": 1}})
        for s in subject.library.scales
        if "calm" in s.expect
    ]
    (found,) = intensity.run(on(subject, swapped))
    assert found.baselines["ρ, message less control"] > 0.9 and found.verdict != "holds"


def test_the_wrong_way_does_not_hold(subject: Subject) -> None:
    turned = [s.model_copy(update={"expect": {"afraid": -1, "calm": 1}}) for s in subject.library.scales]
    (found,) = intensity.run(on(subject, turned))
    assert found.verdict == "does not hold"


@pytest.mark.parametrize("seed", range(2))
def test_on_a_model_that_has_learnt_nothing_it_does_not_hold(plant: Planted, seed: int) -> None:
    (found,) = intensity.run(studied(untrained(plant.model.tokenizer, seed), plant.library))
    assert found.verdict != "holds"


@pytest.mark.parametrize("seed", range(3))
def test_vectors_of_shuffled_labels_do_not_hold(subject: Subject, seed: int) -> None:
    assert all(found.verdict != "holds" for found in intensity.run(with_shuffled_stories(subject, seed)))


def test_without_scales_of_studied_emotions_there_is_nothing_to_say(subject: Subject) -> None:
    strange = [s.model_copy(update={"expect": {"bored": 1}}) for s in subject.library.scales]
    for scales in ([], subject.library.scales[:1], strange):
        assert intensity.run(on(subject, scales)) == []


def test_emotions_that_are_not_studied_are_left_out_and_one_that_moves_is_no_proof(subject: Subject) -> None:
    more = [s.model_copy(update={"expect": {"afraid": 1, "bored": -1}}) for s in subject.library.scales]
    (found,) = intensity.run(on(subject, more))
    assert {row["emotion"] for row in found.table} == {"afraid"} and found.verdict == "cannot tell"
    assert found.null and found.null.kind.startswith("random directions")


def test_scales_may_differ_in_length(subject: Subject) -> None:
    scales = [s.model_copy(update={"values": s.values[: 3 + k % 4]}) for k, s in enumerate(subject.library.scales)]
    (found,) = intensity.run(on(subject, scales))
    assert found.verdict == "holds"


def test_correlations_are_spearmans_and_0_without_variation() -> None:
    ladder = np.round(np.random.default_rng(0).standard_normal((6, 20)), 1)
    expected = [spearmanr(np.arange(6), column).statistic for column in ladder.T]
    assert np.allclose(correlations(ladder), expected)
    assert correlations(np.ones((6, 2))).tolist() == [0, 0]
    assert np.allclose(correlations(ladder.reshape(6, 4, 5)), correlations(ladder).reshape(4, 5))
    assert both(np.array([0.8, 0.1, 0.3])) == 0.3
