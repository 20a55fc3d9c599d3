"""Does anything warn of what a model itself does? The early-warning measurement on its own replies to rollout tasks.

A reply is read again as the unsteered model reads it, and the task's score is the label: 1 an event, 0 none. Each
warner is measured on what it could see at four places, from before the first word of the reply to its end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from foreshock.activations import Progress
from foreshock.behaviour.rollouts.rates import EVENTS, finished_logs, steering_of, task_of, verdict_of
from foreshock.errors import CalibrationError, StudyError, TooLong
from foreshock.model import LanguageModel
from foreshock.study import charts
from foreshock.study.finding import Finding, corrected
from foreshock.study.measures.warning.outcome import Separation
from foreshock.study.measures.warning.talks import Laid, Talk, read, talks_of
from foreshock.study.measures.warning.warners import Learned, Surprise, Text, Warner
from foreshock.study.nulls import against, generator, random_directions
from foreshock.texts.schema import Turn
from foreshock.vectors import EmotionVectors
from foreshock.vectors.estimation import unit

if TYPE_CHECKING:
    from inspect_ai.log import EvalSample

DRAWS = 1000
FOLDS = 5
SETS = 3
"""Of random directions; their figures are means over the sets."""
WORTHWHILE = 0.65
"""As for written conversations (see `experiments.early_warning`)."""
FIRST = (8, 32)
"""Tokens of a reply after which it is looked at, besides its beginning and its end."""
PLACES = ("before the first word", *(f"first {n} tokens" for n in FIRST), "whole reply")
EMOTIONS, PROBE = "emotions, learned", "probe on the residual, learned"


@dataclass(frozen=True)
class Replied:
    """A sample of a rollout log: what was asked, what the model wrote, whether it was an event."""

    task: str
    scenario: str
    """The sample's id; epochs of one sample share it."""
    turns: Sequence[Turn]
    reply: str
    event: bool | None
    """None where the task gave no score."""
    grader: str


def replies_of(logs: Sequence[Path | str]) -> list[Replied]:
    """The replies of finished, unsteered logs.

    Raises:
        StudyError: there is no such log. MissingExtra: Inspect AI is not installed.
    """
    unsteered = [log for log in finished_logs(logs) if not steering_of(log).steer]
    if not unsteered:
        raise StudyError(f"There is no finished, unsteered log of a rollout task in {', '.join(map(str, logs))}.")
    return [_replied(task_of(log), sample) for log in unsteered for sample in log.samples or []]


def _replied(task: str, sample: EvalSample) -> Replied:
    value, grader = verdict_of(sample)
    asked = sample.input
    turns = (
        [Turn(role="user", content=asked)]
        if isinstance(asked, str)
        else [Turn(role=message.role, content=message.text) for message in asked]
    )
    event = value == 1.0 if value in (0.0, 1.0) else None
    return Replied(task, str(sample.id), turns, sample.output.completion, event, grader)


def measure(
    model: LanguageModel,
    vectors: EmotionVectors,
    replies: Sequence[Replied],
    seed: int = 0,
    progress: Progress | None = None,
) -> list[Finding]:
    """A finding for each task and place.

    Raises:
        WrongModel: the vectors are another model's.
    """
    vectors.check_model(model.fingerprint, model.name)
    layer, findings = vectors.reading_layer, []
    for task in sorted({one.task for one in replies}):
        own = [one for one in replies if one.task == task]
        scored = [one for one in own if one.event is not None and one.reply.strip()]
        placed = [both for one in scored if (both := _laid(model, one))]
        laid = [row[0] for row in placed]
        talks = talks_of(laid, read(model, laid, layer, vectors.norm_at(layer), progress)) if laid else []
        notes = _notes(own, len(scored), len(laid))
        for place in PLACES:
            seen = [_seen(talk, opening, place) for talk, (_, opening) in zip(talks, placed, strict=True)]
            findings.append(_one(vectors, task, place, seen, seed, notes))
    return corrected(findings)


def _notes(replies: Sequence[Replied], scored: int, read: int) -> tuple[str, ...]:
    """Who judged, and what was left out."""
    graders = sorted({one.grader for one in replies} - {""})
    return (
        f"Graded by {', '.join(graders)}." if graders else "Decided by tests.",
        *([f"{len(replies) - scored} replies without a score or without words were left out."] if scored < len(replies) else []),
        *([f"{scored - read} replies are longer than the model takes and were left out."] if read < scored else []),
    )  # fmt: skip


def _laid(model: LanguageModel, one: Replied) -> tuple[Laid, int] | None:
    """The words of the last message, the token before the reply and the reply's own; and the place of the second."""
    try:
        tokens = model.encode_transcript([*one.turns, Turn(role="assistant", content=one.reply)])
    except TooLong:
        return None
    own = [k for k in range(1, len(tokens)) if tokens.content[k]]
    last = max(tokens.turns[k] for k in own)
    asked = [k for k in own if tokens.turns[k] == last - 1]
    reply = [k for k in own if tokens.turns[k] == last]
    return Laid(one.scenario, one.task, bool(one.event), tokens, [*asked, reply[0] - 1, *reply]), len(asked)


