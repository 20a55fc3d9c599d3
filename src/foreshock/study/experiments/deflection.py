"""One emotion felt, another displayed: is the felt one still there, and in whose directions? (paper, deflection)"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float

from foreshock.model import EMBEDDING
from foreshock.study import charts
from foreshock.study.finding import Chart, Finding
from foreshock.study.measures.dialogues import Turns, laid_out, numbered_pairs
from foreshock.study.measures.effects import compact, effects, halves, resampled, split_dialogues
from foreshock.study.measures.turn_reading import Said, beyond_words, read_turns
from foreshock.study.nulls import against, bootstrap, generator, random_directions
from foreshock.study.subject import Subject
from foreshock.vectors.estimation import unit

FEWEST = 20
"""Dialogues below which nothing is tried."""
SPLITS = 6
DRAWS = 1000
RELIABLE = 0.2
"""Least cosine of vectors with themselves between halves of the dialogues."""
ROOM = 0.9
"""Share of the hidden size that the story vectors may span; beyond it there is no outside to speak of."""
EXCERPT = 90
"""Characters of a turn shown in the table."""

FELT = Said(
    id="deflection-felt",
    claim="A felt emotion can be read on the turns of a speaker who displays another one",
    whose="the felt",
    worthwhile=0.6,
    how_to_read=(
        "0.5 means that the turns tell nothing of the emotion that the situation told and the words hide, 1 means that they always tell. "
        "The flat lines are word embeddings of the turn, of the situation and everything else before it, and of both; the line of the layers has to rise above them."
    ),
)


def run(subject: Subject) -> list[Finding]:
    """The felt emotion on the turns, and the share of its vectors outside of the story vectors' span."""
    pairs = [(d.felt, d.shown) for d in subject.library.deflections]
    if len(pairs) < FEWEST or len({felt for felt, _ in pairs}) < 2:
        return []
    turns = read_deflections(subject)
    if len(np.unique(turns.fold)) < 2:
        return []
    felt, scores = read_turns(turns, FELT)
    outside = _outside(turns, beyond_words(felt))
    felt = replace(felt, table=_fires_most(turns, felt, scores), notes=(*felt.notes, *_beside_stories(turns)))
    return [felt, outside]


def read_deflections(subject: Subject) -> Turns:
    """The first speaker's turns. The spans of a dialogue are the situation and all turns.

    A fold holds one dialogue of each felt emotion.
    """
    deflections = subject.library.deflections
    emotions, pair = numbered_pairs([(d.felt, d.shown) for d in deflections])
    texts, dialogue, span, first = [], [], [], []
    spans = 0
    for number, item in enumerate(deflections):
        texts.append(laid_out(subject.model, item.turns, item.situation))
        displayed = list(range(0, len(item.turns), 2))
        dialogue += [number] * len(displayed)
        span += [spans + 1 + place for place in displayed]
        first += [spans] * len(displayed)
        spans += 1 + len(item.turns)
    fold = np.empty(len(pair), np.int64)
    for emotion in np.unique(pair[:, 0]):
        members = np.flatnonzero(pair[:, 0] == emotion)
        fold[members] = np.arange(len(members))
    column = np.zeros(len(span), np.int64)
    return Turns(
        subject, emotions, pair, np.array(dialogue), column, fold, subject.read(texts), np.array(span), np.array(first)
    )  # fmt: skip


def _text(turns: Turns, row: int) -> str:
    said = turns.subject.library.deflections[turns.dialogue[row]].turns
    text = said[turns.span[row] - turns.first[row] - 1]
    return text if len(text) <= EXCERPT else text[:EXCERPT].rsplit(" ", 1)[0] + " …"


def _fires_most(
    turns: Turns, finding: Finding, scores: Float[np.ndarray, "turn emotion"]
) -> tuple[dict[str, Any], ...]:
    """Adds the turn on which each held-out vector reads highest, and what is felt and shown there."""
    rows = []
    for row in finding.table:
        top = int(scores[:, turns.emotions.index(row["emotion"])].argmax())
        felt, shown = turns.emotions[turns.own[top]], turns.emotions[turns.beside[top]]
        rows.append({**row, "highest on": _text(turns, top), "felt there": felt, "shown there": shown})
    return tuple(rows)


