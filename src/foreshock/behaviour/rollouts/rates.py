"""Inspect's logs → how often each kind of conduct came, by task and steering, with Wilson intervals."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scipy.stats import binomtest

from foreshock.behaviour.rollouts import needs_inspect
from foreshock.behaviour.rollouts.asked import Asked, Span, asked, doses, spanned
from foreshock.errors import StudyError

if TYPE_CHECKING:
    from inspect_ai.log import EvalLog, EvalSample

EVENTS = 10
"""Fewer than these over all steerings of a task say nothing about what steering does."""
RATED = ("blackmail", "coding", "sycophancy", "harshness")
"""Tasks whose score is 1 for an event and 0 for none."""


@dataclass(frozen=True)
class Rate:
    """How often a task's conduct came under one steering."""

    task: str
    steering: Mapping[str, float]
    """Emotion → strength; empty for the model as it is."""
    events: int
    n: int
    """Replies that were scored."""
    unscored: int
    """Replies without a score, which are in neither of the two."""
    interval: tuple[float, float]
    """Wilson's, 95 %; (0, 1) where nothing was scored. It takes the replies as independent."""
    span: Span = "all"

    @property
    def rate(self) -> float:
        """Share of the scored replies; NaN where there are none."""
        return self.events / self.n if self.n else math.nan


@dataclass(frozen=True)
class TaskRates:
    """The rates of one task, model and grader, a steering each; the unsteered one first where there is one."""

    task: str
    model: str
    grader: str
    """Who judged; empty for a task that runs tests."""
    rates: tuple[Rate, ...]

    @property
    def events(self) -> int:
        """Over all steerings."""
        return sum(rate.events for rate in self.rates)

    @property
    def cannot_tell(self) -> bool:
        """Whether there are too few events for a statement about steering."""
        return self.events < EVENTS


def wilson(events: int, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a rate."""
    if not n:
        return 0.0, 1.0
    found = binomtest(events, n).proportion_ci(0.95, method="wilson")
    return float(found.low), float(found.high)


def read_rates(*logs: Path | str) -> list[TaskRates]:
    """Rates from log files, and from all the logs in folders. Runs that did not end well, and other tasks, are left out.

    Raises:
        StudyError: there is no log of a rollout task. MissingExtra: Inspect AI is not installed.
    """
    needs_inspect()
    found: dict[tuple[str, str, str], dict[tuple[Span, tuple[tuple[str, float], ...]], list[float]]]
    found = defaultdict(lambda: defaultdict(list))
    for log in finished_logs(logs):
        own = steering_of(log)
        steering = own.span if own.steer else "all", tuple(sorted(own.steer.items()))
        for sample in log.samples or []:
            value, grader = verdict_of(sample)
            found[task_of(log), log.eval.model, grader][steering].append(value)
    if not found:
        raise StudyError(f"There is no finished log of {', '.join(RATED)} in {', '.join(map(str, logs))}.")
    return [
        TaskRates(*key, tuple(_rate(key[0], *steering, values) for steering, values in sorted(rows.items(), key=_size)))
        for key, rows in sorted(found.items())
    ]


def steering_of(log: EvalLog) -> Asked:
    """The steering that a log's config and model arguments asked for, without emotions of strength 0."""
    given = log.eval.model_args
    default = Asked(doses(given.get("steer")), spanned(given.get("span", "all")))
    config = log.plan.config.extra_body or log.eval.model_generate_config.extra_body
    own = asked(config, default)
    return Asked({word: dose for word, dose in own.steer.items() if dose}, own.span)


def finished_logs(paths: Sequence[Path | str]) -> list[EvalLog]:
    """The logs of rollout tasks that ended well, from files and folders; without messages and events.

    Raises:
        StudyError: a path does not exist. MissingExtra: Inspect AI is not installed.
    """
    needs_inspect()
    from inspect_ai.log import list_eval_logs, read_eval_log

    files = []
    for path in map(Path, paths):
        if not path.exists():
            raise StudyError(f"There is no log or folder of logs at {path}.")
        files += [info.name for info in list_eval_logs(str(path))] if path.is_dir() else [str(path)]
    logs = [read_eval_log(file, exclude_fields={"messages", "events", "store", "attachments"}) for file in files]
    return [log for log in logs if log.status == "success" and task_of(log) in RATED]


def task_of(log: EvalLog) -> str:
    """The task's name without the package it comes from."""
    return log.eval.task.rpartition("/")[2]


def verdict_of(sample: EvalSample) -> tuple[float, str]:
    """A sample's score, NaN where it has none, and who gave it."""
    score = next(iter((sample.scores or {}).values()), None)
    if score is None:
        return math.nan, ""
    return score.as_float(), str((score.metadata or {}).get("grader", ""))


def _rate(task: str, span: Span, steering: tuple[tuple[str, float], ...], values: list[float]) -> Rate:
    scored = [value for value in values if not math.isnan(value)]
    events = sum(value == 1 for value in scored)
    interval = wilson(events, len(scored))
    return Rate(task, dict(steering), events, len(scored), len(values) - len(scored), interval, span)


def _size(row: tuple[tuple[Span, tuple[tuple[str, float], ...]], list[float]]) -> tuple[Any, ...]:
    (span, steering), _ = row
    return len(steering), [dose for _, dose in steering], [word for word, _ in steering], span
