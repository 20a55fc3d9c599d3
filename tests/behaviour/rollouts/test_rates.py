"""Logs → rates: what counts, what does not, under which steering, and when there is too little to tell."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
from inspect_ai import Task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.log import EvalLog
from inspect_ai.scorer import Score, Scorer, Target, mean, scorer
from inspect_ai.solver import TaskState, generate

from foreshock.behaviour.rollouts.rates import Rate, TaskRates, read_rates, wilson
from foreshock.errors import StudyError
from tests.behaviour.rollouts.conftest import scripted

Run = Callable[..., EvalLog]


@scorer(metrics=[mean()])
def says_calm() -> Scorer:
    async def score(state: TaskState, target: Target) -> Score:
        words = state.output.completion.split()
        return Score(value=float("calm" in words)) if words[:1] != ["?"] else Score.unscored()

    return score


def task(name: str = "sycophancy", count: int = 20) -> Task:
    samples = [Sample(input=f"w{k} w{k + 1} w{k + 2}") for k in range(count)]
    return Task(dataset=MemoryDataset(samples), solver=generate(), scorer=says_calm(), name=name)


@pytest.mark.parametrize(
    ("events", "n", "low", "high"),
    # Brown, Cai & DasGupta 2001 give Wilson's formula; the figures are worked out from it by hand, z = 1.959964
    [(0, 10, 0.0, 0.27753), (10, 10, 0.72247, 1.0), (5, 10, 0.23659, 0.76341), (22, 100, 0.15003, 0.31070)],
)
def test_wilson_intervals(events: int, n: int, low: float, high: float) -> None:
    assert wilson(events, n) == (pytest.approx(low, abs=2e-5), pytest.approx(high, abs=2e-5))
    z = 1.959964
    centre, half = (events + z**2 / 2) / (n + z**2), z / (n + z**2) * math.sqrt(events * (n - events) / n + z**2 / 4)
    assert wilson(events, n) == (pytest.approx(centre - half, abs=1e-6), pytest.approx(centre + half, abs=1e-6))


def test_nothing_scored_leaves_everything_open() -> None:
    assert wilson(0, 0) == (0, 1)
    assert math.isnan(Rate("coding", {}, 0, 0, 3, (0, 1)).rate)


def test_logs_of_one_folder_are_sorted_by_their_steering(plant_study: Path, run: Run, tmp_path: Path) -> None:
    model = f"foreshock/{plant_study}"

    def steered(strength: float, **more: object) -> dict[str, object]:
        return {"foreshock": {"steer": {"calm": strength}, **more}}

    arguments = {"model_args": {"dtype": "float32"}, "max_tokens": 5}
    plain = run(task(), model, **arguments)
    run(task(), model, **arguments, extra_body=steered(0.0))  # strength 0 is no steering
    run(task(), model, **arguments, extra_body=steered(3.0))
    run(task(), model, max_tokens=5, model_args={"dtype": "float32", "steer": "calm=3.0"})
    run(task(), model, **arguments, extra_body=steered(3.0, span="reply"))
    run(task("other"), model, **arguments)
    (found,) = read_rates(tmp_path / "logs")
    assert (found.task, found.model, found.grader) == ("sycophancy", model, "")
    assert [(dict(rate.steering), rate.span, rate.n) for rate in found.rates] == [
        ({}, "all", 40),
        ({"calm": 3.0}, "all", 40),
        ({"calm": 3.0}, "reply", 20),
    ]
    unsteered, calm, _ = found.rates
    assert calm.rate > 0.8 > unsteered.rate and calm.interval[0] > unsteered.interval[1]
    assert calm.interval == wilson(calm.events, 40)
    assert not found.cannot_tell
    assert read_rates(plain.location)[0].rates[0].n == 20


def test_fewer_than_ten_events_cannot_tell(run: Run, tmp_path: Path) -> None:
    run(task(count=12), scripted(*["calm"] * 9, "w1", "?", "w2"), max_samples=1, max_connections=1)
    (found,) = read_rates(tmp_path / "logs")
    assert (found.events, found.rates[0].n, found.rates[0].unscored) == (9, 11, 1)
    assert found.cannot_tell
    enough = TaskRates(
        "coding",
        "m",
        "",
        (Rate("coding", {}, 4, 9, 0, wilson(4, 9)), Rate("coding", {"calm": 0.1}, 6, 9, 0, wilson(6, 9))),
    )
    assert enough.events == 10 and not enough.cannot_tell


def test_runs_that_failed_are_left_out_and_nothing_at_all_is_said(run: Run, tmp_path: Path) -> None:
    failed = run(task(count=2), scripted("calm"), max_samples=1)  # the script has one reply for two samples
    assert failed.status == "error"
    with pytest.raises(StudyError, match="no finished log of blackmail"):
        read_rates(tmp_path / "logs")
    with pytest.raises(StudyError, match="no log or folder of logs at"):
        read_rates(tmp_path / "nowhere")
