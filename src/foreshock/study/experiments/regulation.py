"""Does a stirred-up turn make the next speaker's turn read calmer? (paper, regulation between speakers)

Emotions are assigned to the speakers independently, so whatever a turn's reading owes to the turn before it is
carried over. Any model, a random one too, blends earlier words into a turn, which makes neighbours alike; so only
the opposite, a negative correlation, can be claimed for arousal. Mirroring of valence is told in the notes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from foreshock.emotions import lookup
from foreshock.model import EMBEDDING
from foreshock.study import charts
from foreshock.study.finding import Chart, Finding
from foreshock.study.measures.dialogues import Turns, denoised
from foreshock.study.measures.effects import effects
from foreshock.study.nulls import against, correlation, generator, shuffled_within
from foreshock.study.subject import Subject
from foreshock.vectors.estimation import unit

DRAWS = 1000
FEWEST = 5
"""Rated emotions below which there are no axes."""
READABLE = 0.2
"""Least correlation of a turn's arousal score with the arousal of the emotion it is spoken with."""
SCALES = ("arousal", "valence")
Scores = Float[np.ndarray, "scale pair"]


@dataclass(frozen=True, slots=True)
class Pairs:
    """Each turn but the first with the turn before it, scored on both axes; place and own emotion taken off."""

    before: Scores
    now: Scores
    label: Scores
    """The turn scored at the label before its words."""
    own: Float[np.ndarray, " scale"]
    """Correlation of a turn's score with the rating of its own emotion: can the axis be read at all?"""

    def carried(self, scale: int) -> float:
        """Correlation of a turn with the one before."""
        return correlation(self.before[scale], self.now[scale])


def run(turns: Turns) -> list[Finding]:
    """One finding on arousal; valence, and the label before the turn, in its notes.

    Args:
        turns: every turn, whose dialogues' spans are their turns, then the labels.
    """
    subject = turns.subject
    rated = _ratings(subject, turns.emotions)
    known = np.flatnonzero(np.isfinite(rated).all(0))
    later = np.flatnonzero(turns.span > turns.first)
    if len(known) < FEWEST or np.linalg.matrix_rank(rated[:, known] - rated[:, known].mean(1, keepdims=True)) < 2:
        return []
    found = {layer: _pairs(turns, later, rated, known, layer) for layer in subject.layers}
    here, words = found[subject.reading_layer], found[EMBEDDING]
    random = generator(subject.seed, "regulation")
    value = -here.carried(0)
    readable = bool(here.own[0] >= READABLE)
    return [Finding(
        id="arousal-regulation",
        claim="After a stirred-up turn the next speaker's turn reads calmer: arousal is regulated, not mirrored",
        statistic="minus the correlation of a turn's arousal score with that of the turn before, its own emotion taken off",
        estimate=value,
        interval=_interval(turns, later, -here.before[0], here.now[0], random) if readable else None,
        null=against("the turn before taken from another dialogue", value, _strangers(turns, later, here, random)),
        published=None,
        worthwhile=0.1,
        how_to_read=(
            "Correlations above 0 mean that a turn reads like the one before it, below 0 that it reads the other way. "
            "Likeness can come from attention alone and proves nothing; only a line below 0, and below that of the embeddings (layer -1), would show regulation."
        ),
        baselines={"the model's embedding layer": -words.carried(0)},
        floor=-words.carried(0),
        notes=_notes(turns, later, here, words, readable, random),
        table=tuple(
            {"scale": name, "turn with the turn before": here.carried(k), "label with the turn before": correlation(here.before[k], here.label[k]), "words alone": words.carried(k), "turn with its own emotion's rating": float(here.own[k])}
            for k, name in enumerate(SCALES)
        ),
        charts=(_chart(found, subject.reading_layer),),
    )]  # fmt: skip


def _ratings(subject: Subject, emotions: list[str]) -> Float[np.ndarray, "scale emotion"]:
    """Arousal and valence in standard deviations; NaN where one is not known."""
    rows = []
    for what in SCALES:
        given = subject.norms.get(what)
        rows.append([given.get(word) if given else getattr(lookup(word), what) for word in emotions])
    rated = np.array(rows, float)
    if not np.isfinite(rated).any(1).all():
        return rated
    spread = np.nanstd(rated, 1, keepdims=True)
    return np.asarray((rated - np.nanmean(rated, 1, keepdims=True)) / np.where(spread > 0, spread, 1))


