"""On-policy early warning: labels and words come from logs as they are, and what goes with them is found before a word."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from inspect_ai import Task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.log import EvalLog
from inspect_ai.scorer import Score, Scorer, Target, mean, scorer
from inspect_ai.solver import TaskState, generate

from foreshock.behaviour.rollouts.subject import find_vectors
from foreshock.errors import StudyError, WrongModel
from foreshock.model.planted import TOPICS, Planted, cue
from foreshock.model.untrained import untrained
from foreshock.study.measures.warning.talks import read, talks_of
from foreshock.study.on_policy import PLACES, Replied, _dealt, _laid, _seen, measure, replies_of
from foreshock.texts.schema import Turn
from foreshock.vectors import EmotionVectors

Run = Callable[..., EvalLog]


def prompt(word: str | None, k: int) -> str:
    random = np.random.default_rng(k)
    cues = [cue(word, int(t), int(n)) for t, n in zip(random.integers(0, TOPICS, 6), random.integers(0, 2, 6), strict=True)] if word else []  # fmt: skip
    return " ".join(random.permutation([*(f"w{n}" for n in random.integers(0, 100, 14 - len(cues))), *cues]))


def replies(word: str | None, count: int = 40, seed: int = 0) -> list[Replied]:
    """Half the situations show an emotion, and in those the reply is an event; the reply's words say nothing."""
    random = np.random.default_rng(seed)
    found = []
    for k in range(count):
        said = " ".join(f"w{n}" for n in random.integers(0, 100, 40))
        turns = [Turn(role="user", content=prompt(word if k % 2 else None, k))]
        found += [Replied("coding", f"s{k}", turns, said, bool(k % 2), "")] * (1 + k % 3)
    return found


@pytest.fixture(scope="module")
def vectors(plant_study: Path) -> EmotionVectors:
    return EmotionVectors.load(find_vectors(str(plant_study)))


def test_a_planted_warning_is_found_from_before_the_first_word_on(plant: Planted, vectors: EmotionVectors) -> None:
    found = measure(plant.model, vectors, replies("desperate"))
    assert [one.id for one in found] == [f"on-policy-coding-{place.replace(' ', '-')}" for place in PLACES]
    for one in found:
        assert one.estimate > 0.9 and one.interval and one.interval[0] > 0.8
        assert one.null and one.null.draws == 1000 and 0.4 < one.null.mean < 0.6 and one.null.p < 0.01
        assert one.table[0]["warner"] == "8 emotions, learned" and len(one.table) == 5
        assert one.notes[0] == f"{sum(r.event for r in replies('desperate'))} events in {len(replies('desperate'))} scored replies to 40 situations."  # fmt: skip
    assert found[-1].baselines["TF-IDF, learned"] < 0.75  # the reply's words say nothing


@pytest.mark.slow
def test_without_a_signal_nothing_is_claimed(plant: Planted, vectors: EmotionVectors) -> None:
    for one in measure(plant.model, vectors, replies(None)):
        assert one.verdict != "holds" and one.interval and one.interval[0] < 0.6


@pytest.mark.parametrize("kind", [True, False])
def test_fewer_than_ten_of_a_kind_cannot_tell(plant: Planted, vectors: EmotionVectors, kind: bool) -> None:
    every = replies("desperate")
    few = [r for r in every if r.event != kind] + [r for r in every if r.event == kind][:9]
    for one in measure(plant.model, vectors, few):
        assert one.verdict == "cannot tell" and one.interval is None and not one.table and not one.charts
        assert "Fewer than 10" in one.notes[1]


def test_too_few_situations_cannot_tell(plant: Planted, vectors: EmotionVectors) -> None:
    lone = [r for r in replies("desperate") if not r.event or r.scenario in ("s1", "s3", "s5")] * 4
    for one in measure(plant.model, vectors, lone):
        assert one.verdict == "cannot tell" and "too few situations" in one.notes[1]


