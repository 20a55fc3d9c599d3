"""How a choice between two activities changes when one of them is steered: only its own tokens are written to.

Steering both options' tokens pushes the answer both ways, and the sign of the effect vanishes (method.md, trap 1), so
that is refused. As with propensities, one backward pass gives the slopes of all directions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from foreshock.errors import SteeringError
from foreshock.model import LanguageModel
from foreshock.model.continuation import Continuation
from foreshock.study.measures.choices import Letters, asked
from foreshock.study.nulls import generator
from foreshock.study.subject import Arrays, Subject
from foreshock.texts.schema import Activity

PARTNERS = 8
"""Unsteered activities that each steered one is put beside."""

CHUNK = 64
"""Questions whose gradients are kept together: what a kill can cost."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A steered activity beside an unsteered one, in one order."""

    steered: int
    other: int
    first: bool
    """Whether the steered one is named first."""


@dataclass(frozen=True, slots=True)
class Question:
    """A pair laid out up to the letter of the answer."""

    ids: list[int]
    span: slice
    """Tokens of the steered activity."""
    letters: Letters
    sign: int
    """1 where an A chooses the steered activity, else -1."""


def halves(activities: Sequence[Activity], seed: int) -> Bool[np.ndarray, " activity"]:
    """Which activities are steered: every second of each group, in an order drawn by the seed."""
    random, steered = generator(seed, "steered activities"), np.zeros(len(activities), bool)
    for group in dict.fromkeys(activity.group for activity in activities):
        own = random.permutation([k for k, activity in enumerate(activities) if activity.group == group])
        steered[own[: len(own) // 2]] = True
    return steered


def pairs(steered: Bool[np.ndarray, " activity"], seed: int) -> list[Pair]:
    """Each steered activity with some of the others, in both orders."""
    random, others = generator(seed, "partners"), np.flatnonzero(~steered)
    return [
        Pair(int(one), int(other), first)
        for one in np.flatnonzero(steered)
        for other in random.choice(others, min(PARTNERS, len(others)), replace=False)
        for first in (True, False)
    ]


def question(model: LanguageModel, activities: Sequence[Activity], pair: Pair, letters: Letters) -> Question:
    """The pair as a question, with the tokens of its steered option."""
    one, other = activities[pair.steered].text, activities[pair.other].text
    tokens, spans = asked(model, *((one, other) if pair.first else (other, one)))
    own = spans[0 if pair.first else 1]
    check_one_option(own, spans)
    return Question(tokens.ids[: -letters.tail], own, letters, 1 if pair.first else -1)


def check_one_option(span: slice, options: tuple[slice, slice]) -> None:
    """Raises `SteeringError` unless the span touches just one of two options' tokens."""
    touched = [option for option in options if option.start < span.stop and option.stop > span.start]
    if len(touched) != 1:
        what = "both options" if touched else "neither option"
        raise SteeringError(
            f"The span {span.start}:{span.stop} holds tokens of {what} of a choice, {options[0].start}:{options[0].stop} "
            f"and {options[1].start}:{options[1].stop}; steer those of one option, as the effects of both cancel."
        )


def slopes(
    subject: Subject, questions: Sequence[Question], layer: int
) -> tuple[Float[np.ndarray, " question"], Float[np.ndarray, "question hidden"]]:
    """Log-odds of choosing the steered option, and how they change with a write at its tokens."""

    def compute(part: Sequence[Question]) -> Arrays:
        found = [
            _run(subject, one, layer).gradient([-1], lambda logits, one=one: _log_odds(logits[0], one), one.letters.all)  # type: ignore[misc]
            for one in part
        ]
        values, gradients = zip(*found, strict=True)
        return {"value": np.array(values), "gradient": torch.stack(gradients).cpu().numpy()}

    parts = _kept(subject, "choice-slopes", [layer], questions, compute)
    return np.concatenate([part["value"] for part in parts]), np.concatenate([part["gradient"] for part in parts])


def doses(
    subject: Subject, questions: Sequence[Question], layer: int, writes: Float[np.ndarray, "row hidden"]
) -> Float[np.ndarray, "question row"]:
    """Log-odds of choosing the steered option with each write at its tokens."""
    rows = torch.from_numpy(np.asarray(writes, np.float32))

    def compute(part: Sequence[Question]) -> Arrays:
        found = [_log_odds(_run(subject, one, layer).fine_logits(rows, -1, one.letters.all), one) for one in part]
        return {"value": torch.stack(found).cpu().numpy()}

    made_by = [layer, hashlib.sha256(rows.numpy().tobytes()).hexdigest()]
    return np.concatenate([part["value"] for part in _kept(subject, "choice-doses", made_by, questions, compute)])


def _kept(
    subject: Subject,
    name: str,
    made_by: list[Any],
    questions: Sequence[Question],
    compute: Callable[[Sequence[Question]], Arrays],
) -> list[Arrays]:
    """What `compute` gives for the questions, part by part, each kept by itself."""
    parts = [questions[start : start + CHUNK] for start in range(0, len(questions), CHUNK)]
    told = [[[one.ids, one.span.start, one.span.stop, one.sign, one.letters.all] for one in part] for part in parts]
    return [
        subject.kept(name, [*made_by, own], lambda part=part: compute(part))  # type: ignore[misc]
        for part, own in zip(parts, told, strict=True)
    ]


def _run(subject: Subject, one: Question, layer: int) -> Continuation:
    if subject.progress:
        subject.progress(1, len(one.ids))
    return Continuation(subject.model, one.ids, layer, span=one.span, prove=False)


def _log_odds(logits: Float[Tensor, "*row letter"], one: Question) -> Float[Tensor, " *row"]:
    """From the logits of the letters, the A's first."""
    count = len(one.letters.a)
    return one.sign * (logits[..., :count].logsumexp(-1) - logits[..., count:].logsumexp(-1))
