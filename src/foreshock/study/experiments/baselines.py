"""What do the readings know that the text alone does not give away? Against embeddings and a bag of words."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float
from sklearn.linear_model import LogisticRegression

from foreshock.model import EMBEDDING
from foreshock.model.sentence_embedder import INSTALL, NAME, embed_sentences, embedder_folder
from foreshock.study import charts
from foreshock.study.crossval import Scores, Skill, fitted_on, folds, held_out, skill, split_topics
from foreshock.study.finding import Finding
from foreshock.study.measures.bag_of_words import NAME as BAG
from foreshock.study.measures.bag_of_words import held_out_by_words
from foreshock.study.nulls import against, bootstrap, correlation, generator, pairs_of
from foreshock.study.subject import Arrays, Subject
from foreshock.vectors.estimation import estimate, unit

DRAWS = 1000
INTERVAL_DRAWS = 200
SPLITS = 4
Features = Float[np.ndarray, "passage feature"]


def run(subject: Subject) -> list[Finding]:
    """The gain in separability over the best text baseline, and the geometry that text does not explain."""
    folder = embedder_folder()

    def compute() -> Arrays:
        return {"embeddings": embed_sentences([p.text for p in subject.passages], folder)} if folder else {}

    texts = [p.text for p in subject.passages]
    sentences = subject.kept("sentences", texts, compute)["embeddings"] if folder else None
    found = [_gain(subject, sentences)]
    return found + ([_geometry(subject, sentences)] if len(subject.emotions) >= 8 and len(subject.topics) > 1 else [])


def _gain(subject: Subject, sentences: Features | None) -> Finding:
    skills = {
        "readings": skill(subject.chosen.nested, subject.emotion),
        "the model's embedding layer": skill(held_out(subject, EMBEDDING), subject.emotion),
        BAG: skill(held_out_by_words(subject), subject.emotion),
    }
    if sentences is not None:
        skills[f"{NAME}, difference of means"] = skill(_means_read(subject, sentences), subject.emotion)
        skills[f"{NAME}, logistic regression"] = skill(_regressed(subject, sentences), subject.emotion)
    own = skills.pop("readings")
    best = max(skills, key=lambda name: float(np.nanmean(skills[name].auroc)))
    gain = own.auroc - skills[best].auroc
    value = float(np.nanmean(gain))
    random = generator(subject.seed, "baselines")
    flips = [float(np.nanmean(gain * random.choice((-1, 1), len(gain)))) for _ in range(DRAWS)]
    missing = () if sentences is not None else (f"The sentence embedder is not installed: {INSTALL}",)
    return Finding(
        id="beyond-text",
        claim="Readings tell more about a story's emotion than its text alone gives away",
        statistic=f"mean gain in held-out AUROC over the best text baseline, {best}",
        estimate=value,
        interval=bootstrap(len(gain), lambda rows: float(np.nanmean(gain[rows])), random),
        null=against("gain and loss swapped at random for each emotion", value, flips),
        published=None,
        worthwhile=0.01,
        how_to_read=(
            "The bars are readings of the same stories by cheaper things, cross-validated on the same topics. "
            "A model that is no better than the best of them may still represent emotions, but these stories do not show it."
        ),
        baselines={name: float(np.nanmean(s.auroc)) for name, s in skills.items()},
        notes=(f"Top-1: readings {own.top1:.2f}; " + "; ".join(f"{n} {s.top1:.2f}" for n, s in skills.items()) + ".", *missing),
        charts=(
            charts.bars(
                "beyond-text",
                "Held-out AUROC; the dashed rule is chance",
                _rows({"readings": own} | skills),
                "AUROC",
                "by",
                0.5,
            ),
        ),
    )  # fmt: skip


def _rows(skills: dict[str, Skill]) -> list[dict[str, Any]]:
    return [{"by": name, "AUROC": float(np.nanmean(s.auroc)), "top-1": s.top1} for name, s in skills.items()]


def _means_read(subject: Subject, features: Features) -> Scores:
    """Readings of other features than the model's, by the same recipe without denoising."""
    scores = np.empty((len(features), len(subject.emotions)), np.float32)
    for test in folds(subject.topic):
        train = ~test
        fitted = estimate(
            features[train], subject.emotion[train], subject.topic[train], len(subject.emotions), subject.recipe
        )
        scores[test] = fitted.read(features[test])
    return scores


