"""Two speakers, two emotions: is each of them kept apart? (paper, present- and other-speaker vectors)"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from foreshock.model import EMBEDDING
from foreshock.study import charts
from foreshock.study.experiments import regulation
from foreshock.study.finding import Chart, Finding
from foreshock.study.measures.dialogues import Turns, laid_out, numbered_pairs
from foreshock.study.measures.effects import Halves, compact, effects, halves, resampled, split_dialogues
from foreshock.study.measures.turn_reading import Said, beyond_words, read_turns
from foreshock.study.nulls import against, generator
from foreshock.study.subject import Subject
from foreshock.vectors.estimation import unit

FOLDS = 5
FEWEST = 20
"""Dialogues below which nothing is tried."""
SPLITS = 6
"""Random halves that a cosine is averaged over."""
DRAWS = 1000
RELIABLE = 0.2
"""Least cosine of vectors with themselves between halves: below it, taking noise off multiplies it more than fivefold."""

PRESENT = Said(
    id="present-speaker",
    claim="On a turn, the emotion of the one who speaks can be read in dialogues that the vectors never saw",
    whose="the present speaker's",
    worthwhile=0.7,
    how_to_read=(
        "0.5 means that turns spoken with the emotion read no higher on its vector than other turns, 1 means always. "
        "The flat lines are the word embeddings of the turn, of what came before it, and of both; the line of the layers has to rise above them."
    ),
)
OTHER = Said(
    id="other-speaker",
    claim="On a turn, the emotion of the one who is silent can be read in dialogues that the vectors never saw",
    whose="the silent speaker's",
    worthwhile=0.6,
    how_to_read=(
        "0.5 means that a turn tells nothing of the listener's emotion, 1 means that it always tells. "
        "The two emotions are assigned independently, so what the turn's own words give is reaction; the rest was heard before, and the flat line of the words before the turn is what hearing alone gives."
    ),
)


def run(subject: Subject) -> list[Finding]:
    """Present speaker, other speaker, the angle between them, and what one turn does to the next."""
    if len(subject.library.exchanges) < FEWEST:
        return []
    everything = read_exchanges(subject)
    turns = heard(everything)
    present, _ = read_turns(turns, PRESENT)
    other, _ = read_turns(turns.swapped(), OTHER)
    findings = [_beside_stories(turns, present), other, _orthogonal(turns, beyond_words(other))]
    return findings + regulation.run(everything)


def read_exchanges(subject: Subject) -> Turns:
    """Every turn of every dialogue; the spans of a dialogue are its turns, then the last token of each turn's label."""
    exchanges = subject.library.exchanges
    emotions, pair = numbered_pairs([(e.a, e.b) for e in exchanges])
    texts = []
    dialogue: list[int] = []
    place: list[int] = []
    first: list[int] = []
    spans = 0
    for number, exchange in enumerate(exchanges):
        tokens, words = laid_out(subject.model, exchange.turns)
        texts.append((tokens, [*words, *((start - 1, start) for start, _ in words)]))
        dialogue += [number] * len(words)
        place += range(len(words))
        first += [spans] * len(words)
        spans += 2 * len(words)
    where, order = np.array(first), np.array(place)
    fold = np.empty(len(exchanges), np.int64)
    fold[generator(subject.seed, "speakers folds").permutation(len(exchanges))] = np.arange(len(exchanges)) % FOLDS
    return Turns(
        subject, emotions, pair, np.array(dialogue), order % 2, fold, subject.read(texts), where + order, where
    )  # fmt: skip


def heard(turns: Turns) -> Turns:
    """Without the first turn of each dialogue, on which nobody else has spoken yet."""
    keep = turns.span > turns.first
    return replace(
        turns, dialogue=turns.dialogue[keep], column=turns.column[keep], span=turns.span[keep], first=turns.first[keep]
    )  # fmt: skip


def _beside_stories(turns: Turns, finding: Finding) -> Finding:
    """Adds the cosine of each present-speaker vector with the story vectors of the studied emotions."""
    subject = turns.subject
    layer, studied = subject.reading_layer, [word for word in turns.emotions if word in subject.fitted]
    if len(studied) < 3:
        return finding
    spoken, silent = unit(
        effects(turns.at(layer), turns.own, turns.beside, len(turns.emotions), np.ones((1, len(turns.own))))[0]
    )
    rows = [turns.emotions.index(word) for word in studied]
    stories = unit(subject.fitted.at(layer)[[subject.emotions.index(word) for word in studied]])
    cosines, of_silent = spoken[rows] @ stories.T, silent[rows] @ stories.T
    own, away = np.diag(cosines), (cosines.sum(1) - np.diag(cosines)) / (len(studied) - 1)
    random = generator(subject.seed, "stories of speakers")
    matched = [float(cosines[np.arange(len(own)), random.permutation(len(own))].mean()) for _ in range(DRAWS)]
    p = against("", float(own.mean()), matched).p
    columns = {
        w: {"cosine with its story vector": float(c), "with the others'": float(a)}
        for w, c, a in zip(studied, own, away, strict=True)
    }
    return replace(
        finding,
        table=tuple({**row, **columns.get(row["emotion"], {"cosine with its story vector": None, "with the others'": None})} for row in finding.table),
        notes=(
            *finding.notes,
            f"Cosine of a present-speaker vector with the story vector of the same emotion: {own.mean():.2f}, of another "
            f"{away.mean():.2f} ({len(studied)} emotions, p = {p:.3f} over matchings); of a silent speaker's vector with the same {np.diag(of_silent).mean():.2f}.",
        ),
    )  # fmt: skip