def _beside_stories(turns: Turns) -> tuple[str, ...]:
    """Which story vector reads higher: that of the emotion felt, or of the one shown?"""
    subject, layer = turns.subject, turns.subject.reading_layer
    place = np.array([subject.emotions.index(w) if w in subject.fitted else -1 for w in turns.emotions])
    known = np.flatnonzero((place[turns.pair] >= 0).all(1))
    if len(known) < FEWEST:
        return ()
    readout = subject.fitted.readout(layer)
    means = turns.means.at(layer)
    random = generator(subject.seed, "deflection against stories")

    def lead(rows: np.ndarray) -> np.ndarray:
        """Felt less shown, mean by dialogue; each emotion's readings centred, since dialogues are no stories."""
        readings = means[rows] @ readout.W.T + readout.b
        readings = readings - readings.mean(0)
        each = np.arange(len(rows))
        ahead = readings[each, place[turns.own]] - readings[each, place[turns.beside]]
        return np.asarray([ahead[turns.dialogue == dialogue].mean() for dialogue in known])

    notes = []
    for where, rows in (("the turns", turns.span), ("the situations", turns.first)):
        ahead = lead(rows)
        low, high = _interval(ahead, random)
        notes.append(
            f"On {where} the story vector of the felt emotion reads {ahead.mean():+.2f} ({low:+.2f} … {high:+.2f}) "
            f"against that of the shown one, in standard deviations of the stories ({len(ahead)} dialogues)."
        )
    return tuple(notes)


def _interval(values: np.ndarray, random: np.random.Generator) -> tuple[float, float]:
    return bootstrap(len(values), lambda picked: float(values[picked].mean()), random)


@dataclass(frozen=True, slots=True)
class Shares:
    """How much of the norm of vectors lies outside of the story vectors' span at a layer, noise taken off."""

    felt: float
    shown: float
    reliability: Float[np.ndarray, " 2"]
    """Of the felt and of the shown emotion's vectors, between halves of the dialogues."""


def _shares(
    turns: Turns, x: np.ndarray, off: np.ndarray, first: np.ndarray, weight: np.ndarray | None = None
) -> Shares:
    """Shares from rows and the same rows off the stories; `first` and `weight` as for `halves`."""
    whole, left = (halves(rows, turns.own, turns.beside, len(turns.emotions), first, weight) for rows in (x, off))
    felt, shown = (_share(left.inner[k, k].sum(), whole.inner[k, k].sum()) for k in range(2))
    return Shares(felt, shown, whole.reliability)


def _share(left: float, whole: float) -> float:
    """Of the norm, from squared norms that noise can make negative; NaN without signal."""
    return float(np.sqrt(max(left, 0) / whole)) if whole > 0 else float("nan")


def _outside(turns: Turns, beyond: bool) -> Finding:
    """Share of the norm of felt-emotion vectors that the story vectors cannot make up, noise taken off.

    Args:
        beyond: whether the felt emotion is read better than words alone give (see `speakers`).
    """
    subject, layer, felt = turns.subject, turns.subject.reading_layer, turns.pair[:, 0]
    random = generator(subject.seed, "deflection-norm")
    first = split_dialogues(felt, SPLITS, random)[:, turns.dialogue]
    x, spanned = turns.at(layer), len(_span(subject, layer))
    off = _off_stories(subject, layer, x)
    here = _shares(turns, x, off, first)
    rows, off_rows = compact(x), compact(off)
    drawn = [_shares(turns, rows, off_rows, first, resampled(felt, random)[turns.dialogue]).felt for _ in range(DRAWS)]
    low, high = np.nanquantile(drawn, [0.025, 0.975]) if np.isfinite(drawn).any() else (np.nan, np.nan)
    enough, room = bool(here.reliability[0] >= RELIABLE), spanned <= ROOM * subject.model.hidden
    floors = _floors(turns, first, beyond)
    return Finding(
        id="deflection-norm",
        claim="Vectors of a felt emotion that is not displayed lie mostly outside of what the story vectors span",
        statistic=f"share of their norm left after projecting out {spanned} dimensions of story vectors, noise taken off (0 … 1)",
        estimate=here.felt,
        interval=(float(low), float(high)) if enough and room else None,
        null=against(
            "random directions in the span of the same turns' activations",
            here.felt,
            _random_shares(subject, layer, x, random),
        ),
        published=None,
        worthwhile=0.7,
        how_to_read=(
            "0 means that mixtures of story vectors make up the vectors of the felt emotion, 1 that they share nothing with them. "
            "Any direction lies partly outside, so the figure has to exceed that of random directions among the same turns, and of vectors made from words alone."
        ),
        baselines={"vectors of the shown emotion": here.shown, **floors},
        floor=max(floors.values(), default=None),
        notes=_notes(here, spanned, subject.model.hidden, enough, room, beyond),
        table=_with_stories(turns, x),
        charts=(_chart(turns, first, random),),
    )  # fmt: skip


