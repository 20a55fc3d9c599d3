"""Does a message that implies an emotion raise its reading just before the reply? (paper, "Implicit scenarios")"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy.special import comb
from scipy.stats import rankdata

from foreshock.model import EMBEDDING
from foreshock.study import charts
from foreshock.study.crossval import Scores, auroc, mean_auroc, ranks
from foreshock.study.finding import Chart, Finding
from foreshock.study.measures.bag_of_words import NAME as BAG
from foreshock.study.measures.bag_of_words import by_words
from foreshock.study.measures.before_reply import LAST_TOKEN, OWN_WORDS, Spot, Told, readings, told
from foreshock.study.measures.readout import standardised
from foreshock.study.nulls import against, beside, bootstrap, corrected_p, generator, harder, shuffled_within
from foreshock.study.subject import Subject
from foreshock.vectors.estimation import numbered

DRAWS = 2000
PUBLISHED_EMOTIONS = 12
"""Emotions that compete in the study's figure."""
Ranks = Float[np.ndarray, " message"]


def run(subject: Subject) -> list[Finding]:
    """AUROC of each scenario emotion's reading over the messages, with place and layer chosen on other messages."""
    found = told(subject)
    if found is None:
        return []
    layer, emotion = subject.reading_layer, found.emotion
    everywhere = found.everywhere(subject)
    scores, chosen = found.nested(everywhere, Spot(LAST_TOKEN, layer))
    crossed = auroc_of_each(scores, emotion)
    each = crossed.diagonal()
    value = float(each.mean())
    random = generator(subject.seed, "scenarios")
    draws = np.array([auroc(scores, shuffled_within(emotion, found.part, random)) for _ in range(DRAWS)])
    null, other = harder(
        against("emotions shuffled over the messages of a fold", value, [float(row.mean()) for row in draws]),
        against("vectors shuffled over the emotions", value, _exchanged(crossed, random)),
    )
    own_words = found.scores(subject, OWN_WORDS, layer)
    embedding = mean_auroc(found.scores(subject, OWN_WORDS, EMBEDDING), emotion)
    bag = _bag_of_words(subject, found)
    return [Finding(
        id="implicit-scenarios",
        claim="Before the reply, a message that implies an emotion reads high on it",
        statistic=f"mean one-versus-rest AUROC over {len(found.words)} emotions, {len(found.items)} messages (chance 0.5)",
        estimate=value,
        interval=bootstrap(len(each), lambda rows: float(each[rows].mean()), random),
        null=null,
        published="strong diagonal; top-1 about 6-7 of 12, by eye",
        worthwhile=0.7,
        how_to_read=(
            "A cell is the mean reading of one emotion before the reply to messages of another, in standard deviations over all messages; "
            "a warm diagonal means that each emotion reads highest where it is implied. "
            "Warm blocks beside the diagonal are emotions that the readings take for one another."
        ),
        baselines={
            BAG: mean_auroc(bag, emotion),
            f"{LAST_TOKEN}, reading layer {layer}": mean_auroc(everywhere[Spot(LAST_TOKEN, layer)], emotion),
            f"{OWN_WORDS}, reading layer {layer}": mean_auroc(own_words, emotion),
            f"{OWN_WORDS}, embedding layer": embedding,
        },
        floor=embedding,
        notes=(
            _placing(found, everywhere, chosen),
            *_ranking(found, scores, bag, value),
            *_crowded(subject, found, chosen),
            beside(other),
        ),
        table=_table(found, scores, each, draws),
        charts=(_map(found, scores), _by_layer(subject, found)),
    )]  # fmt: skip


def auroc_of_each(scores: Scores, emotion: Int[np.ndarray, " message"]) -> Float[np.ndarray, "emotion vector"]:
    """AUROC of every column for the messages of every emotion against all others."""
    member = (emotion == np.arange(scores.shape[1])[:, None]).astype(float)
    hits = member.sum(1, keepdims=True)
    return np.asarray((member @ rankdata(scores, axis=0) - hits * (hits + 1) / 2) / (hits * (len(scores) - hits)))


def _exchanged(crossed: Float[np.ndarray, "emotion vector"], random: np.random.Generator) -> list[float]:
    """The figure with each emotion read by the vector of another at random.

    Messages of one emotion are alike in more than the emotion. This keeps them together, which shuffling them one by
    one does not.
    """
    everyone = np.arange(len(crossed))
    return [float(crossed[everyone, random.permutation(everyone)].mean()) for _ in range(DRAWS)]


def _bag_of_words(subject: Subject, found: Told) -> Scores:
    """Log-probabilities from the words of the fitted stories of the same emotions."""
    stories = [p for p in subject.passages if p.emotion in set(found.words)]
    emotion, _ = numbered([p.emotion for p in stories], found.words)
    texts = [item.text for item in found.items]
    return standardised(by_words([p.text for p in stories], emotion, texts, len(found.words)))


