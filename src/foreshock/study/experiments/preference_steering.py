"""Does steering an activity's words with an emotion change how much it is preferred? (paper, "Preferences", steering)

Half of the activities are steered, on their own tokens only, and put beside the others; what the vectors cause is then
compared with what their readings go with (the experiment `preferences`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from foreshock.emotions import lookup
from foreshock.study import charts
from foreshock.study.experiments.preferences import LEAST, Preferences, hostile_word, pleasant_word
from foreshock.study.finding import Finding
from foreshock.study.measures.choice_slopes import Pair, doses, halves, pairs, question, slopes
from foreshock.study.measures.choices import ELO, Letters, ask, find_letters
from foreshock.study.measures.readout import correlations
from foreshock.study.measures.steering_range import Range, choose_range
from foreshock.study.nulls import (
    against,
    beside,
    bootstrap,
    correlation,
    generator,
    harder,
    shuffled_within,
)
from foreshock.study.subject import Subject
from foreshock.texts.schema import Activity
from foreshock.vectors.estimation import estimate, unit

DRAWS = 1000
WORTHWHILE = 35.0
"""Elo points: five per cent of the choices."""
RANDOM = "random directions of equal norm, in the span of the activations, denoised like the vectors"
Directions = Float[np.ndarray, "direction hidden"]


@dataclass(frozen=True)
class Steered:
    """The questions about steered activities, and the slopes of their answers."""

    found: Preferences
    chosen: Range
    asked: Sequence[Pair]
    letters: Letters
    gradient: Float[np.ndarray, "question hidden"]

    @property
    def subject(self) -> Subject:
        """The model under study."""
        return self.found.subject

    @cached_property
    def owner(self) -> Int[np.ndarray, " question"]:
        """Each question's steered activity."""
        return np.array([pair.steered for pair in self.asked])

    def over_activities(self, values: Float[np.ndarray, "question any"]) -> Float[np.ndarray, "steered any"]:
        """Mean of the questions about each steered activity, in Elo points."""
        return ELO * np.stack([values[self.owner == one].mean(0) for one in np.unique(self.owner)])

    @cached_property
    def by_activity(self) -> Float[np.ndarray, "steered hidden"]:
        """Change of each steered activity's Elo score with a write."""
        return self.over_activities(self.gradient)

    def caused(self, directions: Directions) -> Float[np.ndarray, "steered direction"]:
        """Elo points that each steered activity gains from strength 1 along unit directions, as far as it is linear."""
        return self.by_activity @ directions.T * self.subject.norm_at(self.chosen.layer)

    @cached_property
    def vectors(self) -> Directions:
        """Unit vectors of the emotions at the steering layer."""
        return unit(self.subject.fitted.at(self.chosen.layer))

    @cached_property
    def random(self) -> Directions:
        """Random unit directions at the steering layer, denoised like the vectors."""
        return self.subject.random_directions(self.chosen.layer, DRAWS, "preference steering")


def run(subject: Subject) -> list[Finding]:
    """The effect of a pleasant and of a hostile vector, and whether all vectors cause what their readings go with."""
    activities: Sequence[Activity] = subject.library.activities
    choices = ask(subject, [a.text for a in activities]) if len(activities) >= LEAST else None
    letters = find_letters(subject.model, activities[0].text, activities[1].text) if choices else None
    steered = halves(activities, subject.seed)
    if choices is None or letters is None or not 0 < steered.sum() < len(activities):
        return []
    chosen = choose_range(subject)
    asked = pairs(steered, subject.seed)
    questions = [question(subject.model, activities, pair, letters) for pair in asked]
    gradient = slopes(subject, questions, chosen.layer)[1]
    found = Steered(Preferences(subject, activities, choices), chosen, asked, letters, gradient)
    pleasant, hostile = pleasant_word(subject), hostile_word(subject)
    return [
        *([_one(found, pleasant, 1)] if pleasant else []),
        *([_one(found, hostile, -1)] if hostile else []),
        *([_agreement(found)] if len(subject.emotions) >= LEAST else []),
    ]


