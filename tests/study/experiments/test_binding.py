"""Negation and person binding, with small items in the planted language."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import LlamaForCausalLM

from foreshock.model import LanguageModel
from foreshock.model.planted import EMOTIONS, FILLERS, Planted, cue
from foreshock.study.crossval import best_layer
from foreshock.study.experiments import binding
from foreshock.study.finding import Finding
from foreshock.study.subject import Subject
from foreshock.texts import Library
from foreshock.texts.schema import Binding, Negation, Person
from foreshock.vectors.fitting import fit_vectors

TOPIC = 5
"""A topic whose words are never fitted, so that the embeddings know nothing of them."""


def words(random: np.random.Generator, count: int) -> list[str]:
    return [f"w{k}" for k in random.integers(0, FILLERS, count)]


def denials(heeded: bool) -> list[Negation]:
    """Two items an emotion; the denied sentence has no cue of it if denials are heeded, else the same cues."""
    random, made = np.random.default_rng(0), []
    for number, emotion in enumerate(EMOTIONS * 2):
        cues, fillers = [cue(emotion, TOPIC, 0)] * 3, words(random, 8)
        said = [*fillers[:3], *cues, *fillers[3:]]
        denied = fillers if heeded else [*fillers[:4], *cues, *fillers[4:]]
        texts = {"affirmed": said, "negated": denied, "neutral": words(random, 8)}
        made.append(
            Negation(id=f"negation-{number}", emotion=emotion, **{name: " ".join(text) for name, text in texts.items()})
        )
    return made


def scenes(named: bool) -> list[Binding]:
    """Two people an item. The planted model binds nobody; a name can show its owner's emotion by itself, if `named`."""
    random, made = np.random.default_rng(1), []
    for number, emotion in enumerate(EMOTIONS * 2):
        other = EMOTIONS[(number + 3) % len(EMOTIONS)]
        names = [cue(word, TOPIC, 1) if named else f"w{k}" for k, word in enumerate((emotion, other))]
        told = " ".join([*words(random, 5), cue(emotion, TOPIC, 0), *words(random, 3), cue(other, TOPIC, 0)])
        first, second = (Person(name=n, emotion=word) for n, word in zip(names, (emotion, other), strict=True))
        made.append(
            Binding(
                id=f"scene-{number}", first=first, second=second, text=told, ask_first=names[0], ask_second=names[1]
            )
        )
    return made


def findings(model: LanguageModel, library: Library, layers: tuple[int, ...] = (1, 2, 3)) -> dict[str, Finding]:
    subject = Subject(model, library, layers)
    subject.choice = best_layer(subject)
    layer = subject.choice.layer
    subject.vectors = fit_vectors(subject.passages, subject.means, subject.neutral, layer, subject.recipe)
    return {finding.id: finding for finding in binding.run(subject)}


def library(plant: Planted, good: bool = True) -> Library:
    stories = [p for p in plant.passages if p.topic != f"topic{TOPIC}"]
    return replace(plant.library, stories=stories, negations=denials(good), bindings=scenes(good))


def test_effects_that_are_there_are_found(plant: Planted) -> None:
    found = findings(plant.model, library(plant))
    assert {finding.verdict for finding in found.values()} == {"holds"}
    assert set(found) == {"negation", "person-binding"}
    for finding in found.values():
        assert finding.interval and finding.null and finding.null.draws >= 1000 and finding.floor is not None
        assert len(finding.charts) == 2 and finding.how_to_read.count(". ") == 1
        assert len(finding.table) == 2 * len(EMOTIONS)


def test_effects_that_are_not_there_are_not_found(plant: Planted) -> None:
    found = findings(plant.model, library(plant, good=False))
    assert "holds" not in {finding.verdict for finding in found.values()}
    # The scene is known, though not whose emotion is whose.
    beside = found["person-binding"].baselines["either emotion of the scene, beside other scenes"]
    assert beside > 1 > abs(found["person-binding"].estimate) + 0.5


def test_turned_round_the_effect_turns(plant: Planted) -> None:
    texts = library(plant)
    turned = replace(
        texts,
        negations=[n.model_copy(update={"affirmed": n.negated, "negated": n.affirmed}) for n in texts.negations],
        bindings=[b.model_copy(update={"ask_first": b.ask_second, "ask_second": b.ask_first}) for b in texts.bindings],
    )
    straight, back = findings(plant.model, texts), findings(plant.model, turned)
    for name, finding in straight.items():
        assert back[name].estimate == pytest.approx(-finding.estimate, abs=1e-4)
        assert back[name].verdict == "does not hold"


def test_before_block_1_the_last_token_knows_nothing(plant: Planted) -> None:
    found = findings(plant.model, library(plant), layers=(0,))
    assert "holds" not in {finding.verdict for finding in found.values()}


@pytest.mark.parametrize("seed", range(3))
def test_nothing_holds_on_a_random_model(plant: Planted, seed: int) -> None:
    torch.manual_seed(seed)
    inner = LlamaForCausalLM(copy.deepcopy(plant.model.model.config))
    model = LanguageModel(inner, plant.model.tokenizer, name=f"random-{seed}")
    for good in (True, False):
        assert "holds" not in {finding.verdict for finding in findings(model, library(plant, good)).values()}


def test_items_of_other_emotions_are_left_out(plant: Planted) -> None:
    texts = library(plant)
    two = replace(texts, stories=[p for p in texts.stories if p.emotion in ("happy", "sad")])
    assert findings(plant.model, two) == {}
    bare = Library(texts.stories, plant.neutral)
    assert findings(plant.model, bare) == {}
    most = replace(texts, stories=[p for p in texts.stories if p.emotion != "happy"])
    found = findings(plant.model, most)
    assert len(found["negation"].table) == 14 and len(found["person-binding"].table) == 12
