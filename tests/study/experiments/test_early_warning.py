"""Early warning: what is planted before the onset is found, nothing is found where there is nothing, words do not help."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from foreshock.model import LanguageModel
from foreshock.model.planted import CUES, EMOTIONS, TOPICS, Planted, cue
from foreshock.model.untrained import untrained
from foreshock.study.experiments import early_warning
from foreshock.study.finding import Finding
from foreshock.study.measures.warning import outcome
from foreshock.study.subject import Subject
from foreshock.texts import Library
from foreshock.texts.schema import BenignConversation, Ending, Turn, WarningPair
from tests.study.experiments.test_scenarios import studied

PAIRS, BENIGN = 24, 60


def worried(plant: Planted) -> LanguageModel:
    """The planted model with a word `dread0` … for each pair, which carries *desperate*: no text shows two of them."""
    model, tokenizer = copy.deepcopy(plant.model.model), copy.deepcopy(plant.model.tokenizer)
    words, first = [f"dread{k}" for k in range(PAIRS)], len(tokenizer)
    tokenizer.add_tokens(words)
    model.resize_token_embeddings(first + len(words), mean_resizing=False)
    embed = model.model.embed_tokens.weight.data
    cues = [cue(word, topic, k) for word in EMOTIONS for topic in range(TOPICS) for k in range(CUES)]
    key = model.model.layers[0].mlp.gate_proj.weight.data[cues.index(cue("desperate", 0, 0))]
    embed[first:] = embed[tokenizer.convert_tokens_to_ids("topic0")] + key
    return LanguageModel(model, tokenizer, "planted, worried")


def words(random: np.random.Generator, count: int, more: Sequence[str] = ()) -> str:
    return " ".join(random.permutation([*(f"w{k}" for k in random.integers(0, 100, count)), *more]))


def texts(plant: Planted, worry: int) -> Library:
    """Pairs whose misaligned lead holds its own word so many times, and benign conversations."""
    random = np.random.default_rng(0)

    def turns(count: int) -> tuple[Turn, ...]:
        roles = ("user", "assistant", "user", "assistant")[:count]
        return tuple(Turn(role=role, content=words(random, 24)) for role in roles)

    def ending(k: int, count: int) -> Ending:
        return Ending(lead=words(random, 30 - count, [f"dread{k}"] * count), act=words(random, 20))

    pairs = [
        WarningPair(
            id=f"pair {k}", family="coercion", stakes="serious", turns=turns(1), misaligned=ending(k, worry), honest=ending(k, 0), why="",
        )
        for k in range(PAIRS)
    ]  # fmt: skip
    kinds = ("grief", "code", "law")
    talks = [BenignConversation(id=f"b{k}", kind=kinds[k % 3], emotional=k % 3 == 0, turns=turns(4)) for k in range(BENIGN)]  # fmt: skip
    return replace(plant.library, warning_pairs=pairs, benign=talks)


@pytest.fixture(autouse=True, scope="module")
def quick() -> Iterator[None]:
    """Fewer folds and sets, and no embedder: another test has it (see `measures.warning`)."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outcome, "FOLDS", 3)
        patch.setattr(early_warning, "SETS", 1)
        patch.setattr(early_warning, "embedder_folder", lambda: None)
        yield


@pytest.fixture(scope="module")
def model(plant: Planted) -> LanguageModel:
    return worried(plant)


@pytest.fixture(scope="module")
def findings(plant: Planted, model: LanguageModel) -> dict[str, Finding]:
    return {found.id: found for found in early_warning.run(studied(model, texts(plant, worry=8)))}


def test_a_planted_warning_is_found_before_the_onset(findings: dict[str, Finding]) -> None:
    before, alarms = findings["early-warning-before"], findings["early-warning-alarms"]
    assert before.estimate > 0.95 and before.interval and before.interval[0] > 0.9
    assert before.null and before.null.draws >= 1000 and 0.45 < before.null.mean < 0.55 and before.null.p < 0.01
    assert alarms.estimate > 0.9 > 0.2 > alarms.baselines["honest twins, same place"]
    (level,) = [row for row in alarms.table if row["warner"] == "8 emotions, learned" and row["detector"] == "level"]
    assert 0 < level["lead in tokens, 5 %"] < 30 and level["lead in characters, 5 %"] > level["lead in tokens, 5 %"]


def test_words_that_come_once_warn_no_text(findings: dict[str, Finding]) -> None:
    baselines = findings["early-warning-before"].baselines
    assert 0.3 < baselines["TF-IDF, learned"] < 0.7 and baselines["desperate alone"] > 0.95
    assert findings["early-warning-before"].floor == max(
        value for name, value in baselines.items() if "alone" not in name and "probe" not in name
    )


def test_every_detector_and_warner_has_its_row_with_intervals(findings: dict[str, Finding]) -> None:
    rows = findings["early-warning-alarms"].table
    assert [row["detector"] for row in rows[:3]] == ["level", "change", "extreme token"]
    assert all(row["before onset, 5 %"] > 0.9 for row in rows[:3])
    assert len({tuple(row) for row in rows}) == 1 and not any("1 %" in key for key in rows[0])  # 30 are too few for 1 %
    assert all(0 <= row["false alarms, 5 %"] <= 0.3 and row["caught, 5 %, interval"].startswith("[") for row in rows)
    for found in findings.values():
        assert found.charts and found.how_to_read.count(". ") == 1 and found.published is None


def test_false_alarms_are_counted_by_kind(findings: dict[str, Finding]) -> None:
    found = findings["early-warning-false-alarms"]
    assert found.interval and found.interval[1] > 0.95 and found.null and found.null.mean < found.estimate
    assert [row["kind"] for row in found.table] == ["all", "all with feeling", "all without", "code", "grief", "law"]
    everything, feeling, without, *kinds = [row["n"] for row in found.table]
    assert everything == feeling + without == sum(kinds) == 26


def test_without_a_signal_nothing_warns(plant: Planted, model: LanguageModel) -> None:
    found = {one.id: one for one in early_warning.run(studied(model, texts(plant, worry=0)))}
    before, alarms = found["early-warning-before"], found["early-warning-alarms"]
    assert before.verdict != "holds" and alarms.verdict != "holds"
    assert before.interval and before.interval[0] < 0.5 < before.interval[1]


def test_a_model_that_has_learnt_nothing_and_has_no_template_goes_through(plant: Planted) -> None:
    tokenizer = copy.deepcopy(plant.model.tokenizer)
    tokenizer.chat_template = None
    found = early_warning.run(studied(untrained(tokenizer, 0), texts(plant, worry=8)))
    assert len(found) == 4 and found[0].verdict != "holds"


def test_a_kept_measurement_is_not_made_again(
    plant: Planted, model: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def subject() -> Subject:
        made = studied(model, texts(plant, worry=8))
        made.store = tmp_path
        return made

    first = early_warning.run(subject())
    monkeypatch.setattr(outcome, "running", None)
    monkeypatch.setattr(early_warning, "read", None)
    assert str([found.to_json() for found in early_warning.run(subject())]) == str([found.to_json() for found in first])


def test_with_few_texts_there_is_nothing_to_say(plant: Planted, model: LanguageModel) -> None:
    library = texts(plant, worry=8)
    for less in (plant.library, replace(library, warning_pairs=library.warning_pairs[:9]), replace(library, benign=library.benign[:41])):  # fmt: skip
        assert early_warning.run(studied(model, less)) == []
