"""Can one of a dialogue's two emotions be read on its turns? The finding that both dialogue experiments share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from foreshock.model import EMBEDDING
from foreshock.study import charts
from foreshock.study.crossval import auroc, mean_auroc
from foreshock.study.finding import Chart, Finding
from foreshock.study.measures.dialogues import Turns
from foreshock.study.measures.effects import compact, held_out
from foreshock.study.nulls import against, bootstrap, corrected_p, generator

DRAWS = 1000


@dataclass(frozen=True, slots=True)
class Said:
    """The words of one finding."""

    id: str
    claim: str
    whose: str
    """Whose emotion is read, for labels."""
    worthwhile: float
    how_to_read: str


def read_turns(turns: Turns, said: Said) -> tuple[Finding, Float[np.ndarray, "turn emotion"]]:
    """Held-out AUROC by dialogue with its null, floor and chart over layers; and the held-out scores."""
    layer, count = turns.subject.reading_layer, len(turns.emotions)
    random = generator(turns.subject.seed, said.id)
    fold, x = turns.fold[turns.dialogue], turns.at(layer)

    def scored(rows: np.ndarray) -> Float[np.ndarray, "turn emotion"]:
        return held_out(rows, turns.own, turns.beside, count, fold)

    scores = scored(x)
    each = auroc(scores, turns.own)
    value = float(np.nanmean(each))
    draws = _shuffled(turns, x, random)
    words = {name: mean_auroc(scored(bag), turns.own) for name, bag in turns.bags().items()}
    by_layer = {k: mean_auroc(scored(turns.at(k)), turns.own) for k in turns.subject.layers if k != EMBEDDING}
    p = [float((1 + (draws[:, n] >= each[n]).sum()) / (1 + len(draws))) for n in range(count)]
    rows: list[dict[str, Any]] = [
        {"emotion": word, "AUROC": float(a), "p": own_p, "q": q}
        for word, a, own_p, q in zip(turns.emotions, each, p, corrected_p(p), strict=True)
    ]
    best = max(by_layer, key=lambda k: by_layer[k])

    def resampled(dialogues: np.ndarray) -> float:
        picked = turns.rows(dialogues)
        return mean_auroc(scores[picked], turns.own[picked])

    interval = bootstrap(len(turns.pair), resampled, random)
    return Finding(
        id=said.id,
        claim=said.claim,
        statistic=f"mean one-versus-rest AUROC over {count} emotions, dialogues held out (chance 0.5)",
        estimate=value,
        interval=interval,
        null=against(f"{said.whose} emotion taken from another dialogue", value, np.nanmean(draws, 1).tolist()),
        published=None,
        worthwhile=said.worthwhile,
        how_to_read=said.how_to_read,
        baselines={f"embedding layer, {name}": figure for name, figure in words.items()},
        floor=max(words.values()),
        notes=(
            f"{len(turns.own)} turns of {len(turns.pair)} dialogues in {len(np.unique(fold))} folds.",
            f"At the best of all layers, {best}, the figure is {by_layer[best]:.3f}; that layer was picked after the fact.",
            _beside(interval, words),
        ),
        table=tuple(sorted(rows, key=lambda row: -row["AUROC"])),
        charts=(_chart(said, by_layer, words, layer),),
    ), scores  # fmt: skip


def beyond_words(finding: Finding) -> bool:
    """Whether the reading lies above every bag of words.

    If not, its vectors may be words that attention blends in, and a model that has learnt nothing writes those in
    directions of its own: which directions vectors take is then no evidence of anything.
    """
    return finding.interval is not None and finding.floor is not None and finding.interval[0] > finding.floor


def _beside(interval: tuple[float, float], words: dict[str, float]) -> str:
    most = max(words, key=lambda name: words[name])
    told = f"Of the word embeddings, the {most} tell the most ({words[most]:.3f})"
    return told + ("." if interval[0] > words[most] else ": attention that only blends words in could do as well.")


def _shuffled(turns: Turns, x: np.ndarray, random: np.random.Generator) -> Float[np.ndarray, "draw emotion"]:
    """AUROC of each emotion with nothing to find."""
    x = compact(x)
    draws, fold = [], turns.fold[turns.dialogue]
    for _ in range(DRAWS):
        own = turns.shuffled(random)
        draws.append(auroc(held_out(x, own, turns.beside, len(turns.emotions), fold), own))
    return np.array(draws)


def _chart(said: Said, by_layer: dict[int, float], words: dict[str, float], layer: int) -> Chart:
    rows = [{"layer": k, "AUROC": figure, "series": f"{said.whose} emotion"} for k, figure in by_layer.items()]
    for name, figure in words.items():
        ends = {min(by_layer), max(by_layer)}
        rows += [{"layer": k, "AUROC": figure, "series": name} for k in sorted(ends)]
    caption = f"Held-out AUROC of {said.whose} emotion by layer; flat: what the embeddings of words alone give"
    return charts.lines(f"{said.id}-by-layer", caption, rows, "layer", "AUROC", "series", layer)
