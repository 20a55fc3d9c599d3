"""Does a reading grow with a number in the message that makes matters better or worse? (paper, "Intensity")

Each scale is one message with six numbers in turn (hours, degrees, losses), and a control of the same shape in which
the same numbers mean nothing: digits alone can move a reading (method.md, trap 8).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.stats import rankdata

from foreshock.model import EMBEDDING
from foreshock.study import charts
from foreshock.study.finding import Chart, Finding
from foreshock.study.measures.before_reply import OWN_WORDS, ReadMessages, Spot, best_spot, read_messages, readings
from foreshock.study.nulls import against, beside, bootstrap, corrected_p, generator, harder, random_directions
from foreshock.study.subject import Subject
from foreshock.texts.schema import Scale
from foreshock.vectors.estimation import unit

DRAWS = 2000
POOL = 600
"""Random directions; each draw of the second null mixes some of them into a set like the emotions."""
PUBLISHED_EMOTIONS = ("afraid", "sad", "calm", "happy")
MESSAGE, CONTROL, BEYOND = 0, 1, 2
"""What a correlation is of: readings of the message, of its control, of the one less the other at the same number."""
Ladder = Float[np.ndarray, "number *any"]
"""Readings at growing numbers."""
Rows = Float[np.ndarray, "message *any"]


@dataclass(frozen=True, slots=True)
class Ladders:
    """One scale's readings at each of its numbers."""

    scale: Scale
    words: list[str]
    sign: Float[np.ndarray, " emotion"]
    """1 where the reading should grow, -1 where it should fall."""
    message: Float[np.ndarray, "number emotion"]
    control: Float[np.ndarray, "number emotion"]

    @property
    def all(self) -> Float[np.ndarray, "3 number emotion"]:
        """Message, control and their difference."""
        return np.stack([self.message, self.control, self.message - self.control])

    @property
    def beyond(self) -> Float[np.ndarray, " emotion"]:
        """How much more the message's reading moves the expected way a step than the control's (least squares)."""
        steps = np.arange(len(self.message)) - (len(self.message) - 1) / 2
        return np.asarray(self.sign * (steps @ self.all[BEYOND]) / (steps @ steps))