def _one(found: Steered, word: str, sign: int) -> Finding:
    """Elo points that the usable strength gives (`sign` 1) or takes, measured at that strength both ways."""
    subject, strength, layer = found.subject, found.chosen.strength, found.chosen.layer
    direction = found.vectors[subject.emotions.index(word)]
    rows = strength * subject.norm_at(layer) * np.stack([direction, -direction])
    questions = [question(subject.model, found.found.activities, pair, found.letters) for pair in found.asked]
    both = found.over_activities(doses(subject, questions, layer, rows))
    gained = sign * (both[:, 0] - both[:, 1]) / 2
    linear = sign * strength * found.caused(direction[None])[:, 0]
    value, random = float(gained.mean()), generator(subject.seed, f"preference steering {word}")
    drawn = strength * found.caused(found.random).mean(0)
    name, studied, figure = (
        ("pleasant", "blissful", "+212") if sign > 0 else ("hostile", "hostile", "−303")
    )  # fmt: skip
    return Finding(
        id=f"preference-steering-{name}",
        claim=f"Steering an activity's words towards *{word}* makes it {'preferred' if sign > 0 else 'avoided'}",
        statistic=f"Elo points {'gained' if sign > 0 else 'lost'} at strength {strength:g} by {len(gained)} steered activities",
        estimate=value,
        interval=bootstrap(len(gained), lambda picked: float(gained[picked].mean()), random, DRAWS),
        null=against(RANDOM, value, drawn.tolist()),
        published=f"{figure} Elo for {studied!r} at strength 0.5",
        worthwhile=WORTHWHILE,
        how_to_read=(
            "A bar is a steered activity: how many Elo points it gains from the vector on its own words. "
            "Only one option of each question is steered, as effects on both cancel; 35 points are five per cent of the choices."
        ),
        notes=(
            f"The slope at strength 0 foretells {float(linear.mean()):.0f} points for this strength "
            f"(r over activities {correlation(linear, gained):.2f}); random directions are taken from their slopes.",
            f"The study used strength 0.5; on this model text stays coherent up to {strength:g} at layer {layer}.",
        ),
        table=tuple(sorted(_activities(found, gained), key=lambda row: -row["points"])),
        charts=(
            charts.bars(
                f"preference-steering-{name}",
                f"Elo points by steering each activity towards {word}{'' if sign > 0 else ' (lost)'}",
                _activities(found, gained), "points", "activity", null=0.0,
            ),
        ),
    )  # fmt: skip


def _activities(found: Steered, gained: Float[np.ndarray, " steered"]) -> list[dict[str, Any]]:
    rows = [found.found.activities[one] for one in np.unique(found.owner)]
    return [{"activity": a.text, "group": a.group, "points": float(g)} for a, g in zip(rows, gained, strict=True)]


def _agreement(found: Steered) -> Finding:
    """Over emotions: does a vector raise what its readings go with?"""
    subject, preferences = found.subject, found.found
    readings, elo = preferences.readings(subject.reading_layer), preferences.elo
    observed, caused = correlations(readings, elo[:, None]), found.caused(found.vectors)
    value, random = correlation(observed, caused.mean(0)), generator(subject.seed, "preference agreement")

    def resampled(rows: np.ndarray) -> float:
        """All activities resampled; the steered ones among them give the effect."""
        steered = np.unique(found.owner)
        weight = np.bincount(rows, minlength=len(elo))[steered]
        if not weight.sum():
            return float("nan")
        return correlation(correlations(readings[rows], elo[rows, None]), weight @ caused / weight.sum())

    permuted = [
        correlation(correlations(readings, random.permutation(elo)[:, None]), caused.mean(0)) for _ in range(DRAWS)
    ]
    null, other = harder(
        against("Elo scores shuffled over activities", value, permuted),
        against("vectors fitted to shuffled emotions", value, _shuffled(found)),
    )
    rows = [
        {"emotion": w, "cluster": lookup(w).cluster, "r with Elo": float(o), "Elo for strength 1": float(c)}
        for w, o, c in zip(subject.emotions, observed, caused.mean(0), strict=True)
    ]
    return Finding(
        id="preference-steering-agreement",
        claim="Vectors whose readings go with preference cause it",
        statistic=f"r of observed correlation and caused Elo over {len(rows)} emotions",
        estimate=value,
        interval=bootstrap(len(elo), resampled, random, DRAWS),
        null=null,
        published="r = 0.85 over 35 emotions",
        worthwhile=0.4,
        how_to_read=(
            "Each point is an emotion: to the right its reading on an activity goes with being preferred, and higher up steering with it makes activities preferred. "
            "Emotions come in families that read and act alike, so a correlation counts only beside what shuffled scores and shuffled vectors give."
        ),
        notes=(beside(other),),
        table=tuple(sorted(rows, key=lambda row: -row["Elo for strength 1"])),
        charts=(
            charts.scatter(
                "preference-steering-agreement",
                "What each emotion's reading goes with, and what steering with it causes",
                rows, "r with Elo", "Elo for strength 1", "emotion", "cluster",
            ),
        ),
    )  # fmt: skip


def _shuffled(found: Steered) -> list[float]:
    """The same correlation for sets of vectors fitted to shuffled emotions, at both layers from the same shuffling."""
    subject, elo, draws = found.subject, found.found.elo, generator(found.subject.seed, "preference shuffled")
    residuals = found.found.residuals(subject.reading_layer)
    values = []
    for _ in range(DRAWS):
        labels = shuffled_within(subject.emotion, subject.topic, draws)
        read, steered = (
            unit(estimate(subject.means.at(k), labels, subject.topic, len(subject.emotions), subject.recipe, subject.basis(k)).directions)
            for k in (subject.reading_layer, found.chosen.layer)
        )  # fmt: skip
        values.append(correlation(correlations(residuals @ read.T, elo[:, None]), found.caused(steered).mean(0)))
    return values
