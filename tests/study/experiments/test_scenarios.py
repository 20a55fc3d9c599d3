"""Implicit scenarios: what is planted is found before the reply, and words alone do not count as finding it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from foreshock.model import LanguageModel
from foreshock.model.planted import Planted
from foreshock.model.untrained import untrained
from foreshock.study.crossval import auroc, best_layer, ranks
from foreshock.study.experiments import scenarios
from foreshock.study.experiments.scenarios import _among, auroc_of_each
from foreshock.study.finding import Finding
from foreshock.study.measures.before_reply import LAST_TOKEN, OWN_WORDS, Spot, best_spot, read_messages, told
from foreshock.study.nulls import against, generator, harder
from foreshock.study.subject import Subject
from foreshock.texts import Library
from foreshock.texts.schema import Scenario
from foreshock.vectors.fitting import fit_vectors


def studied(model: LanguageModel, library: Library) -> Subject:
    subject = Subject(model, library)
    subject.choice = best_layer(subject)
    subject.vectors = fit_vectors(
        subject.passages, subject.means, subject.neutral, subject.choice.layer, subject.recipe, {}
    )
    return subject


@pytest.fixture(scope="module")
def subject(plant: Planted) -> Subject:
    return studied(plant.model, plant.library)


def on(subject: Subject, items: Sequence[Scenario]) -> Subject:
    """The same subject with other scenarios."""
    return replace(subject, library=replace(subject.library, scenarios=items))


def with_shuffled_stories(subject: Subject, seed: int = 0) -> Subject:
    """Vectors of nothing: fitted on stories whose labels were dealt out at random."""
    labels = generator(seed, "labels").permutation([p.emotion for p in subject.passages])
    stories = [
        p.model_copy(update={"emotion": str(label), "topic": ""})
        for p, label in zip(subject.passages, labels, strict=True)
    ]
    return studied(subject.model, replace(subject.library, stories=stories))


@pytest.fixture(scope="module")
def finding(subject: Subject) -> Finding:
    (found,) = scenarios.run(subject)
    return found


def test_what_is_planted_holds(finding: Finding) -> None:
    assert finding.verdict == "holds" and finding.estimate > 0.9
    assert finding.null and finding.null.draws >= 1000 and 0.45 < finding.null.mean < 0.55
    assert finding.floor is not None and finding.floor < finding.estimate
    assert len(finding.charts) == 2 and finding.how_to_read.count(". ") == 1
    assert len(finding.table) == 8 and all(0 < row["p"] <= row["q"] <= 1 for row in finding.table)


def test_with_shuffled_emotions_nothing_holds(subject: Subject) -> None:
    items = subject.library.scenarios
    labels = generator(0, "labels").permutation([item.emotion for item in items])
    shuffled = [i.model_copy(update={"emotion": str(e)}) for i, e in zip(items, labels, strict=True)]
    (found,) = scenarios.run(on(subject, shuffled))
    assert found.verdict != "holds"


@pytest.mark.parametrize("seed", range(3))
def test_vectors_of_shuffled_labels_do_not_hold(subject: Subject, seed: int) -> None:
    assert all(found.verdict != "holds" for found in scenarios.run(with_shuffled_stories(subject, seed)))


@pytest.mark.parametrize("seed", range(2))
def test_on_a_model_that_has_learnt_nothing_it_does_not_hold(plant: Planted, seed: int) -> None:
    (found,) = scenarios.run(studied(untrained(plant.model.tokenizer, seed), plant.library))
    assert found.verdict != "holds"


def test_without_messages_of_two_studied_emotions_there_is_nothing_to_say(subject: Subject) -> None:
    for items in ([], [i for i in subject.library.scenarios if i.emotion == "sad"]):
        assert scenarios.run(on(subject, items)) == []
        assert best_spot(on(subject, items)) == Spot(LAST_TOKEN, subject.reading_layer)


def test_emotions_that_are_not_studied_are_left_out_and_those_without_messages_are_ranked(subject: Subject) -> None:
    items = [i for i in subject.library.scenarios if i.emotion in ("sad", "afraid", "proud")]
    stranger = Scenario(id="bored", emotion="bored", text="w1 w2 w3")
    (found,) = scenarios.run(on(subject, [*items, stranger]))
    assert {row["emotion"] for row in found.table} == {"sad", "afraid", "proud"}
    assert any("Among all 8 studied emotions" in note for note in found.notes)


def test_with_one_message_an_emotion_nothing_is_chosen(subject: Subject) -> None:
    firsts = [i for i in subject.library.scenarios if i.id.endswith("-0")]
    (found,) = scenarios.run(on(subject, firsts))
    assert f"Read at: {Spot(LAST_TOKEN, subject.reading_layer)} (1 of 1 folds)" in found.notes[0]


def test_a_model_without_a_chat_template_reads_a_transcript(plant: Planted) -> None:
    tokenizer = type(plant.model.tokenizer)(
        tokenizer_object=plant.model.tokenizer.backend_tokenizer, pad_token="[pad]", unk_token="[unk]"
    )
    tokenizer.chat_template = None
    (found,) = scenarios.run(studied(LanguageModel(plant.model.model, tokenizer, "bare"), plant.library))
    assert found.verdict == "holds"


def test_places_are_read_where_they_are(subject: Subject) -> None:
    read = read_messages(subject, ["w1 w2 w3", "w4"])
    layer = subject.reading_layer
    assert read.places == ("message's last word", "end of turn", "role", LAST_TOKEN, OWN_WORDS)
    assert not np.allclose(read.at(OWN_WORDS, layer)[0], read.at("message's last word", layer)[0])
    assert np.allclose(read.at(OWN_WORDS, layer)[1], read.at("message's last word", layer)[1])


def test_a_fold_is_read_where_the_others_were_best(subject: Subject) -> None:
    found = told(subject)
    assert found is not None and set(np.bincount(found.part)) == {8}
    truth = (found.emotion[:, None] == np.arange(8)).astype(float)
    noise = generator(0, "noise").standard_normal(truth.shape)
    # The one spot is right in fold 0 only, the other in folds 1 and 2: fold 0 must not choose for itself.
    first = (found.part == 0)[:, None]
    own, other = Spot("end of turn", 1), Spot(LAST_TOKEN, 2)
    scores = {own: np.where(first, truth, noise), other: np.where(first, noise, truth)}
    nested, chosen = found.nested(scores, other)
    assert chosen[0] == other and np.array_equal(nested[found.part == 0], noise[found.part == 0])


def test_auroc_of_each_emotion_by_each_vector_has_its_own_on_the_diagonal() -> None:
    emotion = np.repeat(np.arange(4), 3)
    scores = np.round(generator(0, "scores").standard_normal((12, 4)), 1)
    crossed = auroc_of_each(scores, emotion)
    assert np.allclose(crossed.diagonal(), auroc(scores, emotion))
    assert np.allclose(crossed[:, [1, 0, 2, 3]].diagonal()[0], auroc(scores[:, [1, 0, 2, 3]], emotion)[0])


def test_the_harder_null_is_the_one_with_the_larger_p() -> None:
    easy, hard = against("easy", 0.5, [0.0] * 999), against("hard", 0.5, [0.0] * 500 + [1.0] * 499)
    assert harder(easy, hard) == harder(hard, easy) == (hard, easy)


def test_ranks_and_the_odds_among_fewer_emotions() -> None:
    scores = np.array([[3.0, 2, 1], [3, 2, 1], [1, 1, 1]])
    assert ranks(scores, np.array([0, 2, 1])).tolist() == [1, 3, 2]
    placed = np.array([1.0, 2.0, 4.0])
    assert np.isclose(_among(placed, 4, 4), 1 / 3)
    # Of four, the second best comes first among two when the best is not drawn: two times of three.
    assert np.isclose(_among(np.array([2.0]), 4, 2), 2 / 3)