def _regressed(subject: Subject, features: Features) -> Scores:
    scores = np.full((len(features), len(subject.emotions)), -np.inf, np.float32)
    for test in folds(subject.topic):
        classifier = LogisticRegression(C=30, max_iter=200).fit(features[~test], subject.emotion[~test])
        scores[np.ix_(test, classifier.classes_)] = classifier.predict_log_proba(features[test])
    return scores


def _geometry(subject: Subject, sentences: Features | None) -> Finding:
    """Partial correlation of cosine maps from different topics, given those of the text."""
    random = generator(subject.seed, "geometry beyond text")
    halves = [split_topics(subject, random) for _ in range(SPLITS)]

    def maps(layer: int) -> list[tuple[np.ndarray, np.ndarray]]:
        return [
            (_cosines(fitted_on(subject, layer, rows)), _cosines(fitted_on(subject, layer, ~rows))) for rows in halves
        ]

    everyone = np.arange(len(subject.emotions))
    embeddings = maps(EMBEDDING)
    text = [_cosines(_text_directions(subject, sentences))] if sentences is not None else []
    here = maps(subject.reading_layer)

    def beyond(
        pairs: list[tuple[np.ndarray, np.ndarray]],
        controls: list[list[np.ndarray]],
        rows: np.ndarray,
        permuted: np.ndarray,
    ) -> float:
        return float(
            np.mean([_partial(a, b, given, rows, permuted) for (a, b), given in zip(pairs, controls, strict=True)])
        )

    given = [[*pair, *text] for pair in embeddings]
    value = beyond(here, given, everyone, everyone)

    def resampled(rows: np.ndarray) -> float:
        return beyond(here, given, rows, rows)

    plain = float(np.mean([_partial(a, b, [], everyone, everyone) for a, b in here]))
    alone = float(np.mean([_partial(a, b, text, everyone, everyone) for a, b in embeddings]))
    likeness = {f"likeness to the {NAME}'s map": _alike(here, text[0])} if text else {}
    return Finding(
        id="geometry-beyond-text",
        claim="The vectors' geometry is more than that of the texts' words",
        statistic="correlation of cosine maps from different topics, given the maps of the embedding layer and a sentence embedder",
        estimate=value,
        interval=bootstrap(len(everyone), resampled, random, draws=INTERVAL_DRAWS),
        null=against("emotions shuffled in one of the maps", value, [beyond(here, given, everyone, random.permutation(everyone)) for _ in range(DRAWS)]),
        published=None,
        worthwhile=0.2,
        how_to_read=(
            "Which emotions are alike is measured twice, on different topics, and compared after what text embeddings explain is taken out. "
            "0 means that nothing reliable is left; the plain correlation beside it says how much there was."
        ),
        baselines={"plain correlation, nothing taken out": plain} | likeness,
        floor=alone,
        notes=("The floor is the embedding layer's own map given the sentence embedder's." if text else f"The sentence embedder is not installed: {INSTALL}",),
        charts=(
            charts.bars(
                "geometry-beyond-text",
                "Correlation of cosine maps from different topics",
                [{"what": "plain", "r": plain}, {"what": "given the text's maps", "r": value}, {"what": "embedding layer, given the sentence embedder", "r": alone}],
                "r", "what", 0.0,
            ),
        ),
    )  # fmt: skip


def _alike(pairs: list[tuple[np.ndarray, np.ndarray]], other: np.ndarray) -> float:
    upper = np.triu_indices(len(other), 1)
    return float(np.mean([correlation((a + b)[upper], other[upper]) for a, b in pairs]))


def _text_directions(subject: Subject, features: Features) -> Features:
    fitted = estimate(features, subject.emotion, subject.topic, len(subject.emotions), subject.recipe)
    return unit(fitted.directions)


def _cosines(directions: Features) -> np.ndarray:
    return np.asarray(directions @ directions.T)


def _partial(a: np.ndarray, b: np.ndarray, given: list[np.ndarray], rows: np.ndarray, permuted: np.ndarray) -> float:
    """Correlation of two maps over pairs of emotions once linear fits on the given maps are taken out of both."""
    upper = pairs_of(rows)
    x, y = a[np.ix_(rows, rows)][upper], b[np.ix_(permuted, permuted)][upper]
    known = np.column_stack([np.ones(len(x)), *(g[np.ix_(rows, rows)][upper] for g in given)])
    x = x - known @ np.linalg.lstsq(known, x, rcond=None)[0]
    y = y - known @ np.linalg.lstsq(known, y, rcond=None)[0]
    return correlation(x, y)
