"""Two speakers on the planted model: each is read, both in the same directions; a random model shows nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import LlamaForCausalLM

from foreshock.activations import Moments, SpanMeans
from foreshock.errors import TextError
from foreshock.model import LanguageModel
from foreshock.model.planted import Planted
from foreshock.study.crossval import best_layer, mean_auroc
from foreshock.study.experiments import regulation, speakers
from foreshock.study.finding import Finding
from foreshock.study.measures import turn_reading
from foreshock.study.measures.dialogues import laid_out
from foreshock.study.measures.effects import compact, effects, halves, held_out, split_dialogues
from foreshock.study.nulls import generator
from foreshock.study.subject import Subject
from foreshock.texts import Library
from foreshock.vectors.fitting import fit_vectors

CARRIED = (2, 3)
"""Layers of the planted model after the block that carries what was said."""


@pytest.fixture(autouse=True)
def fewer_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (speakers, regulation, turn_reading):
        monkeypatch.setattr(module, "DRAWS", 200)


def studied(model: LanguageModel, library: Library, layers: Sequence[int] = ()) -> Subject:
    subject = Subject(model, library, layers=tuple(layers))
    subject.choice = best_layer(subject)
    subject.vectors = fit_vectors(subject.passages, subject.means, subject.neutral, subject.choice.layer)
    return subject


def untrained(plant: Planted, size: float = 0.02) -> LanguageModel:
    """Random weights; `size` of the embeddings' entries, against which the layers' writes are small or large."""
    torch.manual_seed(1)
    model = LlamaForCausalLM(plant.model.model.config)
    torch.nn.init.normal_(model.model.embed_tokens.weight, 0, size)
    for name, weight in model.model.layers.named_parameters():
        if "norm" not in name:
            torch.nn.init.normal_(weight, 0, 0.1)
    return LanguageModel(model, plant.model.tokenizer, name="untrained")


def by_id(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.id: finding for finding in findings}


def test_both_speakers_are_read_where_both_are_planted(plant: Planted) -> None:
    found = by_id(speakers.run(studied(plant.model, plant.library, CARRIED)))
    assert found["present-speaker"].verdict == found["other-speaker"].verdict == "holds"
    # What is carried over keeps its direction: far from orthogonal, and neighbours read alike.
    assert found["speakers-orthogonal"].verdict == found["arousal-regulation"].verdict == "does not hold"
    assert found["speakers-orthogonal"].estimate < 0.1 and found["arousal-regulation"].estimate < -0.5
    assert all(row["cosine with its story vector"] > 0.9 for row in found["present-speaker"].table)
    for finding in found.values():
        assert finding.interval and finding.null and finding.charts and finding.how_to_read.count(". ") == 1


def test_before_anything_is_carried_the_silent_speaker_is_not_read(plant: Planted) -> None:
    found = by_id(speakers.run(studied(plant.model, plant.library, (0,))))
    assert found["present-speaker"].verdict == "holds" and found["other-speaker"].verdict == "does not hold"
    orthogonal = found["speakers-orthogonal"]
    assert orthogonal.verdict == "cannot tell" and any("nothing is judged" in note for note in orthogonal.notes)


def test_with_shuffled_emotions_nothing_holds(plant: Planted) -> None:
    mixed = generator(0, "emotions").permutation([(e.a, e.b) for e in plant.library.exchanges])
    exchanges = [
        e.model_copy(update={"a": str(a), "b": str(b)})
        for e, (a, b) in zip(plant.library.exchanges, mixed, strict=True)
    ]
    found = by_id(speakers.run(studied(plant.model, replace(plant.library, exchanges=exchanges), CARRIED)))
    assert "holds" not in {finding.verdict for finding in found.values()}


@pytest.mark.parametrize("size", [0.02, 1.0])
def test_an_untrained_model_blends_words_and_nothing_holds(plant: Planted, size: float) -> None:
    found = by_id(speakers.run(studied(untrained(plant, size), plant.library)))
    assert "holds" not in {finding.verdict for finding in found.values()}
    # It may carry the other's words into the turn, in any direction: no angle is evidence then.
    other, orthogonal = found["other-speaker"], found["speakers-orthogonal"]
    assert other.floor and other.floor > other.estimate and orthogonal.floor == 1


def test_without_enough_dialogues_there_is_no_finding(plant: Planted) -> None:
    few = replace(plant.library, exchanges=plant.library.exchanges[:5])
    assert speakers.run(studied(plant.model, few)) == []
    assert speakers.run(studied(plant.model, replace(plant.library, exchanges=()))) == []


def test_emotions_of_dialogues_need_not_be_studied(plant: Planted) -> None:
    two = [p for p in plant.library.stories if p.emotion in ("happy", "sad")]
    found = by_id(speakers.run(studied(plant.model, replace(plant.library, stories=two), CARRIED)))
    assert found["present-speaker"].verdict == "holds"
    assert "cosine with its story vector" not in found["present-speaker"].table[0]


def test_regulation_holds_where_a_turn_answers_arousal_with_calm(plant: Planted) -> None:
    subject = studied(plant.model, plant.library, CARRIED)
    turns = speakers.read_exchanges(subject)
    random = generator(0, "synthetic")
    emotions = random.standard_normal((len(turns.emotions), plant.model.hidden))
    stirred = np.array([word in ("angry", "afraid", "desperate", "happy") for word in turns.emotions])
    axis = emotions[stirred].mean(0) - emotions[~stirred].mean(0)
    noise = 0.3 * random.standard_normal((len(turns.means.values), len(subject.layers), plant.model.hidden))
    for answer, verdict in ((-0.3, "holds"), (0.3, "does not hold")):
        values = noise.copy()
        values[turns.span, 1:] += emotions[turns.own][:, None]
        later = np.flatnonzero(turns.span > turns.first)
        values[turns.span[later], 1:] += answer * np.where(stirred[turns.own[later - 1]], 1, -1)[:, None, None] * axis
        made = SpanMeans(
            values.astype(np.float32), turns.means.tokens, subject.layers, Moments.zero(3, plant.model.hidden)
        )
        (finding,) = regulation.run(replace(turns, means=made))
        assert finding.verdict == verdict, (answer, finding.estimate, finding.interval)


def test_every_token_of_a_turn_and_no_other_is_in_its_span(plant: Planted) -> None:
    turns = ("w1 w2 w3", "w4", "w5 w6")
    tokens, spans = laid_out(plant.model, turns, "w7 w8")
    assert [" ".join(tokens.pieces()[start:end]) for start, end in spans] == ["w7 w8", *turns]
    assert tokens.text == "w7 w8\n\nA: w1 w2 w3\n\nB: w4\n\nA: w5 w6"
    with pytest.raises(TextError, match="no token"):
        laid_out(plant.model, ("w1", " "))


def test_spans_of_the_embedded_model_are_the_turns(embedded: LanguageModel) -> None:
    turns = ("Four hundred, Nina!", "Éh… “who”?\nAnd why", "No.")
    tokens, spans = laid_out(embedded, turns)
    for (start, end), turn in zip(spans, turns, strict=True):
        assert tokens.text[tokens.spans[start][0] : tokens.spans[end - 1][1]].strip() == turn


def crossed(seed: int, count: int = 6, hidden: int = 40) -> tuple[np.ndarray, ...]:
    """A crossed design of two turns a dialogue: labels of both places, dialogue, and noise."""
    random = np.random.default_rng(seed)
    pairs = np.array([(a, b) for a in range(count) for b in range(count)] * 2)
    dialogue = np.repeat(np.arange(len(pairs)), 2)
    own, beside = pairs[dialogue, np.arange(len(dialogue)) % 2], pairs[dialogue, 1 - np.arange(len(dialogue)) % 2]
    return own, beside, dialogue, random.standard_normal((len(own), hidden)).astype(np.float32)


def test_effects_of_both_emotions_are_taken_apart() -> None:
    own, beside, _, noise = crossed(0)
    first, second = np.random.default_rng(1).standard_normal((2, 6, 40)).astype(np.float32)
    fitted = effects(first[own] + second[beside], own, beside, 6, np.ones((1, len(own))))[0]
    assert np.allclose(fitted, [first - first.mean(0), second - second.mean(0)], atol=0.02)
    wide = np.repeat(noise, 4, axis=1)
    assert compact(wide).shape[1] == len(wide) and np.allclose(
        compact(wide) @ compact(wide).T, wide @ wide.T, atol=1e-2
    )


def test_the_other_emotion_does_not_leak_into_held_out_scores() -> None:
    figures = []
    for seed in range(40):
        own, beside, dialogue, noise = crossed(seed)
        x = 3 * np.random.default_rng(seed + 100).standard_normal((6, 40))[beside] + noise
        fold = np.random.default_rng(seed).permutation(72)[dialogue] % 5
        figures.append(mean_auroc(held_out(x.astype(np.float32), own, beside, 6, fold), own))
    assert abs(np.mean(figures) - 0.5) < 0.02


def test_noise_is_not_taken_for_orthogonal() -> None:
    own, beside, dialogue, noise = crossed(0, hidden=60)
    random = np.random.default_rng(2)
    first = split_dialogues(np.zeros(72, int), 6, random)[:, dialogue]
    shared, apart = random.standard_normal((2, 6, 60)).astype(np.float32)
    same = halves(shared[own] + 0.5 * shared[beside] + noise, own, beside, 6, first)
    other = halves(shared[own] + 0.5 * apart[beside] + noise, own, beside, 6, first)
    nothing = halves(noise, own, beside, 6, first)
    assert same.cosine > 0.85 and abs(other.cosine) < 0.3
    assert min(same.reliability) > speakers.RELIABLE and min(nothing.reliability) < speakers.RELIABLE