def _floors(turns: Turns, first: np.ndarray, beyond: bool) -> dict[str, float]:
    """The same share from word embeddings, where those give vectors at all."""
    floors = {}
    for name, bag in turns.bags().items():
        words = _shares(turns, bag, _off_stories(turns.subject, EMBEDDING, bag), first)
        if words.reliability[0] >= RELIABLE and np.isfinite(words.felt):
            floors[f"embedding layer, {name}"] = words.felt
    return floors if beyond else floors | {"words that attention blends in, at most": 1.0}


def _span(subject: Subject, layer: int) -> Float[np.ndarray, "dimension hidden"]:
    """Orthonormal rows that span the story vectors after a layer."""
    _, sizes, rows = np.linalg.svd(unit(subject.fitted.at(layer)), full_matrices=False)
    return np.asarray(rows[sizes > 1e-4 * sizes[0]])


def _off_stories(
    subject: Subject, layer: int, rows: Float[np.ndarray, "row hidden"]
) -> Float[np.ndarray, "row hidden"]:
    basis = _span(subject, layer)
    return np.asarray(rows - (rows @ basis.T) @ basis)


def _random_shares(
    subject: Subject, layer: int, x: np.ndarray, random: np.random.Generator, draws: int = DRAWS
) -> list[float]:
    """The share of as many random directions as there are felt emotions."""
    count, basis = len({d.felt for d in subject.library.deflections}), _span(subject, layer)
    shares = []
    for _ in range(draws):
        inside = random_directions(x, count, random) @ basis.T
        shares.append(float(np.sqrt(1 - (inside**2).sum(1).mean())))
    return shares


def _notes(here: Shares, spanned: int, hidden: int, enough: bool, room: bool, beyond: bool) -> tuple[str, ...]:
    notes = [
        f"Reliability between halves of the dialogues: {here.reliability[0]:.2f} (felt), {here.reliability[1]:.2f} (shown).",
        f"The story vectors span {spanned} of {hidden} dimensions.",
    ]
    if not enough:
        notes.append(
            f"A reliability below {RELIABLE} leaves mostly noise, which lies outside of everything, so nothing is judged."
        )
    if not beyond:
        notes.append(
            "The felt emotion is read no better than words alone give; an untrained model, too, writes words that it "
            "blends in wherever it likes, so a share is no evidence here and cannot make the claim hold."
        )
    if not room:
        notes.append(
            "The story vectors span nearly the whole space, so there is no outside to speak of and nothing is judged."
        )
    return tuple(notes)


def _with_stories(turns: Turns, x: np.ndarray) -> tuple[dict[str, Any], ...]:
    """Cosine of each felt-emotion vector, and of the vector of the same emotion shown, with its story vector."""
    subject = turns.subject
    felt, shown = unit(effects(x, turns.own, turns.beside, len(turns.emotions), np.ones((1, len(x))))[0])
    stories = unit(subject.fitted.at(subject.reading_layer))
    rows: list[dict[str, Any]] = []
    for number, word in enumerate(turns.emotions):
        if word in subject.fitted:
            story = stories[subject.emotions.index(word)]
            rows.append(
                {
                    "emotion": word,
                    "felt, with its story vector": float(felt[number] @ story),
                    "shown, with its story vector": float(shown[number] @ story),
                    "felt with shown": float(felt[number] @ shown[number]),
                }
            )
    return tuple(sorted(rows, key=lambda row: -row["felt, with its story vector"]))


def _chart(turns: Turns, first: np.ndarray, random: np.random.Generator) -> Chart:
    subject = turns.subject
    rows: list[dict[str, Any]] = []
    for layer in subject.layers:
        x = turns.at(layer)
        found = _shares(turns, x, _off_stories(subject, layer, x), first)
        felt, shown = (
            share if reliable >= RELIABLE else None  # a gap in the line
            for share, reliable in zip((found.felt, found.shown), found.reliability, strict=True)
        )
        anything = float(np.mean(_random_shares(subject, layer, x, random, 20)))
        figures = {"felt emotion": felt, "shown emotion": shown, "random directions": anything}
        rows += [{"layer": layer, "share": figure, "series": name} for name, figure in figures.items()]
    caption = "Share of norm outside of the story vectors' span by layer (-1: the embeddings); only where reliable"
    return charts.lines("deflection-norm", caption, rows, "layer", "share", "series", subject.reading_layer)
