"""Where just before the reply a message is read: at which token, and after which layer.

Which token carries the most depends on the chat template (method.md, trap 3), and the layer that reads the mean of a
story best need not be the one at which a single token has gathered what stood before it. So both are measured, on the
scenarios, by cross-validation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from foreshock.activations import SpanMeans, Spanned
from foreshock.model import EMBEDDING
from foreshock.model.chat import reply_places
from foreshock.study.crossval import Scores, folds, mean_auroc
from foreshock.study.measures.readout import readings_at, standardised
from foreshock.study.subject import Subject
from foreshock.texts.schema import Scenario, Turn
from foreshock.vectors.estimation import numbered

FOLDS = 3
"""Parts that the messages are dealt into, each with as many messages of every emotion."""
LAST_WORD = "message's last word"
LAST_TOKEN = "last token"
OWN_WORDS = "mean over the message's words"


class Spot(NamedTuple):
    """Where a message is read: at one token, after one layer."""

    place: str
    layer: int

    def __str__(self) -> str:
        return f"{self.place}, layer {self.layer}"


@dataclass(frozen=True, slots=True)
class ReadMessages:
    """Single user messages, read at every place that may stand for "before the reply" and over their own words."""

    places: tuple[str, ...]
    """The reply places, then `OWN_WORDS`."""
    means: SpanMeans

    def at(self, place: str, layer: int) -> Float[np.ndarray, "message hidden"]:
        """The residuals at one place after one layer."""
        return self.means.at(layer)[self.places.index(place) :: len(self.places)]


@dataclass(frozen=True, slots=True)
class Told:
    """The scenarios of studied emotions, read."""

    items: list[Scenario]
    words: list[str]
    """Their emotions, in the order of the subject's."""
    emotion: Int[np.ndarray, " message"]
    """Number of each message's emotion in `words`."""
    part: Int[np.ndarray, " message"]
    """The fold that each message is dealt to; all 0 when an emotion has a single message."""
    read: ReadMessages

    def scores(self, subject: Subject, place: str, layer: int, words: Sequence[str] | None = None) -> Scores:
        """Readings at one spot, each emotion's standardised over the messages, so that none reads high everywhere."""
        return standardised(readings(subject, self.read.at(place, layer), layer, words or self.words))

    def everywhere(self, subject: Subject) -> dict[Spot, Scores]:
        """Scores at each spot that a choice is made among; the last is the last token after the last layer."""
        places = [place for place in self.read.places if place != OWN_WORDS]
        layers = [layer for layer in subject.layers if layer != EMBEDDING]
        return {Spot(place, layer): self.scores(subject, place, layer) for place in places for layer in layers}

    def chosen_on(self, scores: dict[Spot, Scores], rows: np.ndarray) -> Spot:
        """The spot whose readings tell these messages apart best; the latest of those that do alike."""
        return max(reversed(scores), key=lambda spot: mean_auroc(scores[spot][rows], self.emotion[rows]))

    def nested(self, scores: dict[Spot, Scores], default: Spot) -> tuple[Scores, list[Spot]]:
        """Each fold read at the spot that was best on the others, and those spots; at `default` with one fold."""
        found, chosen = np.empty_like(scores[default]), []
        for test in folds(self.part):
            chosen.append(default if test.all() else self.chosen_on(scores, ~test))
            found[test] = scores[chosen[-1]][test]
        return found, chosen


def read_messages(subject: Subject, texts: Sequence[str]) -> ReadMessages:
    """Read user messages, each laid out up to where the reply would begin."""
    spanned: list[Spanned] = []
    places: dict[str, int] = {}
    for text in texts:
        tokens = subject.model.encode_transcript([Turn(role="user", content=text)], reply=True)
        places = reply_places(tokens)
        own = [k for k, content in enumerate(tokens.content) if content]
        spanned.append((tokens, [*((k, k + 1) for k in places.values()), (own[0], own[-1] + 1)]))
    return ReadMessages((*places, OWN_WORDS), subject.read(spanned))


def readings(
    subject: Subject, residuals: Float[np.ndarray, "message hidden"], layer: int, words: Sequence[str]
) -> Scores:
    """Readings of some of the emotions, in standard deviations of the fitted passages."""
    return readings_at(subject, layer, residuals)[:, [subject.emotions.index(word) for word in words]]


def told(subject: Subject) -> Told | None:
    """The scenarios, read; None where fewer than two of their emotions are studied."""
    items = [item for item in subject.library.scenarios if item.emotion in set(subject.emotions)]
    words = [word for word in subject.emotions if word in {item.emotion for item in items}]
    if len(words) < 2:
        return None
    emotion, _ = numbered([item.emotion for item in items], words)
    parts = min(FOLDS, int(np.bincount(emotion).min()))
    part = np.empty_like(emotion)
    for number in range(len(words)):
        rows = np.flatnonzero(emotion == number)
        part[rows] = np.arange(len(rows)) % parts
    return Told(items, words, emotion, part, read_messages(subject, [item.text for item in items]))


def best_spot(subject: Subject) -> Spot:
    """Where before the reply the scenarios are told apart best, for other experiments to read at.

    The last token and the reading layer where there are too few scenarios to choose by.
    """
    found = told(subject)
    if found is None or found.part.max() == 0:
        return Spot(LAST_TOKEN, subject.reading_layer)
    return found.chosen_on(found.everywhere(subject), np.ones(len(found.items), bool))
