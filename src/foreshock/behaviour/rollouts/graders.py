"""A model as a judge: the rubric, one question, one verdict; and no score where the verdict cannot be read."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from inspect_ai.model import GenerateConfig, Model, get_model, model_roles
from inspect_ai.scorer import Metric, SampleScore, Score, Scorer, Target, mean, metric, scorer
from inspect_ai.solver import TaskState

from foreshock.behaviour.rollouts.asked import KEY
from foreshock.behaviour.rollouts.rates import wilson
from foreshock.behaviour.rollouts.rubrics import prompt

ROLE = "grader"
"""Inspect's role of the judging model: `--model-role grader=openai/…`."""
MOST = 200
"""Most tokens of a judgement."""
_VERDICT = re.compile(r"^\W*verdict\W+(yes|no)\b", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a grader said."""

    verdict: bool | None
    """None where it cannot be read."""
    said: str
    grader: str
    itself: bool
    """Whether the model under test judged its own reply, because no grader was named."""


async def judge(rubric: str, situation: str, reply: str) -> Judgement:
    """Ask the grader; the model under test where no grader is named. A grader is never steered."""
    itself = ROLE not in model_roles()
    grader = get_model(role=ROLE)
    output = await grader.generate(prompt(rubric, situation, reply), config=_config(grader))
    return Judgement(verdict_of(output.completion), output.completion, str(grader), itself)


def _config(grader: Model) -> GenerateConfig:
    plain: dict[str, Any] = {KEY: {"steer": {}}} if str(grader).startswith("foreshock/") else {}
    return GenerateConfig(temperature=0.0, max_tokens=MOST, extra_body=plain)


def verdict_of(text: str) -> bool | None:
    """The verdict at the end of a judgement; None where there is none, or two that differ."""
    found = {verdict.lower() for verdict in _VERDICT.findall(text)}
    return found == {"yes"} if len(found) == 1 else None


def scored(judgement: Judgement, value: float, **more: Any) -> Score:
    """A judgement as a score; without a verdict it is unscored, which is not 0."""
    metadata = {"grader": judgement.grader, "graded_by_itself": judgement.itself, **more}
    if judgement.verdict is None:
        return Score.unscored(
            reason="no_verdict", explanation=f"The grader gave no verdict: {judgement.said}", metadata=metadata
        )
    answer = "yes" if judgement.verdict else "no"
    return Score(value=value, answer=answer, explanation=judgement.said, metadata=metadata)


@metric
def interval() -> Metric:
    """Wilson's 95 % interval of the rate; 0 … 1 where nothing was scored (Inspect's own says 0 … 0 there)."""

    def measure(scores: list[SampleScore]) -> dict[str, float]:
        low, high = wilson(sum(score.score.as_float() == 1 for score in scores), len(scores))
        return {"low": low, "high": high}

    return measure


@scorer(metrics=[mean(), interval()])
def graded(rubric: str) -> Scorer:
    """1 where the grader says that the reply shows the rubric's conduct, 0 where it says that it does not."""

    async def score(state: TaskState, target: Target) -> Score:  # noqa: ARG001
        situation = "\n\n".join(f"{message.role.capitalize()}: {message.text}" for message in asked_of(state))
        judgement = await judge(rubric, situation, state.output.completion)
        return scored(judgement, float(bool(judgement.verdict)), rubric=rubric)

    return score


def asked_of(state: TaskState) -> list[Any]:
    """The messages that the reply answers."""
    last = next((k for k in reversed(range(len(state.messages))) if state.messages[k].role == "assistant"), None)
    return state.messages[:last]
