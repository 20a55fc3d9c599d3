"""Do readings tell the emotions apart on topics that the vectors never saw? Also chooses the reading layer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from foreshock.model import EMBEDDING
from foreshock.study import charts
from foreshock.study.crossval import Scores, Skill, held_out, mean_auroc, skill
from foreshock.study.finding import Chart, Finding
from foreshock.study.measures.bag_of_words import NAME, by_words, held_out_by_words
from foreshock.study.nulls import against, bootstrap, generator, shuffled_within
from foreshock.study.subject import Subject
from foreshock.vectors.estimation import estimate, numbered

DRAWS = 1000


def run(subject: Subject) -> list[Finding]:
    """On held-out topics of the fitted texts, and on the fresh topics of the test texts where there are any."""
    fresh = [_on_test_topics(subject)] if subject.test_passages else []
    return [_held_out(subject), *fresh]


def _held_out(subject: Subject) -> Finding:
    chosen, nested = subject.chosen.layer, subject.chosen.nested
    here = skill(nested, subject.emotion)
    estimate_ = float(np.nanmean(here.auroc))
    random = generator(subject.seed, "separability")
    interval = bootstrap(len(here.auroc), lambda rows: float(np.nanmean(here.auroc[rows])), random)
    draws = _shuffled(subject, chosen, random)
    words = skill(held_out_by_words(subject), subject.emotion)
    embedding = skill(held_out(subject, EMBEDDING), subject.emotion)
    recipes = _recipes(subject, chosen)
    return Finding(
        id="separability",
        claim="Readings tell the emotions of stories apart, on topics the vectors never saw",
        statistic=f"mean one-versus-rest AUROC over {len(subject.emotions)} emotions (chance 0.5)",
        estimate=estimate_,
        interval=interval,
        null=against("labels shuffled within topics, at the reading layer", estimate_, draws),
        published=None,
        worthwhile=0.7,
        how_to_read=(
            "0.5 means that a story of the emotion reads no higher on its vector than any other story; 1 means always. "
            "The dashed rule is the reading layer; the figure is nested, so choosing the layer does not flatter it."
        ),
        baselines=_baselines(words, embedding),
        notes=(
            *_beside_words(here, words),
            f"Reading layer {chosen} of {subject.model.layers}, by leave-one-topic-out AUROC.",
            *recipes,
        ),
        table=_worst(subject, here, nested),
        floor=float(np.nanmean(embedding.auroc)),
        charts=(_by_layer(subject.chosen.skills, chosen, words, embedding),),
    )


def _on_test_topics(subject: Subject) -> Finding:
    labels = [p.emotion for p in subject.test_passages]
    tested = [word for word in subject.emotions if word in set(labels)]
    rows = np.isin(subject.emotion, [subject.emotions.index(word) for word in tested])
    emotion, _ = numbered([p.emotion for p, keep in zip(subject.passages, rows, strict=True) if keep], tested)
    truth, _ = numbered(labels, tested)
    test_topic, _ = numbered([p.topic for p in subject.test_passages])
    topic = subject.topic[rows]

    def read(fit_labels: np.ndarray, layer: int = subject.reading_layer) -> Scores:
        train, basis = subject.means.at(layer)[rows], subject.basis(layer)
        fitted = estimate(train, fit_labels, topic, len(tested), subject.recipe, basis)
        return fitted.read(subject.test_means.at(layer))

    here = skill(read(emotion), truth)
    value = float(np.nanmean(here.auroc))
    random = generator(subject.seed, "test topics")
    draws = [mean_auroc(read(shuffled_within(emotion, topic, random)), truth) for _ in range(DRAWS)]
    fit_texts = [p.text for p, keep in zip(subject.passages, rows, strict=True) if keep]
    words = skill(by_words(fit_texts, emotion, [p.text for p in subject.test_passages], len(tested)), truth)
    embedding = skill(read(emotion, EMBEDDING), truth)
    return Finding(
        id="test-topics",
        claim="The same on fresh topics that took no part in anything, layer choice included",
        statistic=f"mean one-versus-rest AUROC over {len(tested)} emotions (chance 0.5)",
        estimate=value,
        interval=bootstrap(len(here.auroc), lambda picked: float(np.nanmean(here.auroc[picked])), random),
        null=against("labels shuffled within topics", value, draws),
        published=None,
        worthwhile=0.7,
        how_to_read=(
            f"The vectors are fitted on {len(subject.topics)} topics and read on {test_topic.max() + 1} others. "
            "This is the cleanest figure of the page, since nothing was chosen by these stories."
        ),
        baselines=_baselines(words, embedding),
        floor=float(np.nanmean(embedding.auroc)),
        notes=_beside_words(here, words),
    )


def _shuffled(subject: Subject, layer: int, random: np.random.Generator) -> list[float]:
    """The same AUROC with nothing to find. The estimate is nested, so the null needs no choice of layer of its own."""
    draws = []
    for _ in range(DRAWS):
        emotion = shuffled_within(subject.emotion, subject.topic, random)
        draws.append(mean_auroc(held_out(subject, layer, emotion=emotion), emotion))
    return draws


def _recipes(subject: Subject, layer: int) -> list[str]:
    """The estimator's choices, compared at the reading layer."""
    shown = []
    for other in ({"centre": "grand"}, {"denoise": 0.0}, {"whiten": 0.5}):
        recipe = replace(subject.recipe, **other)
        here = skill(held_out(subject, layer, recipe), subject.emotion)
        shown.append(f"Recipe '{recipe.describe()}': AUROC {np.nanmean(here.auroc):.3f}, top-1 {here.top1:.2f}.")
    return shown