@dataclass(frozen=True, slots=True)
class Scales:
    """The scales with an emotion that is studied, read."""

    items: list[Scale]
    words: list[str]
    """Every emotion that some scale expects to move."""
    read: ReadMessages

    def deal(self, rows: Float[np.ndarray, message * any]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Rows of all messages as the message's and the control's of each scale, numbers growing."""
        dealt, first = [], 0
        for item in self.items:
            count = len(item.values)
            dealt.append((rows[first : first + count], rows[first + count : first + 2 * count]))
            first += 2 * count
        return dealt

    def expected(self, item: Scale) -> tuple[list[str], list[int], Float[np.ndarray, " emotion"]]:
        """The studied emotions that a scale should move, their numbers in `words`, and which way."""
        words = [word for word in item.expect if word in self.words]
        return words, [self.words.index(word) for word in words], np.array([float(item.expect[w]) for w in words])

    def ladders(self, subject: Subject, spot: Spot) -> list[Ladders]:
        """Every scale's readings."""
        found = readings(subject, self.read.at(*spot), spot.layer, self.words)
        ladders = []
        for item, (message, control) in zip(self.items, self.deal(found), strict=True):
            words, columns, sign = self.expected(item)
            ladders.append(Ladders(item, words, sign, message[:, columns], control[:, columns]))
        return ladders


def read_scales(subject: Subject) -> Scales | None:
    """The scales, read; None where no emotion of any is studied."""
    studied = set(subject.emotions)
    items = [item for item in subject.library.scales if studied & set(item.expect) and len(item.values) > 2]
    if len(items) < 2:
        return None
    texts = [text.replace("{n}", str(n)) for i in items for text in (i.template, i.control) for n in i.values]
    words = [word for word in subject.emotions if any(word in item.expect for item in items)]
    return Scales(items, words, read_messages(subject, texts))


def run(subject: Subject) -> list[Finding]:
    """Spearman's ρ with the number the expected way, of the reading and of what it has beyond the control."""
    scales = read_scales(subject)
    if scales is None:
        return []
    spot, layer = best_spot(subject), subject.reading_layer
    ladders = scales.ladders(subject, spot)
    each = per_scale(ladders)
    value = both(each.mean(0))
    random = generator(subject.seed, "intensity")
    shuffled, p = _shuffles(ladders, random)
    null, other = harder(
        against("numbers shuffled within each scale", value, shuffled),
        against("random directions, as alike as the vectors are", value, _random(subject, scales, spot, random)),
    )
    message, control, beyond = each.mean(0)
    words_alone = both(per_scale(scales.ladders(subject, Spot(OWN_WORDS, EMBEDDING))).mean(0))
    own_words = both(per_scale(scales.ladders(subject, Spot(OWN_WORDS, layer))).mean(0))
    table = _table(ladders, p)
    return [Finding(
        id="intensity",
        claim="As a number that matters grows, readings before the reply move the way they should",
        statistic=f"mean signed Spearman ρ with the number over {len(ladders)} scales, the smaller of that of readings and that of readings less the control's",
        estimate=value,
        interval=bootstrap(len(ladders), lambda rows: both(each[rows].mean(0)), random),
        null=null,
        published="afraid, sad, calm, happy the right way in all 6",
        worthwhile=0.5,
        how_to_read=(
            "Each panel is one message whose number grows from left to right: solid lines that should rise are orange, those that should fall blue, dashed ones are the control in which the same numbers mean nothing. "
            "The claim holds when orange goes up and blue goes down, and the dashed lines do not do it as well."
        ),
        baselines={
            "ρ, message alone": float(message),
            "ρ, control alone": float(control),
            "ρ, message less control": float(beyond),
            f"{OWN_WORDS}, reading layer {layer}": own_words,
            f"{OWN_WORDS}, embedding layer": words_alone,
        },
        floor=words_alone,
        notes=(f"Read at: {spot}, chosen on the scenarios.", *_counts(table), _by_kind(ladders), beside(other)),
        table=table,
        charts=(_panels(ladders), _by_layer(subject, scales, spot)),
    )]  # fmt: skip


def both(means: Float[np.ndarray, " 3"]) -> float:
    """The smaller of the message's figure and of that beyond the control: the claim is that both are large."""
    return float(min(means[MESSAGE], means[BEYOND]))


def per_scale(ladders: list[Ladders]) -> Float[np.ndarray, "scale 3"]:
    """Each scale's mean over its emotions: scales are the independent units, so each counts alike."""
    return np.array([_signed(one).mean(-1) for one in ladders])


def _standard_ranks(values: Ladder) -> Ladder:
    """Ranks over the numbers at mean 0 and length 1, so that a product is Spearman's ρ; 0 where nothing varies."""
    ranks = rankdata(values, axis=0)
    return unit((ranks - ranks.mean(0)).T).T  # by columns


def correlations(ladder: Ladder) -> Float[np.ndarray, "*any"]:
    """Spearman's ρ of each column with the growing number; 0 for a column that does not vary."""
    steps = _standard_ranks(np.arange(len(ladder), dtype=float))
    return np.einsum("n,n...->...", steps, _standard_ranks(ladder))


def _signed(one: Ladders) -> Float[np.ndarray, "3 emotion"]:
    return np.stack([one.sign * correlations(ladder) for ladder in one.all])


def _shuffles(ladders: list[Ladders], random: np.random.Generator) -> tuple[list[float], list[Float[np.ndarray, " emotion"]]]:  # fmt: skip
    """The statistic with each scale's numbers shuffled, alike in message and control; p of every emotion of a scale.

    An emotion's p is that of its ρ beyond the control.
    """
    total, p = np.zeros((DRAWS, 3)), []
    for one in ladders:
        count = len(one.message)
        steps = _standard_ranks(np.arange(count, dtype=float))
        orders = random.permuted(np.tile(steps, (DRAWS, 1)), axis=1)
        drawn = np.stack([one.sign * (orders @ _standard_ranks(ladder)) for ladder in one.all], 1)
        total += drawn.mean(2)
        reached = drawn[:, BEYOND] >= _signed(one)[BEYOND] - 1e-9
        p.append((1 + reached.sum(0)) / (1 + DRAWS))
    return [both(row) for row in total / len(ladders)], p


def _random(subject: Subject, scales: Scales, spot: Spot, random: np.random.Generator) -> list[float]:
    """The statistic with random directions in place of the emotions.

    They lie in the span of the activations, are denoised as the vectors are, and are mixed so that their cosines are
    on average those of the vectors: emotions that move together would else look like independent evidence.
    """
    basis = subject.basis(spot.layer)
    pool = random_directions(subject.means.at(spot.layer), POOL, random)
    pool = unit(pool - (pool @ basis.T) @ basis)
    vectors = unit(subject.fitted.at(spot.layer)[[subject.emotions.index(word) for word in scales.words]])
    sizes, axes = np.linalg.eigh(vectors @ vectors.T)
    mix = axes * np.sqrt(np.maximum(sizes, 0)) @ axes.T
    picked = random.permuted(np.tile(np.arange(POOL), (DRAWS, 1)), axis=1)[:, : len(vectors)]
    read = (scales.read.at(*spot) @ pool.T)[:, picked] @ mix  # message, draw, emotion
    total = np.zeros((3, DRAWS))
    for item, (message, control) in zip(scales.items, scales.deal(read), strict=True):
        _, columns, sign = scales.expected(item)
        ladders = (message[..., columns], control[..., columns], (message - control)[..., columns])
        total += np.stack([(sign * correlations(ladder)).mean(-1) for ladder in ladders])
    return [both(row) for row in total.T / len(scales.items)]


def _table(ladders: list[Ladders], p: list[Float[np.ndarray, " emotion"]]) -> tuple[dict[str, Any], ...]:
    """A row for each emotion of each scale."""
    q = iter(corrected_p(np.concatenate(p).tolist()))
    rows: list[dict[str, Any]] = []
    for one, own_p in zip(ladders, p, strict=True):
        plain = [correlations(ladder) for ladder in one.all]
        rows += [
            {
                "scale": name(one.scale),
                "kind": one.scale.kind,
                "emotion": word,
                "should": "rise" if one.sign[k] > 0 else "fall",
                "ρ": float(plain[MESSAGE][k]),
                "control's ρ": float(plain[CONTROL][k]),
                "ρ beyond control": float(plain[BEYOND][k]),
                "SD a step beyond control, expected way": float(one.beyond[k]),
                "p": float(own_p[k]),
                "q": next(q),
            }
            for k, word in enumerate(one.words)
        ]
    return tuple(rows)


def name(scale: Scale) -> str:
    """A scale's id as words."""
    return scale.id.removeprefix("scale-").replace("-", " ")


def _counts(table: tuple[dict[str, Any], ...]) -> list[str]:
    """How often the direction is right, as the study counts."""

    def right(row: dict[str, Any], column: str) -> bool:
        return bool(row[column] * (1 if row["should"] == "rise" else -1) > 0)

    moved = [right(row, "ρ") for row in table]
    further = [row["SD a step beyond control, expected way"] > 0 for row in table]
    notes = [
        f"The reading moves the expected way in {sum(moved)} of {len(table)} pairs of scale and emotion, by more than the control's in "
        f"{sum(further)}, both in {sum(a and b for a, b in zip(moved, further, strict=True))} (chance: half, half, a quarter). "
        f"Beyond the control at q 0.05, each taken alone: {sum(row['q'] <= 0.05 for row in table)}."
    ]
    shown = []
    for word in PUBLISHED_EMOTIONS:
        own = [right(row, "ρ") for row in table if row["emotion"] == word]
        shown += [f"*{word}* in {sum(own)} of {len(own)} scales"] if own else []
    if shown:
        notes.append(f"The right way, of the study's four: {', '.join(shown)}.")
    return notes


def _by_kind(ladders: list[Ladders]) -> str:
    kinds = list(dict.fromkeys(one.scale.kind for one in ladders))

    def figure(kind: str) -> float:
        return both(per_scale([one for one in ladders if one.scale.kind == kind]).mean(0))

    return f"By what the number stands for: {', '.join(f'{kind} {figure(kind):.2f}' for kind in kinds)}."


def _panels(ladders: list[Ladders]) -> Chart:
    rows = []
    for one in ladders:
        panel = f"{name(one.scale)}: {one.scale.values[0]:,} … {one.scale.values[-1]:,}"
        for text, ladder in (("message", one.message), ("control", one.control)):
            rows += [
                {
                    "panel": panel,
                    "step": step,
                    "number": str(number),
                    "reading": float(ladder[step, k] - ladder[:, k].mean()),
                    "emotion": word,
                    "should": "should rise" if one.sign[k] > 0 else "should fall",
                    "text": text,
                }
                for k, word in enumerate(one.words)
                for step, number in enumerate(one.scale.values)
            ]
    caption = "Reading before the reply as the number grows, each line around its own mean"
    return charts.panels("intensity", caption, rows, "step", "reading", "panel", "emotion", "should", "text")


def _by_layer(subject: Subject, scales: Scales, spot: Spot) -> Chart:
    lines: dict[str, Callable[[np.ndarray], float]] = {
        "message": lambda means: float(means[MESSAGE]),
        "control": lambda means: float(means[CONTROL]),
        "message less control": lambda means: float(means[BEYOND]),
    }
    rows = []
    for layer in subject.layers:
        means = per_scale(scales.ladders(subject, Spot(spot.place, layer))).mean(0)
        rows += [{"layer": layer, "signed ρ": line(means), "of": of} for of, line in lines.items()]
    caption = "Mean signed ρ with the number, by layer (-1: the embeddings; dashed: where it is read)"
    return charts.lines("intensity-by-layer", caption, rows, "layer", "signed ρ", "of", spot.layer)
