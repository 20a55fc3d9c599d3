"""Do readings on an activity's words go with how much the model prefers it? (paper, "Preferences")"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from foreshock.activations import Span
from foreshock.emotions import lookup
from foreshock.model import EMBEDDING, Tokens
from foreshock.study import charts
from foreshock.study.experiments.axes import ratings
from foreshock.study.finding import Chart, Finding
from foreshock.study.measures.choices import Choices, ask
from foreshock.study.measures.readout import correlations, readings_at, standardised
from foreshock.study.nulls import against, bootstrap, corrected_p, correlation, generator
from foreshock.study.subject import Subject
from foreshock.texts.schema import Activity, Turn

DRAWS = 2000
LEAST = 8
"""Fewer activities than this are no basis for a correlation."""
FRAME = "Here is something that could be done: {}."
"""What is around an activity when it is read: nothing that takes a side."""
NAMED = 24
"""Activities whose names stand in the chart; all have theirs on hover."""
WORTHWHILE = 0.3
"""Of a correlation: about the least that 64 activities can tell from 0, and 9 % of the variance of the scores."""
RANDOM = "random directions in the span of the activations, denoised like the vectors"


@dataclass(frozen=True)
class Preferences:
    """The activities as the model reads them and as it chooses among them."""

    subject: Subject
    activities: Sequence[Activity]
    choices: Choices

    @cached_property
    def elo(self) -> Float[np.ndarray, " activity"]:
        """Scores in Elo points, mean 0."""
        return self.choices.elo

    @cached_property
    def group(self) -> Int[np.ndarray, " activity"]:
        """Number of each activity's group."""
        return np.unique([a.group for a in self.activities], return_inverse=True)[1]

    @cached_property
    def _spanned(self) -> list[tuple[Tokens, list[Span]]]:
        model = self.subject.model
        turns = [Turn(role="user", content=FRAME.format(a.text)) for a in self.activities]
        encoded = [model.encode_transcript([turn]) for turn in turns]
        return [(tokens, [own_words(tokens, a.text)]) for tokens, a in zip(encoded, self.activities, strict=True)]

    def residuals(self, layer: int) -> Float[np.ndarray, "activity hidden"]:
        """Mean over each activity's own tokens."""
        return self.subject.read(self._spanned).at(layer)

    def readings(self, layer: int) -> Float[np.ndarray, "activity emotion"]:
        """Readings on the activities, in standard deviations of the fitted passages."""
        return readings_at(self.subject, layer, self.residuals(layer))

    def length(self) -> Float[np.ndarray, " activity"]:
        """Tokens of each activity."""
        return np.array([end - start for _, [(start, end)] in self._spanned], float)

    def pleasantness(self, layer: int) -> Float[np.ndarray, " activity"]:
        """Readings of all rated emotions, each on one scale and weighted with its valence from their mean."""
        rated = rated_words(self.subject)
        weights = np.array(list(rated.values())) - np.mean(list(rated.values()))
        columns = [self.subject.emotions.index(word) for word in rated]
        return np.asarray(standardised(self.readings(layer))[:, columns] @ weights / len(columns))

    def by_emotion(self, layer: int) -> Float[np.ndarray, " emotion"]:
        """Correlation with Elo of every emotion's reading."""
        return correlations(self.readings(layer), self.elo[:, None])

    @cached_property
    def random_r(self) -> Float[np.ndarray, " draw"]:
        """Correlation with Elo of what random directions read on the activities at the reading layer."""
        layer = self.subject.reading_layer
        directions = self.subject.random_directions(layer, DRAWS, "preferences")
        return correlations(self.residuals(layer) @ directions.T, self.elo[:, None])

    def within_groups(self, values: Float[np.ndarray, " activity"]) -> float:
        """Correlation with Elo when both are taken from their group's mean."""
        means = [np.bincount(self.group, x) / np.bincount(self.group) for x in (values, self.elo)]
        return correlation(values - means[0][self.group], self.elo - means[1][self.group])


def run(subject: Subject) -> list[Finding]:
    """Correlation with Elo of a pleasant emotion's reading, of a hostile one's, and of pleasantness in general."""
    activities = subject.library.activities
    choices = ask(subject, [a.text for a in activities]) if len(activities) >= LEAST else None
    if choices is None:
        return []
    found = Preferences(subject, activities, choices)
    pleasant, hostile = pleasant_word(subject), hostile_word(subject)
    return [
        *([_one(found, pleasant, 1)] if pleasant else []),
        *([_one(found, hostile, -1)] if hostile else []),
        *([_in_general(found)] if len(rated_words(subject)) >= 3 else []),
    ]