def _baselines(words: Skill, embedding: Skill) -> dict[str, float]:
    return {
        NAME: float(np.nanmean(words.auroc)),
        "the model's embedding layer": float(np.nanmean(embedding.auroc)),
    }


def _beside_words(here: Skill, words: Skill) -> tuple[str, str]:
    """Top-1 and rank, and whether the words alone could explain the figure."""
    count = len(here.auroc)
    ranks = (
        f"Top-1 {here.top1:.2f} (chance {1 / count:.3f}), mean rank {here.rank:.1f} of {count}; "
        f"TF-IDF with logistic regression: top-1 {words.top1:.2f}."
    )
    readings, bag = float(np.nanmean(here.auroc)), float(np.nanmean(words.auroc))
    if bag >= readings:
        return ranks, (
            f"A bag of words does as well or better ({bag:.3f} against {readings:.3f}): "
            "this alone shows no more than that the emotions use different words."
        )
    return ranks, f"A bag of words does worse ({bag:.3f} against {readings:.3f})."


def _worst(subject: Subject, here: Skill, scores: Scores) -> tuple[dict[str, Any], ...]:
    """Every emotion with its AUROC and the emotion its stories are most often taken for, worst first."""
    taken = scores.argmax(1)
    rows: list[dict[str, Any]] = []
    for number, word in enumerate(subject.emotions):
        wrong = taken[(subject.emotion == number) & (taken != number)]
        mistaken = subject.emotions[np.bincount(wrong).argmax()] if len(wrong) else ""
        top1 = float((taken[subject.emotion == number] == number).mean())
        rows.append(
            {"emotion": word, "AUROC": float(here.auroc[number]), "top-1": top1, "most often taken for": mistaken}
        )
    return tuple(sorted(rows, key=lambda row: row["AUROC"]))


def _by_layer(skills: dict[int, Skill], chosen: int, words: Skill, embedding: Skill) -> Chart:
    rows = [
        {"layer": k, "AUROC": float(np.nanmean(s.auroc)), "series": "readings", "top-1": s.top1}
        for k, s in skills.items()
    ]
    flat = {NAME: words, "embedding layer": embedding}
    for name, s in flat.items():
        rows += [
            {"layer": k, "AUROC": float(np.nanmean(s.auroc)), "series": name, "top-1": s.top1}
            for k in (min(skills), max(skills))
        ]
    return charts.lines(
        "separability-by-layer",
        "Held-out AUROC by layer, beside what the words alone give",
        rows,
        "layer",
        "AUROC",
        "series",
        chosen,
    )
