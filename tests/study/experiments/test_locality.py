"""The experiments on places: planted ones are found, and neither noise nor a random model passes for a difference."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import LlamaForCausalLM

from foreshock.model import EMBEDDING, LanguageModel
from foreshock.model.planted import Planted
from foreshock.study.crossval import best_layer
from foreshock.study.experiments import carry_over, locality
from foreshock.study.finding import Finding, judge
from foreshock.study.measures.messages import Messages, _unpacked
from foreshock.study.measures.places import UNKNOWN, Compared, compared
from foreshock.study.measures.readout import correlations
from foreshock.study.nulls import against, generator
from foreshock.study.subject import Subject
from foreshock.texts import Library
from foreshock.vectors.fitting import fit_vectors

LAYERS = (1, 2, 3)
"""From block 1 on the planted model carries what was said to later tokens."""


def studied(model: LanguageModel, library: Library, layers: tuple[int, ...] = LAYERS, seed: int = 0) -> Subject:
    subject = Subject(model, library, layers, seed=seed)
    subject.choice = best_layer(subject)
    layer = subject.choice.layer
    subject.vectors = fit_vectors(subject.passages, subject.means, subject.neutral, layer, subject.recipe)
    return subject


def randomised(plant: Planted, seed: int) -> LanguageModel:
    """The planted model's shape and tokenizer with random weights."""
    torch.manual_seed(seed)
    inner = LlamaForCausalLM(copy.deepcopy(plant.model.model.config))
    return LanguageModel(inner, plant.model.tokenizer, name=f"random-{seed}")


@pytest.fixture(scope="module")
def found(plant: Planted) -> dict[str, Finding]:
    return {finding.id: finding for finding in locality.run(studied(plant.model, plant.library))}


def test_what_is_planted_holds_and_what_is_not_does_not(found: dict[str, Finding]) -> None:
    assert found["predicts-reply"].verdict == found["carry-over"].verdict == "holds"
    assert found["user-vs-reply"].verdict == "does not hold"  # the planted model carries one emotion to both places


def test_findings_are_complete(found: dict[str, Finding]) -> None:
    for finding in found.values():
        assert finding.interval and finding.null and finding.null.draws >= 1000
        assert finding.charts and finding.table and finding.how_to_read.count(". ") == 1


def test_before_block_1_nothing_is_carried(plant: Planted) -> None:
    verdicts = {f.id: f.verdict for f in locality.run(studied(plant.model, plant.library, (0,)))}
    assert "holds" not in verdicts.values(), verdicts


def test_with_shuffled_labels_nothing_holds(plant: Planted) -> None:
    labels = generator(0, "labels").permutation([p.emotion for p in plant.passages])
    shuffled = [
        p.model_copy(update={"emotion": str(label), "topic": f"part{k % 6}"})
        for k, (p, label) in enumerate(zip(plant.passages, labels, strict=True))
    ]
    verdicts = {f.id: f.verdict for f in locality.run(studied(plant.model, replace(plant.library, stories=shuffled)))}
    assert "holds" not in verdicts.values(), verdicts


@pytest.mark.parametrize("seed", range(3))
def test_nothing_holds_on_a_random_model(plant: Planted, seed: int) -> None:
    found = {f.id: f for f in locality.run(studied(randomised(plant, seed), plant.library, seed=seed))}
    assert "holds" not in {f.verdict for f in found.values()}
    # The trap that reading with vectors of other topics is there for: any direction finds its message in the reply.
    assert found["predicts-reply"].baselines["the same vectors on both sides, as published"] > 0.7


def test_texts_that_are_missing_leave_their_findings_out(plant: Planted) -> None:
    without = locality.run(studied(plant.model, replace(plant.library, scenarios=[])))
    assert [f.id for f in without] == ["carry-over"]
    one_topic = [p for p in plant.passages if p.topic in ("topic0", "topic1")]
    few = replace(plant.library, stories=one_topic, scenarios=plant.library.scenarios[:6])
    assert [f.id for f in locality.run(studied(plant.model, few))] == ["carry-over"]


def test_a_message_without_a_reply_is_left_out(plant: Planted, monkeypatch: pytest.MonkeyPatch) -> None:
    messages = Messages(studied(plant.model, plant.library))
    monkeypatch.setitem(messages.__dict__, "replies", ["", "  ", *["w1 w2"] * (len(messages.labels) - 2)])
    assert messages.answered == list(range(2, len(messages.labels)))
    assert messages.reply(1).shape == (len(messages.answered), plant.model.hidden)


def test_replies_are_kept_to_the_letter(plant: Planted, tmp_path: Path) -> None:
    texts = ["", "naïve 🙂", "two words"]
    utf8 = [text.encode() for text in texts]
    kept = {"utf8": np.array([*b"".join(utf8)], np.uint8), "lengths": np.array([len(text) for text in utf8])}
    assert _unpacked(kept) == texts
    subjects = [Subject(plant.model, plant.library, LAYERS, store=tmp_path) for _ in range(2)]
    assert Messages(subjects[0]).replies == Messages(subjects[1]).replies
    assert len(list(tmp_path.glob("replies-*"))) == 1