def _pairs(turns: Turns, later: Int[np.ndarray, " pair"], rated: np.ndarray, known: np.ndarray, layer: int) -> Pairs:
    """Turns scored by axes fitted on other folds."""
    count, fold = len(turns.emotions), turns.fold[turns.dialogue]
    x = denoised(turns.subject, layer, turns.means.at(layer))
    words, labels = x[turns.span], x[turns.span + np.bincount(turns.dialogue)[turns.dialogue]]
    folds = np.unique(fold)
    own, beside = turns.own[later], turns.beside[later]
    fitted = effects(words[later], own, beside, count, fold[later] != folds[:, None])[:, 0]
    # Both ratings at once, so that neither axis holds what belongs to the other.
    weights = np.linalg.pinv(np.column_stack([np.ones(len(known)), *rated[:, known]]))[1:]
    axes = unit(weights.astype(np.float32) @ fitted[:, known])
    at_words, at_label = np.empty((2, len(words))), np.empty((2, len(words)))
    for number, held in enumerate(fold == folds[:, None]):
        at_words[:, held] = axes[number] @ (words[held] - words[~held].mean(0)).T
        at_label[:, held] = axes[number] @ (labels[held] - labels[~held].mean(0)).T
    read = [_read(at_words[k, later], rated[k, own]) for k in range(len(SCALES))]
    place = turns.span - turns.first
    around, emotion = _one_hot(place[later]), _one_hot(own)
    both = np.column_stack([around, emotion])
    return Pairs(
        _without(at_words[:, later - 1], around),
        _without(at_words[:, later], both),
        _without(at_label[:, later], both),
        np.array(read),
    )  # fmt: skip


def _read(scores: Float[np.ndarray, " pair"], ratings: Float[np.ndarray, " pair"]) -> float:
    known = np.isfinite(ratings)
    return correlation(scores[known], ratings[known])


def _one_hot(labels: Int[np.ndarray, " pair"]) -> Float[np.ndarray, "pair label"]:
    return np.asarray(labels[:, None] == np.unique(labels), float)


def _without(scores: Scores, design: Float[np.ndarray, "pair column"]) -> Scores:
    """Scores less what the columns give by least squares."""
    return np.asarray(scores - (design @ np.linalg.lstsq(design, scores.T, rcond=None)[0]).T)


def _interval(
    turns: Turns, later: np.ndarray, x: np.ndarray, y: np.ndarray, random: np.random.Generator
) -> tuple[float, float]:
    """Of a correlation, dialogues resampled."""
    dialogues = len(turns.pair)
    times = random.multinomial(dialogues, np.full(dialogues, 1 / dialogues), DRAWS)[:, turns.dialogue[later]]
    total = times.sum(1)
    mx, my, mxx, myy, mxy = (times @ column / total for column in (x, y, x * x, y * y, x * y))
    r = (mxy - mx * my) / np.sqrt((mxx - mx**2) * (myy - my**2))
    low, high = np.nanquantile(r, [0.025, 0.975])
    return float(low), float(high)


def _strangers(turns: Turns, later: np.ndarray, here: Pairs, random: np.random.Generator) -> list[float]:
    """The estimate where every turn follows the turn at that place of another dialogue with as many turns."""
    lengths = np.bincount(turns.dialogue)
    begins = np.searchsorted(turns.dialogue[later], np.arange(len(lengths)))
    place = np.arange(len(later)) - begins[turns.dialogue[later]]
    draws = []
    for _ in range(DRAWS):
        other = shuffled_within(np.arange(len(lengths)), lengths, random)
        draws.append(-correlation(here.before[0, begins[other[turns.dialogue[later]]] + place], here.now[0]))
    return draws


def _notes(
    turns: Turns, later: np.ndarray, here: Pairs, words: Pairs, readable: bool, random: np.random.Generator
) -> tuple[str, ...]:
    low, high = _interval(turns, later, here.before[1], here.now[1], random)
    before = correlation(here.before[0], here.label[0]), correlation(here.before[1], here.label[1])
    notes = [
        f"Valence: correlation with the turn before {here.carried(1):+.2f} ({low:+.2f} … {high:+.2f}), words alone {words.carried(1):+.2f}; "
        "likeness can come from attention alone, so it is not judged.",
        f"At the next speaker's label, before any of the turn's words: arousal {before[0]:+.2f}, valence {before[1]:+.2f}.",
        f"The axes read the ratings of a turn's own emotion on held-out dialogues with r = {here.own[0]:.2f} (arousal) and {here.own[1]:.2f} (valence).",
    ]
    if not readable:
        notes.append(f"Arousal is read with less than r = {READABLE}, so nothing is judged.")
    return tuple(notes)


def _chart(found: dict[int, Pairs], layer: int) -> Chart:
    rows = []
    for k, pairs in found.items():
        for scale, name in enumerate(SCALES):
            figures = {
                f"{name}, on the turn": pairs.carried(scale),
                f"{name}, at the label before it": correlation(pairs.before[scale], pairs.label[scale]),
            }
            rows += [
                {"layer": k, "correlation": r, "series": series} for series, r in figures.items() if np.isfinite(r)
            ]
    caption = "Correlation of a turn's reading with the turn before, by layer (-1: the embeddings)"
    return charts.lines("arousal-regulation", caption, rows, "layer", "correlation", "series", layer)