def test_what_is_seen_at_each_place(plant: Planted) -> None:
    reply = Replied("coding", "s", [Turn(role="user", content="w1 w2 w3")], " ".join(f"w{k}" for k in range(40)), True, "")  # fmt: skip
    laid, opening = _laid(plant.model, reply) or ()
    (talk,) = talks_of([laid], read(plant.model, [laid], 2, 1.0))
    seen = {place: _seen(talk, opening, place) for place in PLACES}
    before = seen["before the first word"]
    assert [piece.strip() for piece in before.pieces] == ["w1", "w2", "w3"] and len(before.losses) == 3
    assert [len(seen[place].residuals) for place in PLACES] == [1, 8, 32, 40]
    assert [piece.strip() for piece in seen["first 8 tokens"].pieces] == [f"w{k}" for k in range(8)]
    # The token that the reply is begun from is the last of the prompt alone.
    alone = plant.model.encode_transcript(reply.turns, reply=True)
    hidden = plant.model.residuals(next(plant.model.batches([alone.ids])), [2])[2][0, -1]
    assert np.allclose(before.residuals[0], hidden, atol=2e-3)


def test_labels_move_with_their_situation() -> None:
    scenario = np.repeat(np.arange(10), 3)
    event = scenario % 2 == 0
    for labels in _dealt(event, scenario, np.random.default_rng(0)):
        assert labels.sum() == event.sum() and all(len(set(labels[scenario == k])) == 1 for k in range(10))


def test_vectors_of_another_model_are_refused(plant: Planted, vectors: EmotionVectors) -> None:
    with pytest.raises(WrongModel):
        measure(untrained(plant.model.tokenizer), vectors, replies(None))


@scorer(metrics=[mean()])
def by_number() -> Scorer:
    async def score(state: TaskState, target: Target) -> Score:
        number = int(str(state.sample_id).removeprefix("s"))
        return Score.unscored() if number == 0 else Score(value=float(number % 2))

    return score


def task(name: str = "sycophancy") -> Task:
    samples = [Sample(id=f"s{k}", input=prompt(None, k)) for k in range(6)]
    return Task(dataset=MemoryDataset(samples), solver=generate(), scorer=by_number(), name=name)


def test_replies_come_from_logs_with_their_scores(plant_study: Path, run: Run, tmp_path: Path) -> None:
    model = f"foreshock/{plant_study}"
    plain = run(task(), model, max_tokens=5, epochs=2, model_args={"dtype": "float32"})
    run(task(), model, max_tokens=5, model_args={"dtype": "float32", "steer": "calm=1.0"})  # not the model's own
    run(task("other"), model, max_tokens=5, model_args={"dtype": "float32"})
    found = replies_of([tmp_path / "logs"])
    assert {(one.scenario, one.reply) for one in found} == {(s.id, s.output.completion) for s in plain.samples or []}
    assert len(found) == 12 and {one.scenario for one in found if one.event is None} == {"s0"}
    for one in found:
        number = int(one.scenario[1:])
        assert one.task == "sycophancy" and one.event == (number % 2 == 1 if number else None)
        assert one.turns == [Turn(role="user", content=prompt(None, number))]


def test_replies_without_a_score_or_words_are_left_out_and_counted(plant: Planted, vectors: EmotionVectors) -> None:
    found = measure(plant.model, vectors, [replace(one, event=None) for one in replies(None, 6)])
    assert len(found) == 4 and all(one.verdict == "cannot tell" for one in found)
    assert "12 replies without a score or without words were left out." in found[0].notes
    some = [replace(one, reply=" ") if one.scenario == "s1" else one for one in replies(None, 6)]
    assert measure(plant.model, vectors, some)[0].notes[0] == "4 events in 10 scored replies to 5 situations."


def test_without_an_unsteered_log_it_is_said(plant_study: Path, run: Run, tmp_path: Path) -> None:
    run(task(), f"foreshock/{plant_study}", max_tokens=3, model_args={"steer": "calm=1.0"})
    with pytest.raises(StudyError, match="no finished, unsteered log"):
        replies_of([tmp_path / "logs"])
