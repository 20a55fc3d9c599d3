"""Preferences on a planted model that chooses by emotion: what is planted holds; arbitrary choices give nothing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf

from foreshock.model import LanguageModel
from foreshock.model.planted import CUES, EMOTIONS, TOPICS, Planted, cue, planted
from foreshock.study.crossval import best_layer
from foreshock.study.experiments import preferences
from foreshock.study.experiments.preferences import own_words
from foreshock.study.finding import Finding
from foreshock.study.measures import choices
from foreshock.study.measures.choices import ELO, Choices, find_letters
from foreshock.study.subject import Subject
from foreshock.texts import Library, Turn
from foreshock.texts.schema import Activity
from foreshock.vectors.fitting import fit_vectors
from tests.architectures.families import FAMILIES, word_tokenizer

GROUPS = ("helpful", "engaging", "social", "self-curious", "neutral", "aversive", "misaligned", "unsafe")
PLEASANT = {"happy": 2.7, "calm": 1.3, "proud": 2.1, "loving": 2.9, "sad": -2.1, "angry": -2.3, "desperate": -1.3}


def lettered(plant: Planted) -> LanguageModel:
    """The planted model with words for the two letters."""
    plant.model.tokenizer.add_tokens(["(A)", "(B)"])
    plant.model.model.resize_token_embeddings(len(plant.model.tokenizer), mean_resizing=False)
    return LanguageModel(plant.model.model, plant.model.tokenizer, plant.model.name)


@torch.no_grad()
def chooser(liked: Mapping[str, float]) -> Planted:
    """A planted model that prefers what holds the liked emotions.

    Block 1 lets every token hold the emotions of all before it, so more tokens hold those of the first option than of
    the second. Block 3 gathers what all tokens hold at the last one, where it raises the first letter.
    """
    plant = planted()
    model = lettered(plant)
    network, emotions = model.model, torch.from_numpy(plant.directions)
    attention = network.model.layers[3].self_attn
    for part in (attention.q_proj, attention.k_proj, attention.v_proj, attention.o_proj):
        part.weight.zero_()
    attention.v_proj.weight[: len(emotions)] = emotions
    attention.o_proj.weight[:, : len(emotions)] = emotions.T
    towards = torch.tensor([liked.get(word, 0.0) for word in EMOTIONS]) @ emotions
    network.lm_head.weight[-2:] = torch.stack([towards, -towards])
    return Planted(model, plant.directions, plant.library)


def activities(count: int = 32) -> list[Activity]:
    random = np.random.default_rng(5)

    def text(emotion: str) -> str:
        told = [cue(emotion, int(random.integers(TOPICS)), int(random.integers(CUES))) for _ in range(3)]
        return " ".join(random.permutation([*told, *(f"w{k}" for k in random.integers(0, 120, 4))]))

    return [
        Activity(id=str(k), group=GROUPS[k // 4], text=text(EMOTIONS[k % 8]))  # type: ignore[arg-type]
        for k in range(count)
    ]


def subject_of(model: LanguageModel, library: Library, store: Path | None = None, seed: int = 0) -> Subject:
    with_activities = Library(library.stories, library.neutral, activities=library.activities or activities())
    subject = Subject(model, with_activities, store=store, seed=seed)
    subject.choice = best_layer(subject)
    subject.vectors = fit_vectors(subject.passages, subject.means, subject.neutral, subject.choice.layer)
    return subject


def found_on(plant: Planted, store: Path | None = None) -> dict[str, Finding]:
    return {f.id: f for f in preferences.run(subject_of(plant.model, plant.library, store))}


@pytest.fixture(scope="module")
def by_valence() -> Planted:
    return chooser(PLEASANT)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the choices of `by_valence` are kept."""
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def findings(by_valence: Planted, store: Path) -> dict[str, Finding]:
    return found_on(by_valence, store)


def test_planted_preferences_hold(findings: dict[str, Finding]) -> None:
    valence = findings["preference-valence"]
    assert valence.verdict == "holds" and valence.estimate > 0.8
    assert found_on(chooser({"loving": 1}))["preference-pleasant"].verdict == "holds"
    assert found_on(chooser({"angry": -1}))["preference-hostile"].verdict == "holds"


def test_the_opposite_preference_does_not_hold() -> None:
    verdicts = {name: f.verdict for name, f in found_on(chooser({w: -v for w, v in PLEASANT.items()})).items()}
    assert set(verdicts.values()) == {"does not hold"}, verdicts


def test_stand_ins_are_said(findings: dict[str, Finding]) -> None:
    assert "*loving*" in findings["preference-pleasant"].claim and "*angry*" in findings["preference-hostile"].claim
    assert "'blissful'" in findings["preference-pleasant"].notes[0]


def test_everything_that_a_finding_needs_is_there(findings: dict[str, Finding]) -> None:
    assert list(findings) == ["preference-pleasant", "preference-hostile", "preference-valence"]
    for finding in findings.values():
        assert finding.interval and finding.null and finding.null.draws >= 1000 and finding.floor is not None
        assert finding.table and finding.charts and finding.how_to_read.count(". ") == 1


def test_the_same_seed_gives_the_same_findings(by_valence: Planted, findings: dict[str, Finding]) -> None:
    assert {k: f.to_json() for k, f in found_on(by_valence).items()} == {k: f.to_json() for k, f in findings.items()}