def test_fresh_stories_are_used_where_there_are_any(plant: Planted) -> None:
    split = [p.model_copy(update={"split": "test"}) if p.topic == "topic5" else p for p in plant.passages]
    stories = carry_over.chosen_stories(studied(plant.model, Library(split, plant.neutral)))
    assert stories and stories.fresh and {p.topic for p in stories.passages} == {"topic5"}
    # Test stories on a topic that was fitted too would not be fresh.
    known = [p.model_copy(update={"split": "test"}) if k % 2 else p for k, p in enumerate(plant.passages)]
    stories = carry_over.chosen_stories(studied(plant.model, Library([*plant.passages, *known])))
    assert stories and not stories.fresh


def test_only_the_sentence_is_read(plant: Planted) -> None:
    subject = studied(plant.model, plant.library)
    sentence = "w1 w2 w3"
    for passage in plant.passages[:4]:
        tokens, [(start, end)] = carry_over._followed(subject, passage.text, sentence)
        assert "".join(tokens.pieces()[start:end]) == "w1w2w3" and end == len(tokens)


# The comparison of two places, on made-up readings of 5 emotions at 40 messages (8 emotions, 5 messages each).

HIDDEN, EMOTIONS, LABELS = 12, 5, np.repeat(np.arange(8), 5)


def made_up(shared: float, noise: float, seed: int = 0) -> Compared:
    """Two places whose signal per label is partly the same; each message and each half of vectors has its own noise."""
    random = np.random.default_rng(seed)
    common, own_x, own_y = (random.standard_normal((8, HIDDEN)) for _ in range(3))
    x = np.sqrt(shared) * common + np.sqrt(1 - shared) * own_x
    y = np.sqrt(shared) * common + np.sqrt(1 - shared) * own_y
    at_x, at_y = (place[LABELS] + noise * random.standard_normal((len(LABELS), HIDDEN)) for place in (x, y))
    vectors = random.standard_normal((EMOTIONS, HIDDEN))
    halves = [tuple(vectors + 0.3 * random.standard_normal(vectors.shape) for _ in range(2)) for _ in range(3)]
    same = (LABELS[:, None] == LABELS) & ~np.eye(len(LABELS), dtype=bool)
    return compared(at_x, at_y, halves, same)


def verdict(found: Compared) -> str:
    random = generator(0, "test")
    null = against("swapped", found.gap(), found.swapped(1000, random))
    return judge(found.gap(), found.interval(LABELS, random), null, 0.5)


def test_different_places_are_told_from_noisy_ones() -> None:
    assert verdict(made_up(shared=0.0, noise=1.0)) == "holds"
    for seed in range(5):
        assert verdict(made_up(shared=1.0, noise=1.0, seed=seed)) != "holds"
        assert verdict(made_up(shared=0.0, noise=40.0, seed=seed)) != "holds"  # nothing comes back anywhere


def test_noise_does_not_pass_for_a_difference() -> None:
    quiet, loud = ([made_up(1.0, noise, seed) for seed in range(40)] for noise in (0.1, 1.0))
    assert abs(np.mean([found.gap() for found in quiet])) < 0.02
    assert abs(np.mean([found.gap() for found in loud])) < 0.1
    # The readings themselves agree far less.
    assert np.mean([found.crossed for found in loud]) < 0.6 * np.mean([found.crossed for found in quiet])


def test_swapping_no_message_changes_nothing_and_swapping_all_exchanges_the_places() -> None:
    class Fixed:
        def __init__(self, sign: float) -> None:
            self.sign = sign

        def choice(self, _values: list[float], size: tuple[int, int]) -> np.ndarray:
            return np.full(size, self.sign)

    found = made_up(shared=0.5, noise=1.0)
    for sign in (1.0, -1.0):
        assert np.allclose(found.swapped(1, Fixed(sign)), found.gap())  # type: ignore[arg-type]


def test_silent_places_give_no_difference_and_an_open_interval() -> None:
    same = (LABELS[:, None] == LABELS) & ~np.eye(len(LABELS), dtype=bool)
    x, vectors = np.random.default_rng(0).standard_normal((len(LABELS), HIDDEN)), np.eye(EMOTIONS, HIDDEN)
    found = compared(x, np.ones_like(x), [(vectors, vectors)], same)
    assert found.silent and found.gap() == 0
    assert found.interval(LABELS, generator(0, "test")) == UNKNOWN


def test_correlations_are_numpys() -> None:
    random = np.random.default_rng(0)
    a, b = random.standard_normal((20, 3)), random.standard_normal((20, 3))
    assert np.allclose(correlations(a, b), [np.corrcoef(a[:, k], b[:, k])[0, 1] for k in range(3)])
    assert correlations(a, np.ones_like(b)).tolist() == [0, 0, 0]


def test_the_embedding_layer_knows_nothing_of_the_story_on_the_sentence(plant: Planted) -> None:
    subject = studied(plant.model, plant.library)
    stories = carry_over.chosen_stories(subject)
    assert stories
    read = subject.read([carry_over._followed(subject, p.text, carry_over.SENTENCES[0]) for p in stories.passages])
    assert np.allclose(read.at(EMBEDDING), read.at(EMBEDDING)[0], atol=1e-5)