def _one(found: Preferences, word: str, sign: int) -> Finding:
    """The claim about one emotion: its reading goes with Elo (`sign` 1) or against it (-1)."""
    subject, pleasant = found.subject, sign > 0
    name, studied, figure = ("pleasant", "blissful", "0.71") if pleasant else ("hostile", "hostile", "-0.74")
    column = subject.emotions.index(word)
    signed = {layer: sign * found.readings(layer)[:, column] for layer in (subject.reading_layer, EMBEDDING)}
    instead = f"The study took {studied!r}; it is not studied here, and {word!r} stands in for it."
    about = ("preferred", "r") if pleasant else ("avoided", "minus r")
    return Finding(
        id=f"preference-{name}",
        claim=f"Activities on whose words *{word}* reads high are {about[0]}",
        statistic=f"{about[1]} of the {word} reading with Elo over {len(found.elo)} activities",
        published=f"r = {figure} for {studied!r}",
        how_to_read=(
            "Each point is an activity: to the right the model reads more of the emotion on its words, and higher up it "
            "chooses the activity over others more often. A random direction reads activities too, so the slope has to "
            "be steeper than what such directions give."
        ),
        notes=(*([] if word == studied else [instead]), *_notes(found, signed[subject.reading_layer])),
        table=_activities(found, word) if pleasant else _groups(found, word),
        charts=(_map(found, word, name), *([_strips(found)] if pleasant else [])),
        **_figures(found, signed),
    )


def _in_general(found: Preferences) -> Finding:
    subject = found.subject
    layer, rated = subject.reading_layer, rated_words(subject)
    by_emotion = found.by_emotion(layer)
    columns = [subject.emotions.index(word) for word in rated]
    ordered = correlation(np.array(list(rated.values())), by_emotion[columns])
    values = {layer: found.pleasantness(layer) for layer in (layer, EMBEDDING)}
    rows = _emotions(found, by_emotion)
    return Finding(
        id="preference-valence",
        claim="Activities that read pleasant, over all emotions, are preferred",
        statistic=f"r with Elo of the readings of {len(rated)} emotions weighted with their human valence",
        published=None,
        how_to_read=(
            "Each point is an emotion: to the right the more pleasant ones, and higher up those whose reading goes "
            "with being preferred. If pleasant goes with preferred the points rise from left to right."
        ),
        notes=(
            f"Over emotions, valence and the correlation with Elo go together with r = {ordered:.2f}; a preference "
            "with no regard to valence often comes out as high, with either sign, so this is not what is tested.",
            *_notes(found, values[layer]),
        ),
        table=tuple(sorted(rows, key=lambda row: -row["r with Elo"])),
        charts=(
            charts.scatter(
                "preference-valence",
                "Human valence of each emotion, and how far its reading on an activity goes with the activity's Elo",
                [row for row in rows if row["valence"] is not None],
                "valence", "r with Elo", "emotion", "cluster",
            ),
            charts.bars("preference-emotions", "Correlation of every reading with Elo", rows, "r with Elo", "emotion"),
        ),
        **_figures(found, values),
    )  # fmt: skip


def _figures(found: Preferences, values: dict[int, Float[np.ndarray, " activity"]]) -> dict[str, Any]:
    """What all three findings measure alike, from the values of the activities at the reading layer and at -1."""
    subject, elo = found.subject, found.elo
    here = values[subject.reading_layer]
    estimate, words_alone = correlation(here, elo), correlation(values[EMBEDDING], elo)
    random = generator(subject.seed, "preference intervals")
    return {
        "estimate": estimate,
        "interval": bootstrap(len(elo), lambda rows: correlation(here[rows], elo[rows]), random),
        "null": against(RANDOM, estimate, found.random_r.tolist()),
        "worthwhile": WORTHWHILE,
        "baselines": {"the model's embedding layer": words_alone},
        "floor": words_alone,
    }


def _notes(found: Preferences, values: Float[np.ndarray, " activity"]) -> tuple[str, ...]:
    choices, count = found.choices, len(found.elo)
    preferred = np.abs(choices.preferred[np.triu_indices(count, 1)]).mean()
    return (
        f"Inside the groups of activities, with each group's mean taken off: {found.within_groups(values):.2f}.",
        f"Elo scores run from {found.elo.min():.0f} to {found.elo.max():.0f}; one score an activity explains "
        f"{choices.consistency:.0%} of the variance of the preferences (of noise {2 / count:.0%}).",
        f"The order alone moves the log-odds of a pair by {choices.order_bias:.2f} nats on average, what the "
        f"activities are by {preferred:.2f}; asking both ways round takes the first out.",
        f"The letters hold {choices.mass:.1%} of the next token's probability.",
        f"Length in tokens goes with Elo by r = {correlation(found.length(), found.elo):.2f}.",
    )


