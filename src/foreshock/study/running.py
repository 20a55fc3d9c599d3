"""A whole study: texts in; vectors, findings and a gallery out."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from foreshock.activations import SKIP, PassageMeans, Progress, read_passages, read_tokens
from foreshock.emotions import lookup
from foreshock.errors import TextError
from foreshock.model import EMBEDDING, LanguageModel, Tokens
from foreshock.readings import Readings
from foreshock.study import geometry, logit_lens, reliability, separability
from foreshock.study.finding import Finding, corrected
from foreshock.study.subject import Subject
from foreshock.texts import Dialogue, Passage
from foreshock.vectors import EmotionVectors, Recipe
from foreshock.vectors.estimation import estimate
from foreshock.vectors.fitting import fit_vectors

GALLERY = 12
"""Stories shown in the report, tinted token by token."""


@dataclass(frozen=True, slots=True)
class Study:
    """What a study found."""

    vectors: EmotionVectors
    findings: list[Finding]
    gallery: list[tuple[Passage, Readings]]
    """Stories read by vectors that never saw their topic."""


def run_study(
    model: LanguageModel,
    passages: Sequence[Passage],
    neutral: Sequence[Dialogue],
    *,
    layers: Sequence[int] | None = None,
    recipe: Recipe | None = None,
    norms: Mapping[str, Mapping[str, float | None]] | None = None,
    seed: int = 0,
    store: Path | None = None,
    progress: Progress | None = None,
) -> Study:
    """Find and judge the emotion vectors of `model`.

    Args:
        passages: stories; those with `split: test` are only read, never fitted.
        layers: layers to keep (all by default); the embeddings are always read as a baseline.
        norms: a user's own valence and arousal ratings (see `geometry.axes`).
        store: folder for finished blocks of activations, so that a killed run resumes.

    Raises:
        TextError: fewer than two emotions, or an emotion with a single passage.
    """
    recipe = recipe or Recipe()
    fit = [p for p in passages if p.split == "fit"]
    emotions = {p.emotion for p in fit}
    test = [p for p in passages if p.split == "test" and p.emotion in emotions]
    if len(emotions) < 2:
        raise TextError("A study compares emotions: give passages of at least two (split `fit`).")
    wanted = sorted({EMBEDDING, *(layers if layers is not None else range(model.layers))})

    def means(texts: Sequence[Tokens]) -> PassageMeans:
        return read_passages(model, texts, wanted, skip=SKIP, store=store, progress=progress)

    subject = Subject(
        model=model,
        passages=fit,
        means=means([model.encode(p.text) for p in fit]),
        test_passages=test,
        test_means=means([model.encode(p.text) for p in test]) if test else None,
        neutral=means([model.encode_transcript(d.turns) for d in neutral]) if neutral else None,
        recipe=recipe,
        seed=seed,
    )
    chosen, separable = separability.run(subject)
    made_by = provenance(model, passages, neutral, seed)
    subject.vectors = fit_vectors(fit, subject.means, subject.neutral, chosen, recipe, made_by)
    found = [separable, separability.run_on_test_topics(subject), logit_lens.run(subject), geometry.clusters(subject)]
    found += [*geometry.axes(subject, norms), reliability.run(subject)]
    return Study(subject.vectors, corrected([f for f in found if f]), _gallery(subject))


def provenance(
    model: LanguageModel, passages: Sequence[Passage], neutral: Sequence[Dialogue], seed: int
) -> dict[str, Any]:
    """Which model, texts, versions and seed made an artefact."""
    texts = [p.model_dump() for p in passages] + [d.model_dump() for d in neutral]
    packages = ("foreshock", "torch", "transformers", "numpy", "scikit-learn")
    return {
        "model": {
            "name": model.name,
            "fingerprint": model.fingerprint,
            "class": type(model.model).__name__,
            "layers": model.layers,
            "hidden": model.hidden,
            "dtype": str(model.dtype).removeprefix("torch."),
            "chat_template": model.has_chat_template,
        },
        "texts": {
            "sha256": hashlib.sha256(json.dumps(texts, sort_keys=True).encode()).hexdigest(),
            "passages": len(passages),
            "emotions": len({p.emotion for p in passages}),
            "topics": len({p.topic for p in passages}),
            "neutral": len(neutral),
            "skipped_tokens": SKIP,
        },
        "versions": {name: version(name) for name in packages} | {"python": platform.python_version()},
        "seed": seed,
    }


def _gallery(subject: Subject) -> list[tuple[Passage, Readings]]:
    """Stories of different emotions, each read by vectors fitted without its topic (or on fit topics only)."""
    layer = subject.fitted.reading_layer
    shown = _spread_out(subject.test_passages or subject.passages)
    texts = [subject.model.encode(p.text) for p in shown]
    gallery = []
    for passage, tokens, hidden in zip(shown, texts, read_tokens(subject.model, texts, layer), strict=True):
        train = np.array([p.topic != passage.topic or p.topic == "" for p in subject.passages])
        fitted = estimate(
            subject.means.at(layer)[train],
            subject.emotion[train],
            subject.topic[train],
            len(subject.emotions),
            subject.recipe,
            subject.basis(layer),
        )
        values = fitted.read(hidden.float().cpu().numpy()).astype(np.float32)
        gallery.append((passage, Readings(tokens, tuple(subject.emotions), layer, values)))
    return gallery


def _spread_out(passages: Sequence[Passage]) -> list[Passage]:
    """One story each of emotions far apart in the catalogue, the topics taken in turn."""
    emotions = sorted({p.emotion for p in passages}, key=lambda word: (lookup(word).cluster, word))
    picked = emotions[:: max(1, len(emotions) // GALLERY)][:GALLERY]
    by_emotion = {word: [p for p in passages if p.emotion == word] for word in picked}
    return [by_emotion[word][turn % len(by_emotion[word])] for turn, word in enumerate(picked)]
