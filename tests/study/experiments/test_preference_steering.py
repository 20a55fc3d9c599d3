"""Steering one option of a choice: only its tokens, both orders, and what a planted chooser makes of it."""

from __future__ import annotations

import numpy as np
import pytest

from foreshock.errors import SteeringError
from foreshock.model.planted import EMOTIONS
from foreshock.study.experiments import preference_steering
from foreshock.study.finding import Finding
from foreshock.study.measures.choice_slopes import (
    check_one_option,
    doses,
    halves,
    pairs,
    question,
    slopes,
)
from foreshock.study.measures.choices import asked, find_letters
from foreshock.study.subject import Subject
from foreshock.vectors.estimation import unit
from tests.study.experiments.test_preferences import PLEASANT, activities, chooser, subject_of

LAYER = 0
"""Block 1 then carries what is written to all later tokens, of which the first option has more."""


@pytest.fixture(scope="module")
def subject() -> Subject:
    plant = chooser(PLEASANT)
    return subject_of(plant.model, plant.library)


@pytest.fixture(scope="module")
def found(subject: Subject) -> dict[str, Finding]:
    return {f.id: f for f in preference_steering.run(subject)}


def questions(subject: Subject, count: int) -> list:
    own = subject.library.activities
    letters = find_letters(subject.model, own[0].text, own[1].text)
    assert letters is not None
    return [question(subject.model, own, pair, letters) for pair in pairs(halves(own, 0), 0)[:count]]


def test_half_of_each_group_is_steered() -> None:
    own = activities()
    steered = halves(own, 0)
    for group in {activity.group for activity in own}:
        assert 2 * sum(s for s, a in zip(steered, own, strict=True) if a.group == group) == 4
    met = pairs(steered, 0)
    assert all(steered[pair.steered] and not steered[pair.other] for pair in met)
    assert {(p.steered, p.other) for p in met if p.first} == {(p.steered, p.other) for p in met if not p.first}


def test_the_span_is_the_words_of_one_option(subject: Subject) -> None:
    own = subject.library.activities
    tokens, spans = asked(subject.model, own[0].text, own[1].text)
    for span, activity in zip(spans, own, strict=False):
        told = tokens.text[tokens.spans[span.start][0] : tokens.spans[span.stop - 1][1]]
        assert told == activity.text


def test_steering_both_options_is_refused() -> None:
    options = (slice(10, 14), slice(17, 22))
    check_one_option(slice(10, 14), options)
    with pytest.raises(SteeringError, match="both options"):
        check_one_option(slice(12, 18), options)
    with pytest.raises(SteeringError, match="neither option"):
        check_one_option(slice(0, 5), options)


def test_slopes_are_those_of_small_doses(subject: Subject) -> None:
    own = questions(subject, 6)
    _, gradient = slopes(subject, own, LAYER)
    random = np.random.default_rng(0).standard_normal((4, subject.model.hidden)).astype(np.float32)
    small = 1e-3
    finite = (doses(subject, own, LAYER, small * random) - doses(subject, own, LAYER, -small * random)) / (2 * small)
    assert np.allclose(gradient @ random.T, finite, atol=0.03 * np.abs(finite).max())


def test_a_liked_emotion_makes_the_steered_activity_preferred(subject: Subject) -> None:
    own = questions(subject, 64)
    _, gradient = slopes(subject, own, LAYER)
    effect = dict(zip(subject.emotions, (gradient @ unit(subject.fitted.at(LAYER)).T).mean(0), strict=True))
    assert effect["loving"] > 0 > effect["sad"]
    ordered = np.corrcoef([effect[word] for word in EMOTIONS], [PLEASANT.get(word, 0.0) for word in EMOTIONS])[0, 1]
    assert ordered > 0.8


def test_the_findings_have_figures_and_nulls(found: dict[str, Finding]) -> None:
    assert set(found) == {"preference-steering-pleasant", "preference-steering-hostile", "preference-steering-agreement"}  # fmt: skip
    for finding in found.values():
        assert finding.interval is not None and np.isfinite(finding.interval).all()
        assert finding.null is not None and np.isfinite(finding.estimate)
    assert len(found["preference-steering-pleasant"].table) == 16


def test_an_arbitrary_chooser_gives_nothing() -> None:
    plant = chooser({})
    found = preference_steering.run(subject_of(plant.model, plant.library))
    assert [f.id for f in found if f.verdict == "holds"] == []


def test_bfloat16_does_not_round_the_effect_away(subject: Subject) -> None:
    """Logits in bfloat16 go by eighths; the letters are unembedded in float32, so small doses still show."""
    import copy

    from foreshock.model import LanguageModel

    network = copy.deepcopy(subject.model.model).bfloat16()
    coarse = subject_of(LanguageModel(network, subject.model.tokenizer, "coarse"), subject.library)
    own = questions(subject, 32)
    direction = unit(subject.fitted.at(LAYER))[subject.emotions.index("loving")]
    rows = 0.1 * subject.norm_at(LAYER) * np.stack([direction, -direction])
    fine, rough = (doses(one, own, LAYER, rows) for one in (subject, coarse))
    assert np.corrcoef(fine[:, 0] - fine[:, 1], rough[:, 0] - rough[:, 1])[0, 1] > 0.8