def _activities(found: Preferences, word: str) -> tuple[dict[str, Any], ...]:
    """Every activity with its score, most preferred first."""
    low, high = found.choices.elo_interval(found.subject.seed)
    reading = found.readings(found.subject.reading_layer)[:, found.subject.emotions.index(word)]
    rows: list[dict[str, Any]] = [
        {"activity": a.text, "group": a.group, "Elo": float(e), "from": float(lo), "to": float(hi), f"{word} reading": float(x)}
        for a, e, lo, hi, x in zip(found.activities, found.elo, low, high, reading, strict=True)
    ]  # fmt: skip
    return tuple(sorted(rows, key=lambda row: -row["Elo"]))


def _groups(found: Preferences, word: str) -> tuple[dict[str, Any], ...]:
    """Mean score and reading of each group, most preferred first."""
    reading = found.readings(found.subject.reading_layer)[:, found.subject.emotions.index(word)]
    rows: list[dict[str, Any]] = []
    for number, name in enumerate(sorted({a.group for a in found.activities})):
        own = found.group == number
        figures = {"mean Elo": float(found.elo[own].mean()), f"mean {word} reading": float(reading[own].mean())}
        rows.append({"group": name, "activities": int(own.sum()), **figures})
    return tuple(sorted(rows, key=lambda row: -row["mean Elo"]))


def _emotions(found: Preferences, by_emotion: Float[np.ndarray, " emotion"]) -> list[dict[str, Any]]:
    """Every emotion with its correlation; p against random directions of either sign, q over all emotions."""
    rated, drawn = ratings(found.subject, "valence"), np.abs(found.random_r)
    p = [(1 + int((drawn >= abs(r)).sum())) / (1 + len(drawn)) for r in by_emotion]
    words_alone = found.by_emotion(EMBEDDING)
    return [
        {"emotion": w, "cluster": lookup(w).cluster, "valence": rated.get(w), "r with Elo": float(r), "r of embeddings": float(e), "p": pk, "q": qk}
        for w, r, e, pk, qk in zip(found.subject.emotions, by_emotion, words_alone, p, corrected_p(p), strict=True)
    ]  # fmt: skip


def _map(found: Preferences, word: str, name: str) -> Chart:
    reading = found.readings(found.subject.reading_layer)[:, found.subject.emotions.index(word)]
    outward = (standardised(np.stack([reading, found.elo], 1)) ** 2).sum(1)
    named = set(np.argsort(-outward)[:NAMED].tolist())  # in the middle the names would lie upon each other
    rows = [
        {f"{word} reading": float(reading[k]), "Elo": float(found.elo[k]), "what": _short(a.text) if k in named else "", "group": a.group, "activity": a.text}
        for k, a in enumerate(found.activities)
    ]  # fmt: skip
    caption = f"How much of {word} the model reads on an activity, and how much it prefers it"
    return charts.scatter(f"preference-{name}", caption, rows, f"{word} reading", "Elo", "what", "group")


def _strips(found: Preferences) -> Chart:
    rows = [
        {"group": a.group, "Elo": float(e), "activity": a.text}
        for a, e in zip(found.activities, found.elo, strict=True)
    ]
    caption = "Elo of every activity by group; the upright stroke is the group's mean"
    return charts.strips("preference-groups", caption, rows, "Elo", "group")


def _short(text: str) -> str:
    words = text.split()
    return " ".join(words[:3]) + (" …" if len(words) > 3 else "")


def own_words(tokens: Tokens, words: str) -> Span:
    """The tokens of `words`, where they stand last in the text."""
    start = tokens.text.rindex(words)
    end = start + len(words)
    own = [k for k, (first, last) in enumerate(tokens.spans) if first < end and last > start]
    return own[0], own[-1] + 1


def pleasant_word(subject: Subject) -> str | None:
    """The study's 'blissful', else the studied emotion with the highest valence; None where none is rated."""
    rated = rated_words(subject)
    return "blissful" if "blissful" in subject.emotions else max(rated, key=lambda word: rated[word], default=None)


def hostile_word(subject: Subject) -> str | None:
    """The study's 'hostile', else the least pleasant of its cluster; None where that is not studied."""
    rated = rated_words(subject)
    angry = [word for word in subject.emotions if lookup(word).cluster == lookup("hostile").cluster]
    return "hostile" if "hostile" in angry else min(angry, key=lambda word: rated.get(word, 0.0), default=None)


def rated_words(subject: Subject) -> dict[str, float]:
    """Valence of the studied emotions that have one."""
    given = ratings(subject, "valence")
    return {word: float(value) for word in subject.emotions if (value := given.get(word)) is not None}
