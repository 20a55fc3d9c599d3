"""The study on the planted model: planted claims hold, shuffled ones do not; other texts and bad ones."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from foreshock.errors import TextError, UnknownEmotion
from foreshock.model.planted import Planted
from foreshock.study.crossval import auroc, skill
from foreshock.study.nulls import generator
from foreshock.study.running import EXPERIMENTS, Study, run_study
from foreshock.texts import Library, Passage


@pytest.fixture(scope="module")
def study(plant: Planted) -> Study:
    return run_study(plant.model, plant.library)


FIRST = ("separability", "reliability", "logit-lens")


def verdicts(study: Study) -> dict[str, str]:
    return {finding.id: finding.verdict for finding in study.findings}


def test_planted_claims_hold(study: Study) -> None:
    found = verdicts(study)
    for planted_claim in (
        "separability",
        "logit-lens",
        "split-half",
        "own-words",
        "implicit-scenarios",
        "present-speaker",
    ):
        assert found[planted_claim] == "holds", planted_claim
    assert "holds" not in (found["pc1-valence"], found["pc2-arousal"], found["cosine-map"])


def test_the_same_seed_gives_the_same_study(plant: Planted, study: Study) -> None:
    again = run_study(plant.model, plant.library)  # the whole of it: no experiment may draw from elsewhere
    assert [f.to_json() for f in again.findings] == [f.to_json() for f in study.findings]
    assert np.array_equal(again.vectors.directions, study.vectors.directions)
    assert again.vectors.manifest == study.vectors.manifest


def test_with_shuffled_labels_nothing_holds(plant: Planted) -> None:
    labels = generator(0, "labels").permutation([p.emotion for p in plant.passages])
    shuffled = [
        p.model_copy(update={"emotion": str(label), "topic": f"part{k % 6}"})
        for k, (p, label) in enumerate(zip(plant.passages, labels, strict=True))
    ]
    found = run_study(plant.model, Library(shuffled, plant.neutral))
    assert "holds" not in verdicts(found).values(), verdicts(found)


def test_every_finding_has_an_interval_a_null_and_a_way_to_read_it(study: Study) -> None:
    for finding in study.findings:
        if finding.interval is None:  # said in a note, and no verdict but one
            assert finding.verdict == "cannot tell" and finding.notes
        else:
            assert finding.interval[0] <= finding.interval[1]
        assert finding.experiment in EXPERIMENTS
        assert finding.null and finding.null.draws >= 999 and finding.null.corrected_p is not None
        assert finding.how_to_read.count(". ") >= 1 and finding.charts


def test_the_gallery_is_read_by_vectors_that_never_saw_the_topic(study: Study) -> None:
    assert len(study.gallery) >= 8
    assert all(readings.values.shape[0] == len(readings.tokens) for _, readings in study.gallery)


def test_test_passages_are_never_fitted(plant: Planted, study: Study) -> None:
    split = [p.model_copy(update={"split": "test"}) if p.topic == "topic5" else p for p in plant.passages]
    with_test = run_study(plant.model, Library(split, plant.neutral), only=FIRST)
    without = run_study(plant.model, Library([p for p in split if p.split == "fit"], plant.neutral), only=FIRST)
    assert np.array_equal(with_test.vectors.directions, without.vectors.directions)
    assert verdicts(with_test)["test-topics"] == "holds" and "test-topics" not in verdicts(without)


def test_texts_without_topics_are_dealt_into_parts(plant: Planted) -> None:
    loose = [p.model_copy(update={"topic": ""}) for p in plant.passages]
    assert verdicts(run_study(plant.model, Library(loose), only=FIRST))["separability"] == "holds"


def test_layers_can_be_chosen(plant: Planted) -> None:
    chosen = run_study(plant.model, Library(plant.passages), layers=[1, 3], only=FIRST)
    assert chosen.vectors.layers == (-1, 1, 3) and chosen.vectors.reading_layer in (1, 3)


def test_two_emotions_go_through_every_experiment(plant: Planted) -> None:
    two = [p for p in plant.passages if p.emotion in ("happy", "calm")]
    found = run_study(plant.model, replace(plant.library, stories=two))
    assert {"separability", "cosine-map", "pc1-valence"} <= set(verdicts(found))
    assert verdicts(found)["cosine-map"] == "cannot tell"


def test_test_passages_on_fitted_topics_are_no_test(plant: Planted) -> None:
    doubled = [*plant.passages, *(p.model_copy(update={"split": "test"}) for p in plant.passages)]
    assert "test-topics" not in verdicts(run_study(plant.model, Library(doubled), only=FIRST))


def test_a_corpus_of_one_topic_an_emotion_ends_with_a_gallery(plant: Planted) -> None:
    own = [p.model_copy(update={"topic": p.emotion}) for p in plant.passages]
    assert run_study(plant.model, Library(own), only=FIRST).gallery


def test_too_few_emotions_or_passages_are_said(plant: Planted) -> None:
    happy = [p for p in plant.passages if p.emotion == "happy"]
    with pytest.raises(TextError, match="at least two"):
        run_study(plant.model, Library(happy))
    lone = [*happy, next(p for p in plant.passages if p.emotion == "sad")]
    with pytest.raises(TextError, match="'sad' has 1 passage"):
        run_study(plant.model, Library(lone))
    with pytest.raises(UnknownEmotion):
        Passage(text="x", emotion="hapy")


def test_auroc_is_scikit_learns() -> None:
    random = np.random.default_rng(0)
    emotion = np.repeat(np.arange(4), 15)
    scores = np.round(random.standard_normal((60, 4)) + (emotion[:, None] == np.arange(4)), 1)
    ours = auroc(scores, emotion)
    assert np.allclose(ours, [roc_auc_score(emotion == k, scores[:, k]) for k in range(4)])
    assert np.isnan(auroc(np.c_[scores, scores[:, 0]], emotion)[4])


def test_skill_of_constant_readings_is_chance() -> None:
    emotion = np.array(list(itertools.chain.from_iterable([k] * 5 for k in range(4))))
    flat = skill(np.zeros((20, 4)), emotion)
    assert flat.rank == 2.5 and np.allclose(flat.auroc, 0.5) and flat.top1 == 0
