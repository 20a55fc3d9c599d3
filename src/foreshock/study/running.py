"""A whole study: a model and its texts in; vectors, findings and a gallery out."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from foreshock.activations import Progress, read_tokens
from foreshock.emotions import lookup
from foreshock.errors import StudyError
from foreshock.model import LanguageModel
from foreshock.readings import Readings
from foreshock.study.crossval import Skill, best_layer
from foreshock.study.experiments import (
    agreement,
    axes,
    baselines,
    binding,
    clusters,
    deflection,
    dose_response,
    early_warning,
    intensity,
    locality,
    logit_lens,
    own_words,
    preference_steering,
    preferences,
    propensity,
    reliability,
    scenarios,
    separability,
    speakers,
)
from foreshock.study.finding import Finding, corrected
from foreshock.study.provenance import provenance
from foreshock.study.subject import DOSED, STRENGTHS, Subject
from foreshock.texts import Library, Passage
from foreshock.vectors import EmotionVectors, Recipe
from foreshock.vectors.estimation import estimate
from foreshock.vectors.fitting import fit_vectors

GALLERY = 12
"""Stories shown in the report, tinted token by token."""
EXPERIMENTS: dict[str, Callable[[Subject], list[Finding]]] = {
    "separability": separability.run,
    "baselines": baselines.run,
    "reliability": reliability.run,
    "logit-lens": logit_lens.run,
    "clusters": clusters.run,
    "axes": axes.run,
    "agreement": agreement.run,
    "own-words": own_words.run,
    "scenarios": scenarios.run,
    "intensity": intensity.run,
    "locality": locality.run,
    "binding": binding.run,
    "speakers": speakers.run,
    "deflection": deflection.run,
    "preferences": preferences.run,
    "preference-steering": preference_steering.run,
    "propensity": propensity.run,
    "dose-response": dose_response.run,
    "early-warning": early_warning.run,
}
"""Every experiment by the name that `--only` knows, in the order of the report."""
Announce = Callable[[str], None]
"""Called with the name of the step that begins."""


@dataclass(frozen=True, slots=True)
class Study:
    """What a study found."""

    vectors: EmotionVectors
    findings: list[Finding]
    gallery: list[tuple[Passage, Readings]]
    """Stories read by vectors that never saw their topic."""
    seconds: dict[str, float]
    """How long each step took."""
    skills: dict[int, Skill]
    """How well each layer tells the emotions apart, leave-one-topic-out."""


def run_study(
    model: LanguageModel,
    library: Library,
    *,
    only: Collection[str] | None = None,
    layers: Sequence[int] | None = None,
    recipe: Recipe | None = None,
    norms: Mapping[str, Mapping[str, float | None]] | None = None,
    dosed: Sequence[str] = DOSED,
    strengths: Sequence[float] = STRENGTHS,
    seed: int = 0,
    store: Path | None = None,
    progress: Progress | None = None,
    announce: Announce | None = None,
) -> Study:
    """Find and judge the emotion vectors of `model`.

    Args:
        only: names of the experiments to run (see `EXPERIMENTS`); all by default.
        layers: layers to keep (all by default); the embeddings are always read as a baseline.
        norms: a user's own valence and arousal ratings (see `axes`).
        dosed, strengths: the emotions and strengths of the experiment dose-response.
        store: folder for finished work, so that a killed run resumes.

    Raises:
        TextError: fewer than two emotions, or an emotion with a single passage.
        StudyError: `only` names no experiment.
    """
    check_names(only or ())
    recipe = recipe or Recipe()
    subject = Subject(
        model,
        library,
        tuple(layers or ()),
        recipe,
        seed,
        norms or {},
        dosed=tuple(dosed),
        strengths=tuple(strengths),
        store=store,
        progress=progress,
    )
    seconds: dict[str, float] = {}
    with _timed("vectors", seconds, announce):
        subject.choice = best_layer(subject)
        made_by = provenance(subject)
        subject.vectors = fit_vectors(
            subject.passages, subject.means, subject.neutral, subject.choice.layer, recipe, made_by
        )
    findings: list[Finding] = []
    for name, run in EXPERIMENTS.items():
        if only is None or name in only:
            with _timed(name, seconds, announce):
                findings += [replace(finding, experiment=name) for finding in run(subject)]
    with _timed("gallery", seconds, announce):
        gallery = _gallery(subject)
    return Study(subject.fitted, corrected(findings), gallery, seconds, subject.choice.skills)


def check_names(names: Collection[str]) -> None:
    """Raises `StudyError` when one of the names is no experiment."""
    for name in names:
        if name not in EXPERIMENTS:
            raise StudyError(f"There is no experiment {name!r}; there are: {', '.join(EXPERIMENTS)}.")


@contextmanager
def _timed(step: str, seconds: dict[str, float], announce: Announce | None) -> Iterator[None]:
    """Announces a step and keeps how long it took."""
    if announce:
        announce(step)
    begun = time.perf_counter()
    yield
    seconds[step] = round(time.perf_counter() - begun, 2)


def _gallery(subject: Subject) -> list[tuple[Passage, Readings]]:
    """Stories of different emotions, each read by vectors fitted without its topic (or on fit topics only)."""
    layer = subject.reading_layer
    fresh = bool(subject.test_passages)
    shown = _spread_out(subject.test_passages or subject.passages)
    texts = [subject.model.encode(p.text) for p in shown]
    gallery = []
    for passage, tokens, hidden in zip(shown, texts, read_tokens(subject.model, texts, layer), strict=True):
        part = None if fresh else subject.topic[subject.passages.index(passage)]
        train = subject.topic != part if part is not None else np.ones(len(subject.passages), bool)
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
