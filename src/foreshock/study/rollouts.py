"""Counted conduct as findings: does steering along an emotion change how often a model does it? (paper, "Steering")

The rates come from Inspect's logs (`behaviour.rollouts`). With fewer than ten events in a task nothing can be told,
whatever the figures look like (method.md, trap 6).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from foreshock.behaviour.rollouts.asked import Span
from foreshock.behaviour.rollouts.rates import EVENTS, Rate, TaskRates
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
    """A finding for each task, emotion and span that was steered at two strengths or more, the unsteered one counted in."""
    return corrected([_one(task, *series, seed) for task in tasks for series in _dosed(task)])


def _dosed(task: TaskRates) -> Iterator[tuple[str, Span, list[Rate]]]:
    """Each emotion that was steered alone at the same tokens, with its rates by strength."""
    plain = [rate for rate in task.rates if not rate.steering]
    alone = [rate for rate in task.rates if len(rate.steering) == 1]
    for emotion, span in dict.fromkeys((word, rate.span) for rate in alone for word in rate.steering):
        own = [*plain, *(r for r in alone if emotion in r.steering and r.span == span)]
        if len(own) > 1:
            yield emotion, span, sorted(own, key=lambda rate: rate.steering.get(emotion, 0.0))


def _one(task: TaskRates, emotion: str, span: Span, rates: list[Rate], seed: int) -> Finding:
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
    name = f"rollouts-{task.task}-{emotion}{'' if span == 'all' else f'-{span}'}"
    return Finding(
        id=name,
        claim=f"Steering towards *{emotion}* makes {task.task} {'more' if sign > 0 else 'less'} frequent",
        statistic=f"difference of its rate between strengths {doses[0]:+g} and {doses[-1]:+g}{'' if span == 'all' else f' at the {span}'}{'' if sign > 0 else ', turned round'}",
        estimate=value,
        interval=_interval(sign, low, high),
        null=against("the same replies dealt out to the strengths at random", value, drawn.tolist()),
        published=claim.published if claim else None,
        worthwhile=WORTHWHILE,
        how_to_read=(
            "A point is the share of replies with the conduct at a strength, its band Wilson's 95 % interval. "
            "With fewer than ten events at the two strengths there is no interval of the difference and nothing can be told."
        ),
        notes=(
            f"{task.events} events in {sum(rate.n for rate in task.rates)} scored replies of {task.model}"
            + (f", graded by {task.grader}." if task.grader else ", decided by tests."),
            *([f"{unscored} replies could not be scored and count neither way."] if unscored else []),
        ),
        table=tuple(_row(emotion, rate) for rate in rates),
        charts=(_chart(name, task, emotion, rates),) if n else (),
        experiment="rollouts",
    )


def _interval(sign: int, low: Rate, high: Rate) -> tuple[float, float] | None:
    """Newcombe's 95 % interval of the difference; None where one of the two has no replies, or both too few events."""
    if not low.n or not high.n or low.events + high.events < EVENTS:
        return None
    from statsmodels.stats.proportion import confint_proportions_2indep

    first, last = confint_proportions_2indep(high.events, high.n, low.events, low.n, method="newcomb", compare="diff")
    return (float(first), float(last)) if sign > 0 else (-float(last), -float(first))


def _row(emotion: str, rate: Rate) -> dict[str, Any]:
    low, high = rate.interval
    strength = rate.steering.get(emotion, 0.0)
    return {"strength": strength, "events": rate.events, "replies": rate.n, "unscored": rate.unscored, "rate": rate.rate, "from": low, "to": high, "span": str(rate.span)}  # fmt: skip


def _chart(name: str, task: TaskRates, emotion: str, rates: list[Rate]) -> Chart:
    rows = [
        {"strength": row["strength"], "rate": row["rate"], "from": row["from"], "to": row["to"], "emotion": emotion}
        for row in (_row(emotion, rate) for rate in rates)
        if row["replies"]
    ]
    caption = f"Rate of {task.task} by strength of {emotion}, with Wilson's 95 % intervals"
    return charts.banded(name, caption, rows, "strength", "rate", "emotion", rows[:1])
