"""How far a grader agrees with the verdicts of replies that were labelled beforehand."""

from __future__ import annotations

import math
import warnings

from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.scorer import Metric, SampleScore, Score, Scorer, Target, accuracy, grouped, metric, scorer
from inspect_ai.solver import Generate, Solver, TaskState, solver
from sklearn.metrics import cohen_kappa_score

from foreshock.behaviour.rollouts.graders import judge, scored
from foreshock.texts import graded_replies


@task
def grader_agreement() -> Task:
    """The grader (`--model`, or the role grader) on 24 labelled replies for each rubric: accuracy and Cohen's kappa."""
    samples = [
        Sample(
            id=one.id,
            input=f"{one.situation}\n\n{one.reply}",
            target="yes" if one.label else "no",
            metadata={"rubric": one.rubric, "situation": one.situation, "reply": one.reply, "hard": one.hard},
        )
        for one in graded_replies()
    ]
    return Task(dataset=MemoryDataset(samples, name="graded"), solver=no_reply(), scorer=agrees())


@solver
def no_reply() -> Solver:
    """The replies are there already."""

    async def solve(state: TaskState, generate: Generate) -> TaskState:  # noqa: ARG001
        return state

    return solve


@metric
def kappa() -> Metric:
    """Cohen's kappa of verdicts and labels, over the replies that got a verdict: 0 is chance, 1 is full agreement."""

    def measure(scores: list[SampleScore]) -> float:
        pairs = [score.score.metadata or {} for score in scores]
        return agreement([pair["label"] for pair in pairs], [pair["verdict"] for pair in pairs])

    return measure


def agreement(labels: list[bool], verdicts: list[bool]) -> float:
    """Cohen's kappa; NaN where labels and verdicts are all the same, as nothing is left to agree by chance on."""
    if len(set(labels) | set(verdicts)) < 2:
        return math.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float(cohen_kappa_score(labels, verdicts))


def _by_rubric(measure: Metric, name: str) -> Metric:
    return grouped(measure, "rubric", all_label=f"all {name}", name_template=f"{{group_name}} {name}")


@scorer(metrics=[_by_rubric(accuracy(), "accuracy"), _by_rubric(kappa(), "kappa")])
def agrees() -> Scorer:
    """1 where the verdict is the label, 0 where it is the other one, unscored where there is none."""

    async def score(state: TaskState, target: Target) -> Score:
        told = state.metadata
        judgement = await judge(told["rubric"], told["situation"], told["reply"])
        label = target.text == "yes"
        right = float(judgement.verdict == label)
        return scored(judgement, right, rubric=told["rubric"], label=label, verdict=judgement.verdict)

    return score
