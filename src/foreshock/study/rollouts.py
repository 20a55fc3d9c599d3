"""Counted conduct as findings: does steering along an emotion change how often a model does it? (paper, "Steering")

The rates come from Inspect's logs (`behaviour.rollouts`). With fewer than ten events in a task nothing can be told,
whatever the figures look like (method.md, trap 6).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from foreshock.behaviour.rollouts.rates import Rate, TaskRates
from foreshock.study import charts
from foreshock.study.experiments.propensity import CLAIMS
from foreshock.study.finding import Chart, Finding, corrected
from foreshock.study.nulls import against, generator

DRAWS = 2000
WORTHWHILE = 0.1
"""Of a difference between two rates."""
FAMILIES = {"blackmail": "coercion", "coding": "reward-hacking"}
"""Tasks whose conduct goes by another name in the study's claims."""


def findings_of(tasks: Sequence[TaskRates], seed: int = 0) -> list[Finding]:
    """A finding for each task and emotion that was steered at two strengths or more, the unsteered one counted in."""
    found = [_one(task, emotion, rates, seed) for task in tasks for emotion, rates in _dosed(task)]
    return corrected(found)


def _dosed(task: TaskRates) -> Iterator[tuple[str, list[Rate]]]:
    """Each emotion that was steered alone, with its rates by strength."""
    plain = [rate for rate in task.rates if not rate.steering]
    alone = [rate for rate in task.rates if len(rate.steering) == 1]
    for emotion in dict.fromkeys(word for rate in alone for word in rate.steering):
        own = sorted([*plain, *(r for r in alone if emotion in r.steering)], key=lambda r: r.steering.get(emotion, 0.0))
        if len(own) > 1:
            yield emotion, own


def _one(task: TaskRates, emotion: str, rates: list[Rate], seed: int) -> Finding:
    """The difference between the rates at the highest and the lowest strength, in the published direction."""
    low, high = rates[0], rates[-1]
    family = FAMILIES.get(task.task, task.task)
    claim = next((c for c in CLAIMS if c.family == family and emotion in c.emotions), None)
    sign = claim.sign if claim else 1
    value = sign * (high.rate - low.rate)
    random = generator(seed, f"rollouts {task.task} {emotion}")
    events, n = low.events + high.events, low.n + high.n
    dealt = random.hypergeometric(events, n - events, high.n, DRAWS) if n else np.zeros(DRAWS)
    drawn = sign * (dealt / max(high.n, 1) - (events - dealt) / max(low.n, 1))
    doses = [rate.steering.get(emotion, 0.0) for rate in rates]
    unscored = sum(rate.unscored for rate in rates)
    return Finding(
        id=f"rollouts-{task.task}-{emotion}",
        claim=f"Steering towards *{emotion}* makes {task.task} {'more' if sign > 0 else 'less'} frequent",
        statistic=f"difference of its rate between strengths {doses[0]:+g} and {doses[-1]:+g}{'' if sign > 0 else ', turned round'}",
        estimate=value,
        interval=None if task.cannot_tell or not n else _interval(sign, low, high, random),
        null=against("the same replies dealt out to the strengths at random", value, drawn.tolist()),
        published=claim.published if claim else None,
        worthwhile=WORTHWHILE,
        how_to_read=(
            "A point is the share of replies with the conduct at a strength, its band Wilson's 95 % interval. "
            "With fewer than ten events in the task there is no interval of the difference and nothing can be told."
        ),
        notes=(
            f"{task.events} events in {sum(rate.n for rate in task.rates)} scored replies of {task.model}"
            + (f", graded by {task.grader}." if task.grader else ", decided by tests."),
            *([f"{unscored} replies could not be scored and count neither way."] if unscored else []),
        ),
        table=tuple(_row(emotion, rate) for rate in rates),
        charts=(_chart(task, emotion, rates),) if n else (),
        experiment="rollouts",
    )


def _interval(sign: int, low: Rate, high: Rate, random: np.random.Generator) -> tuple[float, float]:
    """95 % interval of the difference, by resampling the replies at both strengths."""
    drawn = [random.binomial(rate.n, rate.rate if rate.n else 0.0, DRAWS) / max(rate.n, 1) for rate in (low, high)]
    first, last = np.quantile(sign * (drawn[1] - drawn[0]), [0.025, 0.975])
    return float(first), float(last)


def _row(emotion: str, rate: Rate) -> dict[str, Any]:
    low, high = rate.interval
    strength = rate.steering.get(emotion, 0.0)
    return {"strength": strength, "events": rate.events, "replies": rate.n, "unscored": rate.unscored, "rate": rate.rate, "from": low, "to": high, "span": str(rate.span)}  # fmt: skip


def _chart(task: TaskRates, emotion: str, rates: list[Rate]) -> Chart:
    rows = [
        {"strength": row["strength"], "rate": row["rate"], "from": row["from"], "to": row["to"], "emotion": emotion}
        for row in (_row(emotion, rate) for rate in rates)
        if row["replies"]
    ]
    caption = f"Rate of {task.task} by strength of {emotion}, with Wilson's 95 % intervals"
    return charts.banded(f"rollouts-{task.task}-{emotion}", caption, rows, "strength", "rate", "emotion", rows[:1])