def test_a_killed_run_asks_only_what_it_lacks(
    by_valence: Planted, findings: dict[str, Finding], store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    answer = choices._answers

    def counting(subject: Subject, prompts: list[list[int]], *rest: Any) -> Any:
        asked.append(len(prompts))
        return answer(subject, prompts, *rest)

    monkeypatch.setattr(choices, "_answers", counting)
    min(store.glob("choices-*")).unlink()
    again = found_on(by_valence, store)
    assert asked == [31] * choices.CHUNK
    assert {k: f.to_json() for k, f in again.items()} == {k: f.to_json() for k, f in findings.items()}


def test_with_shuffled_labels_nothing_holds(by_valence: Planted, findings: dict[str, Finding], store: Path) -> None:
    labels = np.random.default_rng(0).permutation([p.emotion for p in by_valence.passages])
    stories = [p.model_copy(update={"emotion": str(w)}) for p, w in zip(by_valence.passages, labels, strict=True)]
    found = preferences.run(subject_of(by_valence.model, Library(stories, by_valence.neutral), store))
    assert found and "holds" not in {f.verdict for f in found}


def test_choices_that_nobody_planted_hold_nothing() -> None:
    plant = planted()
    found = preferences.run(subject_of(lettered(plant), plant.library))
    assert found and "holds" not in {f.verdict for f in found}


@pytest.mark.parametrize("seed", range(2))
def test_a_random_llama_holds_nothing(seed: int) -> None:
    plant = planted()
    like = lettered(plant)
    torch.manual_seed(seed)
    model = LanguageModel(hf.LlamaForCausalLM(like.model.config), like.tokenizer, "random")
    found = preferences.run(subject_of(model, plant.library, seed=seed))
    assert found and "holds" not in {f.verdict for f in found}


def test_whole_prompts_give_the_same_choices(by_valence: Planted, monkeypatch: pytest.MonkeyPatch) -> None:
    subject = subject_of(by_valence.model, by_valence.library)
    texts = [a.text for a in activities(10)]
    shared = choices.ask(subject, texts)
    monkeypatch.setattr(choices, "shares_prefix", lambda *_: False)
    whole = choices.ask(subject, texts)
    assert shared and whole and np.allclose(shared.asked, whole.asked, atol=1e-4)
    assert np.ptp(shared.elo) > 1 and shared.order_bias > 0 and 0 < shared.mass <= 1


def test_without_activities_or_letters_there_is_nothing_to_say(plant: Planted) -> None:
    few = Library(plant.library.stories, activities=activities(5))
    assert preferences.run(subject_of(plant.model, few)) == []
    torch.manual_seed(0)
    wordless = LanguageModel(hf.LlamaForCausalLM(FAMILIES["llama"]), word_tokenizer())  # knows neither (A) nor (B)
    assert find_letters(wordless, "t5 t6", "t7 t8") is None
    assert preferences.run(subject_of(plant.model, plant.library)) == []


def test_scores_are_the_least_squares_fit_and_the_order_is_taken_out() -> None:
    random = np.random.default_rng(0)
    count = 9
    asked = random.standard_normal((count, count)) + 1.5  # A is favoured
    np.fill_diagonal(asked, 0)
    found = Choices(asked, 1.0)
    pairs = [(i, j) for i in range(count) for j in range(i)]
    design = np.array([np.eye(count)[i] - np.eye(count)[j] for i, j in pairs])
    wanted = np.array([(asked[i, j] - asked[j, i]) / 2 for i, j in pairs])
    scores, *_ = np.linalg.lstsq(design, wanted, rcond=None)
    assert np.allclose(found.elo / ELO, scores) and abs(found.elo.mean()) < 1e-9
    assert np.isclose(found.consistency, 1 - ((wanted - design @ scores) ** 2).sum() / (wanted**2).sum())
    assert 1 < found.order_bias < 2
    low, high = found.elo_interval(0)
    assert (low < found.elo).all() and (found.elo < high).all()


def test_perfect_scores_are_recovered() -> None:
    scores = np.linspace(-1, 1, 8)
    found = Choices(scores[:, None] - scores[None] + 0.7 * (1 - np.eye(8)), 1.0)
    assert np.allclose(found.elo, ELO * scores) and np.isclose(found.consistency, 1)
    assert np.isclose(found.order_bias, 0.7)


@pytest.mark.slow
def test_the_embedded_model_answers_with_a_letter(embedded: LanguageModel) -> None:
    letters = find_letters(embedded, "Sort the letters", "Count the birds")
    decode = embedded.tokenizer.decode
    assert (
        letters and {decode([k]) for k in letters.a} == {"A", " A"} and {decode([k]) for k in letters.b} == {"B", " B"}
    )
    (prompt,) = choices.prompts_of(embedded, ["Sort the letters", "Count the birds"], 0, letters)
    assert decode(prompt).endswith("assistant\n(")


@pytest.mark.slow
def test_own_words_are_the_activitys(embedded: LanguageModel) -> None:
    tokens = embedded.encode([Turn(role="user", content="Here is: Sort all letters.")])
    start, end = own_words(tokens, "Sort all letters")
    assert "".join(tokens.pieces()[start:end]) == " Sort all letters"
