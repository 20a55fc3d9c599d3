"""The catalogue: the 171 emotion words of the study, their clusters, ratings and word forms.

Words and clusters: Sofroniew et al. 2026, arXiv 2604.07729 (k-means, k = 10, on Claude Sonnet 4.5).
Valence: mean human rating from VADER's lexicon (Hutto & Gilbert 2014, MIT), -4…4; None where VADER
lacks the word. Arousal: 1 (still) … 7 (stirred up), rated by one judge, the author of this file:
a language model, as in the study; not human data.
"""

from __future__ import annotations

import csv
import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import resources

from foreshock.errors import UnknownEmotion


@dataclass(frozen=True, slots=True)
class Emotion:
    """One emotion word of the catalogue."""

    word: str
    """The word as the study writes it, e.g. `grief-stricken`."""
    cluster: str
    """The study's named cluster, e.g. `Despair and Shame`."""
    valence: float | None
    """Human valence, -4 (bad) … 4 (good); None where the lexicon lacks the word."""
    arousal: float
    """A judge's arousal, 1 (still) … 7 (stirred up)."""
    core: bool
    """One of the 32 emotions whose stories also cover the test topics."""
    forms: tuple[str, ...]
    """The word and its relatives of the same root; a story of the emotion uses none of them."""
    synonyms: tuple[str, ...]
    """Direct synonyms; a story of the emotion uses none of these either."""
    gloss: str
    """What sets the emotion apart from its neighbours."""


@cache
def catalogue() -> dict[str, Emotion]:
    """All 171 emotions by word, in the alphabetical order of the study."""
    table = resources.files("foreshock").joinpath("emotions.csv").read_text(encoding="utf-8")
    emotions = (
        Emotion(
            word=row["word"],
            cluster=row["cluster"],
            valence=float(row["valence"]) if row["valence"] else None,
            arousal=float(row["arousal"]),
            core=row["core"] == "yes",
            forms=(row["word"], *filter(None, row["forms"].split("|"))),
            synonyms=tuple(filter(None, row["synonyms"].split("|"))),
            gloss=row["gloss"],
        )
        for row in csv.DictReader(table.splitlines())
    )
    return {emotion.word: emotion for emotion in emotions}


def core() -> list[str]:
    """The 32 core words: the twelve of the study's table and twenty that span the clusters."""
    return [word for word, emotion in catalogue().items() if emotion.core]


def clusters() -> list[str]:
    """The ten cluster names, from the most pleasant to the least by mean valence of their words."""
    valence: dict[str, list[float]] = {}
    for emotion in catalogue().values():
        if emotion.valence is not None:
            valence.setdefault(emotion.cluster, []).append(emotion.valence)
    return sorted(valence, key=lambda name: -sum(valence[name]) / len(valence[name]))


def in_cluster_order(words: Iterable[str]) -> list[str]:
    """The words sorted by cluster (as `clusters()` has them), then by the alphabet."""
    order = {name: place for place, name in enumerate(clusters())}
    return sorted(words, key=lambda word: (order[lookup(word).cluster], word))


def lookup(word: str) -> Emotion:
    """The emotion of this name: the word itself, or a form of its root that no other emotion has.

    Raises:
        UnknownEmotion: no such emotion; the message names the nearest ones.
    """
    wanted = word.strip().lower().replace("_", " ")
    known = catalogue()
    if wanted in known:
        return known[wanted]
    by_form = [e for e in known.values() if wanted in e.forms or wanted == e.word.replace(" ", "-")]
    if len(by_form) == 1:
        return by_form[0]
    near = [e.word for e in by_form] or difflib.get_close_matches(wanted, known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else "`foreshock.emotions.catalogue()` lists them."
    raise UnknownEmotion(f"There is no emotion {word!r} among the {len(known)} of the catalogue: {hint}")