def _orthogonal(turns: Turns, beyond: bool) -> Finding:
    """1 - |cosine| of both speakers' vectors, noise taken off; noise by itself must not look orthogonal.

    Args:
        beyond: whether the silent speaker is read better than words alone give; if not, blended words could take any
            direction, and the floor is the highest there is.
    """
    subject, count = turns.subject, len(turns.emotions)
    random = generator(subject.seed, "speakers-orthogonal")
    everyone = np.zeros(len(turns.pair), np.int64)
    first = split_dialogues(everyone, SPLITS, random)[:, turns.dialogue]

    def at(layer: int) -> Halves:
        return halves(turns.at(layer), turns.own, turns.beside, count, first)

    x = compact(turns.at(subject.reading_layer))
    here, words = at(subject.reading_layer), at(EMBEDDING)
    value = 1 - abs(here.cosine)
    drawn = []
    for _ in range(DRAWS):
        weight = resampled(everyone, random)[turns.dialogue]
        drawn.append(1 - abs(halves(x, turns.own, turns.beside, count, first, weight).cosine))
    low, high = np.nanquantile(drawn, [0.025, 0.975]) if np.isfinite(drawn).any() else (np.nan, np.nan)
    enough = bool(here.reliability.min() >= RELIABLE)
    worded = bool(words.reliability.min() >= RELIABLE)
    baselines = {"embedding layer, words of the turn": 1 - abs(words.cosine)} if worded else {}
    if not beyond:
        baselines["words that attention blends in, at most"] = 1.0
    return Finding(
        id="speakers-orthogonal",
        claim="The vectors of the present and of the silent speaker are nearly orthogonal",
        statistic="1 - |cosine| of both speakers' vectors of an emotion, fitted on different halves of the dialogues and divided by their reliabilities",
        estimate=value,
        interval=(float(low), float(high)) if enough else None,
        null=against(
            "who speaks and who is silent swapped at random on each turn",
            value,
            _mixed(turns, x, first, random),
        ),
        published="nearly orthogonal (no figure)",
        worthwhile=0.7,
        how_to_read=(
            "A cosine of 1 means that the model marks an emotion alike whoever has it, 0 that it marks the two speakers' emotions in different directions. "
            "Noise is orthogonal to everything, so the figure counts only where both kinds of vector come out alike from different dialogues (reliability)."
        ),
        baselines=baselines,
        floor=max(baselines.values(), default=None),
        notes=_notes(here, words, enough, worded, beyond),
        table=_by_emotion(turns, here),
        charts=(_chart({k: at(k) for k in subject.layers}, subject.reading_layer),),
    )  # fmt: skip


def _mixed(turns: Turns, x: np.ndarray, first: np.ndarray, random: np.random.Generator) -> list[float]:
    """The statistic where both kinds of vector are the same mixture."""
    draws = []
    for _ in range(DRAWS):
        swap = random.integers(0, 2, len(x)).astype(bool)
        own, beside = np.where(swap, turns.beside, turns.own), np.where(swap, turns.own, turns.beside)
        draws.append(1 - abs(halves(x, own, beside, len(turns.emotions), first).cosine))
    return draws


def _notes(here: Halves, words: Halves, enough: bool, worded: bool, beyond: bool) -> tuple[str, ...]:
    notes = [
        f"Cosine {here.cosine:+.2f}; reliability between halves {here.reliability[0]:.2f} (present) and {here.reliability[1]:.2f} (silent)."
    ]
    if not enough:
        notes.append(f"A reliability below {RELIABLE} leaves too little to compare, so nothing is judged.")
    if not beyond:
        notes.append(
            "The silent speaker is read no better than words alone give; an untrained model, too, writes words that it "
            "blends in apart from its own, so an angle is no evidence here and cannot make the claim hold."
        )
    if worded:
        notes.append(
            f"Word embeddings of the turn alone give a cosine of {words.cosine:+.2f}, which a model has to beat."
        )
    else:
        notes.append(
            f"Word embeddings of the turn alone give no silent speaker's or no present speaker's vectors to compare "
            f"(reliability {words.reliability[0]:.2f} and {words.reliability[1]:.2f}), so they set no floor."
        )
    return tuple(notes)


def _by_emotion(turns: Turns, here: Halves) -> tuple[dict[str, Any], ...]:
    """Each emotion's share: its products over the mean product of all emotions, which a single one is too noisy for."""
    present, silent = here.inner[0, 0], here.inner[1, 1]
    cross = (here.inner[0, 1] + here.inner[1, 0]) / 2
    scale = np.sqrt(max(present.mean(), 0) * max(silent.mean(), 0)) or np.nan
    rows = [
        {"emotion": word, "product of both speakers": float(c / scale), "present with itself": float(p / present.mean()), "silent with itself": float(s / silent.mean())}
        for word, c, p, s in zip(turns.emotions, cross, present, silent, strict=True)
    ]  # fmt: skip
    return tuple(sorted(rows, key=lambda row: -row["product of both speakers"]))


def _chart(by_layer: dict[int, Halves], layer: int) -> Chart:
    rows: list[dict[str, Any]] = []
    for k, found in by_layer.items():
        present, silent = (float(figure) for figure in found.reliability)
        alike = found.cosine if found.reliability.min() >= RELIABLE else None  # a gap in the line
        figures = {"reliability, present": present, "reliability, silent": silent, "cosine of the two": alike}
        rows += [{"layer": k, "cosine": figure, "series": name} for name, figure in figures.items()]
    caption = "Are both speakers' vectors alike? By layer (-1: the embeddings); cosine only where both are reliable"
    return charts.lines("speakers-orthogonal", caption, rows, "layer", "cosine", "series", layer)