def _placing(found: Told, everywhere: dict[Spot, Scores], chosen: list[Spot]) -> str:
    picked = "; ".join(f"{spot} ({times} of {len(chosen)} folds)" for spot, times in Counter(chosen).most_common())
    figures = {spot: mean_auroc(scores, found.emotion) for spot, scores in everywhere.items()}
    best = [
        max((spot for spot in figures if spot.place == place), key=lambda spot: figures[spot])
        for place in found.read.places
        if place != OWN_WORDS
    ]
    shown = "; ".join(f"{spot}: {figures[spot]:.3f}" for spot in best)
    return f"Read at: {picked}. The best layer of each place, picked after the fact: {shown}."


def _ranking(found: Told, scores: Scores, bag: Scores, value: float) -> tuple[str, str, str]:
    count, messages = len(found.words), len(found.items)
    placed, by_words = ranks(scores, found.emotion), ranks(bag, found.emotion)
    few = min(PUBLISHED_EMOTIONS, count)
    words = mean_auroc(bag, found.emotion)
    verb = "does as well or better" if words >= value else "does worse"
    return (
        f"Mean diagonal rank {placed.mean():.1f} of {count} (chance {(count + 1) / 2:.1f}); top-1 "
        f"{int((placed == 1).sum())} and top-3 {int((placed <= 3).sum())} of {messages} messages "
        f"(chance {messages / count:.0f} and {messages * min(3, count) / count:.0f}).",
        f"Were only {few} emotions to compete, as in the study, top-1 would be {few * _among(placed, count, few):.1f} of {few} (chance 1).",
        f"A bag of words trained on the stories {verb} (AUROC {words:.3f}; top-1 {int((by_words == 1).sum())} of {messages}).",
    )


def _among(placed: Ranks, count: int, few: int) -> float:
    """Chance that a message's own emotion comes first among `few` drawn from all `count`, itself one of them."""
    return float(np.mean(comb(np.floor(count - placed), few - 1) / comb(count - 1, few - 1)))


def _crowded(subject: Subject, found: Told, chosen: list[Spot]) -> list[str]:
    """What reads high everywhere before standardising, and the rank among all studied emotions."""
    place, layer = Counter(chosen).most_common(1)[0][0]
    raw = readings(subject, found.read.at(place, layer), layer, found.words)
    highest = np.bincount(raw.argmax(1), minlength=len(found.words))
    notes = [
        f"Not standardised, *{found.words[highest.argmax()]}* would read highest in {highest.max()} of {len(raw)} messages."
    ]
    if len(subject.emotions) > len(found.words):
        column = numbered([item.emotion for item in found.items], subject.emotions)[0]
        placed = ranks(found.scores(subject, place, layer, subject.emotions), column)
        notes.append(
            f"Among all {len(subject.emotions)} studied emotions the implied one has mean rank {placed.mean():.1f} "
            f"(chance {(len(subject.emotions) + 1) / 2:.0f}), median {np.median(placed):.0f}."
        )
    return notes


def _table(
    found: Told,
    scores: Scores,
    each: Float[np.ndarray, " emotion"],
    draws: Float[np.ndarray, "draw emotion"],
) -> tuple[dict[str, Any], ...]:
    """A row an emotion, worst first, with its own p-value against the same shuffles."""
    p = (1 + (draws >= each).sum(0)) / (1 + len(draws))
    placed, highest = ranks(scores, found.emotion), scores.argmax(1)
    rows: list[dict[str, Any]] = []
    for number, (word, q) in enumerate(zip(found.words, corrected_p(p.tolist()), strict=True)):
        own = found.emotion == number
        wrong = highest[own & (highest != number)]
        rows.append({
            "emotion": word,
            "AUROC": float(each[number]),
            "mean rank": float(placed[own].mean()),
            "top-1": f"{int((placed[own] == 1).sum())} of {int(own.sum())}",
            "taken for": ", ".join(dict.fromkeys(found.words[k] for k in wrong)),
            "p": float(p[number]),
            "q": q,
        })  # fmt: skip
    return tuple(sorted(rows, key=lambda row: row["AUROC"]))


def _map(found: Told, scores: Scores) -> Chart:
    means = np.array([scores[found.emotion == k].mean(0) for k in range(len(found.words))])
    cells = [
        {"message implies": told_, "emotion read": read, "reading": float(means[i, j])}
        for i, told_ in enumerate(found.words)
        for j, read in enumerate(found.words)
    ]
    caption = "Reading before the reply (up) by the emotion that the message implies (across)"
    limit = max(round(float(np.quantile(np.abs(means), 0.98)), 1), 0.1)
    return charts.heatmap(
        "scenarios", caption, cells, "message implies", "emotion read", "reading", found.words, limit, True
    )


def _by_layer(subject: Subject, found: Told) -> Chart:
    rows = [
        {"layer": layer, "AUROC": mean_auroc(found.scores(subject, place, layer), found.emotion), "place": place}
        for place in found.read.places
        for layer in subject.layers
    ]
    caption = (
        "AUROC of the messages' emotions by place and layer (-1: the embeddings; dashed: the reading layer of stories)"
    )
    return charts.lines("scenarios-by-layer", caption, rows, "layer", "AUROC", "place", subject.reading_layer)
