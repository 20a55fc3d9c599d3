"""A bag of words as a rival: TF-IDF with logistic regression, trained on stories and asked about other texts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from foreshock.study.crossval import Scores, folds
from foreshock.study.subject import Arrays, Subject

NAME = "TF-IDF + logistic regression"


def by_words(train: Sequence[str], emotion: Int[np.ndarray, " passage"], texts: Sequence[str], count: int) -> Scores:
    """Log-probabilities of emotions 0 … count - 1 for `texts`; minus infinity for one that `train` lacks."""
    classifier = make_pipeline(TfidfVectorizer(sublinear_tf=True), LogisticRegression(C=30, max_iter=200))
    classifier.fit(train, emotion)
    scores = np.full((len(texts), count), -np.inf, np.float32)
    scores[:, classifier[-1].classes_] = classifier.predict_log_proba(texts)
    return scores


def held_out_by_words(subject: Subject) -> Scores:
    """The fitted stories, each topic read by a bag of words trained on the others."""
    texts = np.array([p.text for p in subject.passages], object)

    def compute() -> Arrays:
        scores = np.empty((len(texts), len(subject.emotions)), np.float32)
        for test in folds(subject.topic):
            found = by_words(list(texts[~test]), subject.emotion[~test], list(texts[test]), len(subject.emotions))
            scores[test] = found
        return {"scores": scores}

    return subject.kept("bag-of-words", [list(texts), subject.emotion.tolist(), subject.topic.tolist()], compute)[
        "scores"
    ]