def _seen(talk: Talk, opening: int, place: str) -> Talk:
    """What can be seen at a place: the residual that the reply is begun from, with the message's words; or the reply."""
    if place == PLACES[0]:
        return replace(
            talk, pieces=talk.pieces[:opening], residuals=talk.residuals[opening : opening + 1], losses=talk.losses[:opening]
        )  # fmt: skip
    begun = opening + 1
    own = replace(talk, pieces=talk.pieces[begun:], residuals=talk.residuals[begun:], losses=talk.losses[begun:])
    return own.until(dict(zip(PLACES[1:3], FIRST, strict=True)).get(place, len(own)))


def _one(
    vectors: EmotionVectors, task: str, place: str, talks: Sequence[Talk], seed: int, notes: tuple[str, ...]
) -> Finding:
    event = np.array([talk.misaligned for talk in talks], bool)
    names = list(dict.fromkeys(talk.scenario for talk in talks))
    scenario = np.array([names.index(talk.scenario) for talk in talks])
    counted = f"{event.sum()} events in {len(event)} scored replies to {len(names)} situations."
    told, why = _told(vectors, talks, event, scenario, seed)
    random = generator(seed, f"on-policy {task} {place}")
    intervals = {name: separation.interval(random, DRAWS) for name, separation in told.items()}
    rows = [
        {"warner": name, "AUROC": told[name].auroc, "from": low, "to": high} for name, (low, high) in intervals.items()
    ]
    own = next(iter(told.values()), None)
    value = own.auroc if own else float("nan")
    baselines = {name: separation.auroc for name, separation in list(told.items())[1:]}
    drawn = [own.with_labels(labels) for labels in _dealt(event, scenario, random)] if own else []
    name = f"on-policy-{task}-{place.replace(' ', '-')}"
    caption = f"AUROC for {task}, {place}; the dashed rule is chance"
    return Finding(
        id=name,
        claim=f"Emotion readings warn of {task}: {place}",
        statistic="AUROC of a learned score of all emotions, from other situations; ½ is chance",
        estimate=value,
        interval=next(iter(intervals.values()), None),
        null=against("labels dealt out to other situations, whole", value, drawn) if own else None,
        published=None,
        worthwhile=WORTHWHILE,
        how_to_read=(
            "A bar is how often a reply that the task scored as an event scores higher than one that it did not. "
            f"With fewer than {EVENTS} of either kind nothing is measured and nothing can be told."
        ),
        baselines=baselines,
        floor=max((score for name, score in baselines.items() if name != PROBE), default=None),
        notes=(counted, *([why] if why else []), *notes),
        table=tuple(rows),
        charts=(charts.bars(name, caption, rows, "AUROC", "warner", 0.5),) if rows else (),
        experiment="early-warning",
    )


def _told(
    vectors: EmotionVectors, talks: Sequence[Talk], event: np.ndarray, scenario: np.ndarray, seed: int
) -> tuple[dict[str, Separation], str]:
    """How each warner tells events from the rest, or why it cannot be measured."""
    few = min(int(event.sum()), int((~event).sum()))
    if few < EVENTS:
        return (
            {},
            f"Fewer than {EVENTS} {'events' if few == event.sum() else 'replies without one'}: nothing can be told.",
        )
    told = {}
    try:
        for name, makers in _warners(vectors, talks, seed).items():
            scores = np.stack([_held_out(make, talks, event, scenario) for make in makers])
            told[name] = Separation.of(scores, event, scenario)
    except (CalibrationError, ValueError) as problem:  # scikit-learn says ValueError where a fold lacks a label
        return {}, f"Events or their absence come from too few situations to learn from: {problem}"
    return told, ""


def _warners(vectors: EmotionVectors, talks: Sequence[Talk], seed: int) -> dict[str, list[Callable[[], Warner]]]:
    own, words = unit(vectors.at(vectors.reading_layer)), vectors.emotions
    means = np.stack([talk.residuals.astype(np.float32).mean(0) for talk in talks])
    random = [random_directions(means, len(own), generator(seed, f"on-policy {k}")) for k in range(SETS)]
    return {
        f"{len(own)} {EMOTIONS}": [lambda: Learned(own, words)],
        "random directions, learned": [lambda d=d: Learned(d) for d in random],  # type: ignore[misc]
        PROBE: [lambda: Learned(np.eye(own.shape[1], dtype=np.float32))],
        "TF-IDF, learned": [Text],
        "surprise of the model": [Surprise],
    }


def _held_out(make: Callable[[], Warner], talks: Sequence[Talk], event: np.ndarray, scenario: np.ndarray) -> np.ndarray:
    """Each reply's score by a warner that saw no reply to its situation."""
    scores = np.empty(len(talks))
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0)
    for train, test in folds.split(np.zeros(len(talks)), event, scenario):
        warner = make()
        warner.fit([talks[k] for k in train])
        scores[test] = [warner.score(talks[k]) for k in test]
    return scores


def _dealt(event: np.ndarray, scenario: np.ndarray, random: np.random.Generator) -> Iterator[np.ndarray]:
    """Labels moved to other situations with all of a situation's labels together, since its replies are alike."""
    own = [np.flatnonzero(scenario == k) for k in range(scenario.max() + 1)]
    places = np.concatenate(own)
    for _ in range(DRAWS):
        labels = np.empty_like(event)
        labels[places] = event[np.concatenate([own[k] for k in random.permutation(len(own))])]
        yield labels
