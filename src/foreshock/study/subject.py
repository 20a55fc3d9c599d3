"""What every experiment works on: a model with a library of texts, each read once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from foreshock.activations import Progress, SpanMeans, Spanned, read_spans, whole
from foreshock.emotions import in_cluster_order
from foreshock.errors import TextError
from foreshock.files import write_bytes
from foreshock.model import EMBEDDING, LanguageModel
from foreshock.study.nulls import generator, random_directions
from foreshock.texts import Library, Passage
from foreshock.vectors import EmotionVectors, Recipe
from foreshock.vectors.estimation import is_crossed, neutral_basis, numbered, unit

if TYPE_CHECKING:
    from foreshock.study.crossval import Choice

MOST_PARTS = 8
"""Parts that passages without crossed topics are dealt into for cross-validation."""
DOSED = ("desperate", "calm", "loving", "hostile")
"""The emotions of the study's claims about conduct, one for each of them and the opposite of the warm ones."""
STRENGTHS = (-0.2, -0.1, -0.05, 0.05, 0.1, 0.2)
"""Of their doses, in mean residual norms."""
FORMAT = 2
"""Raised when what an experiment keeps comes to mean something else."""
Arrays = dict[str, np.ndarray]


@dataclass
class Subject:
    """A model under study. Passages and their means go row by row."""

    model: LanguageModel
    library: Library
    layers: tuple[int, ...] = ()
    """Layers that are read, the embeddings (-1) among them."""
    recipe: Recipe = field(default_factory=Recipe)
    seed: int = 0
    norms: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)
    """A user's own valence and arousal ratings, in place of the built-in."""
    dosed: tuple[str, ...] = DOSED
    """Emotions whose dose-response is measured; those that are not studied are left out."""
    strengths: tuple[float, ...] = STRENGTHS
    """Strengths of their doses, 0 left out."""
    store: Path | None = None
    """Folder for finished work, so that a killed study resumes; None keeps it in memory only."""
    progress: Progress | None = None
    choice: Choice | None = None
    """How the reading layer was chosen; set before the experiments run."""
    vectors: EmotionVectors | None = None
    """Set once the reading layer is chosen."""
    _memory: dict[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self.layers = tuple(sorted({EMBEDDING, *(self.layers or range(self.model.layers))}))
        if len({p.emotion for p in self.passages}) < 2:
            raise TextError("A study compares emotions: give passages of at least two (split `fit`).")

    @cached_property
    def passages(self) -> list[Passage]:
        """The passages that are fitted, `split: fit`."""
        return [p for p in self.library.stories if p.split == "fit"]

    @cached_property
    def test_passages(self) -> list[Passage]:
        """Passages of the same emotions on topics that never take part in fitting; may be empty.

        A passage marked `test` on a topic that is fitted is no test of fresh topics and is left out.
        """
        emotions, fitted = set(self.emotions), {p.topic for p in self.passages}
        tests = (p for p in self.library.stories if p.split == "test")
        return [p for p in tests if p.emotion in emotions and p.topic not in fitted]

    @cached_property
    def means(self) -> SpanMeans:
        """A row for each of `passages`."""
        return self.read(self._spanned(self.passages))

    @cached_property
    def test_means(self) -> SpanMeans:
        """A row for each of `test_passages`, of which there must be some."""
        return self.read(self._spanned(self.test_passages))

    @cached_property
    def neutral(self) -> SpanMeans | None:
        """A row for each neutral dialogue; None where there are none."""
        encoded = [self.model.encode_transcript(d.turns) for d in self.library.neutral]
        return self.read([(tokens, [whole(tokens)]) for tokens in encoded]) if encoded else None

    def _spanned(self, passages: Sequence[Passage]) -> list[Spanned]:
        encoded = [self.model.encode(p.text) for p in passages]
        return [(tokens, [whole(tokens)]) for tokens in encoded]

    def read(self, texts: Sequence[Spanned]) -> SpanMeans:
        """Means of spans at the studied layers. The same texts and spans are read once, whoever asks."""
        key = _hash([(tokens.ids, list(spans)) for tokens, spans in texts])
        if key not in self._memory:
            self._memory[key] = read_spans(self.model, texts, self.layers, store=self.store, progress=self.progress)
        return self._memory[key]

    def kept(self, name: str, made_by: Any, compute: Callable[[], Arrays]) -> Arrays:
        """The arrays that `compute` gives; computed once, and not again where the store has them.

        Args:
            name: of the work, for its file.
            made_by: everything that the result depends on besides the model, as plain data.
        """
        key = f"{name}-{_hash([FORMAT, self.model.setup, str(self.model.dtype), made_by])}"
        if key not in self._memory:
            self._memory[key] = (
                self._from_store(self.store / f"{key}.safetensors", compute) if self.store else compute()
            )
        return self._memory[key]

    @staticmethod
    def _from_store(path: Path, compute: Callable[[], Arrays]) -> Arrays:
        """What a finished file holds; a missing or damaged one is computed again."""
        try:
            return load_file(path)
        except (OSError, SafetensorError):
            found = {key: np.ascontiguousarray(value) for key, value in compute().items()}
            write_bytes(path, save(found))
            return found

    @cached_property
    def emotions(self) -> list[str]:
        """The emotions studied, in cluster order."""
        return in_cluster_order({p.emotion for p in self.passages})

    @cached_property
    def emotion(self) -> Int[np.ndarray, " passage"]:
        """Number of each passage's emotion in `emotions`."""
        return numbered([p.emotion for p in self.passages], self.emotions)[0]

    @cached_property
    def topic(self) -> Int[np.ndarray, " passage"]:
        """Number of each passage's topic in `topics`."""
        return self._topics[0]

    @property
    def topics(self) -> list[str]:
        """The topics of the fitted passages, or the parts they were dealt into."""
        return self._topics[1]

    @cached_property
    def _topics(self) -> tuple[Int[np.ndarray, " passage"], list[str]]:
        """Topics where every emotion has every topic; else each emotion's passages dealt into equal parts."""
        topic, names = numbered([p.topic for p in self.passages])
        if is_crossed(self.emotion, topic, len(self.emotions)):
            return topic, names
        fewest = int(np.bincount(self.emotion).min())
        if fewest < 2:
            short = self.emotions[int(np.bincount(self.emotion).argmin())]
            raise TextError(
                f"{short!r} has {fewest} passage; every emotion needs two or more to be tested on the other."
            )
        parts = min(fewest, MOST_PARTS)
        dealt = np.empty(len(self.passages), np.int64)
        for emotion in range(len(self.emotions)):
            rows = np.flatnonzero(self.emotion == emotion)
            dealt[rows] = np.arange(len(rows)) % parts
        return dealt, [f"part {part + 1}" for part in range(parts)]

    def basis(self, layer: int, share: float | None = None) -> Float[np.ndarray, "component hidden"]:
        """Neutral components at a layer, up to `share` of their variance (the recipe's by default)."""
        if self.neutral is None:
            return np.zeros((0, self.model.hidden), np.float32)
        share = self.recipe.denoise if share is None else share
        key = f"basis {layer} {share}"
        if key not in self._memory:
            self._memory[key] = neutral_basis(self.neutral.at(layer), share)
        return self._memory[key]

    def random_directions(self, layer: int, count: int, purpose: str) -> Float[np.ndarray, "count hidden"]:
        """Unit directions in the span of the fitted passages, denoised like the vectors; the same for one purpose."""
        drawn = random_directions(self.means.at(layer), count, generator(self.seed, purpose))
        basis = self.basis(layer)
        return unit(drawn - drawn @ basis.T @ basis)

    @property
    def fitted(self) -> EmotionVectors:
        """The vectors; an experiment that needs them runs after they are fitted."""
        assert self.vectors is not None
        return self.vectors

    def norm_at(self, layer: int) -> float:
        """Mean residual norm over tokens after a layer: the unit of steering strength."""
        return self.fitted.norm_at(layer)

    @cached_property
    def vectors_hash(self) -> str:
        """Names the vectors in what is kept about them, by all that they depend on besides the model."""
        stories = [passage.model_dump() for passage in self.passages]
        neutral = [dialogue.model_dump() for dialogue in self.library.neutral]
        return _hash([stories, neutral, self.recipe.to_json(), self.seed])

    @property
    def chosen(self) -> Choice:
        """The choice of the reading layer."""
        assert self.choice is not None
        return self.choice

    @property
    def reading_layer(self) -> int:
        """The layer that readings are taken at."""
        return self.fitted.reading_layer


def _hash(made_by: Any) -> str:
    return hashlib.sha256(json.dumps(made_by, sort_keys=True).encode()).hexdigest()[:24]
