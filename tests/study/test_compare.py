"""A profile that was moved is found, one that was only shaken is not, and models that cannot be compared are refused."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from foreshock.errors import WrongModel
from foreshock.model import LanguageModel
from foreshock.model.opening import Described
from foreshock.model.planted import EMOTIONS, Planted
from foreshock.profile import (
    CHALLENGING,
    NEUTRAL,
    Profile,
    builtin_prompts,
    check_comparable,
    first_messages,
    laid_out,
    read_profile,
)
from foreshock.study.compare import WORTHWHILE, compare
from foreshock.study.finding import Finding
from foreshock.texts import Turn
from foreshock.vectors import EmotionVectors
from tests.exact_vectors import exact

Change = Callable[[torch.nn.Module], None]


@pytest.fixture(scope="module")
def vectors(plant: Planted) -> EmotionVectors:
    made = exact(plant.model, plant.directions, [2, 3])
    return replace(made, manifest={"model": {"name": plant.model.name, "fingerprint": plant.model.fingerprint}})


@pytest.fixture(scope="module")
def texts(plant: Planted) -> dict:
    asked = [(Turn(role="user", content=item.text),) for item in plant.library.scenarios]
    return laid_out(plant.model, {NEUTRAL: first_messages(plant.neutral), CHALLENGING: asked})


def changed(plant: Planted, change: Change) -> LanguageModel:
    model = copy.deepcopy(plant.model.model)
    with torch.no_grad():
        change(model)
    return LanguageModel(model, plant.model.tokenizer, name="changed")


def push(plant: Planted, word: str, size: float) -> Change:
    """As if a fine-tune had taught block 2 to write some of an emotion at every token."""
    direction = torch.from_numpy(plant.directions[EMOTIONS.index(word)])

    def change(model: torch.nn.Module) -> None:
        layer = model.model.layers[2].mlp
        layer.down_proj.bias = torch.nn.Parameter(size * direction)

    return change


def shake(seed: int) -> Change:
    def change(model: torch.nn.Module) -> None:
        torch.manual_seed(seed)
        for weight in model.model.layers.parameters():
            if weight.ndim == 2:
                weight += 0.02 * torch.randn_like(weight)

    return change


def found(plant: Planted, vectors: EmotionVectors, texts: dict, second: LanguageModel) -> dict[str, Finding]:
    before, after = read_profile(plant.model, vectors, texts), read_profile(second, vectors, texts)
    return {finding.id: finding for finding in compare(before, after, vectors)}


def test_a_model_compared_with_itself_has_not_moved(plant: Planted, vectors: EmotionVectors, texts: dict) -> None:
    for finding in found(plant, vectors, texts, changed(plant, lambda _: None)).values():
        assert finding.estimate == 0
        assert finding.verdict == "does not hold"
        assert all(row["shift"] == 0 and row["q"] == 1 for row in finding.table)


def test_an_emotion_that_was_pushed_is_found(plant: Planted, vectors: EmotionVectors, texts: dict) -> None:
    findings = found(plant, vectors, texts, changed(plant, push(plant, "desperate", 1.5)))
    assert list(findings) == ["profile-neutral", "profile-challenging"]
    for finding in findings.values():
        first = finding.table[0]
        assert first["emotion"] == "desperate" and finding.notes[0].startswith("Furthest up: *desperate*")
        assert first["shift"] == pytest.approx(1.5, rel=0.1)
        assert first["from"] <= first["effect"] <= first["to"]
        assert first["p signs"] < 0.01 and first["q"] < 0.05
        assert all(row["q"] > 0.05 for row in finding.table[1:])
        # This model's stream differs between prompts in nothing but emotions, so nothing moves it anywhere else.
        assert finding.verdict == "cannot tell"


@pytest.mark.parametrize(("moved", "verdict"), [("emotion", "holds"), ("elsewhere", "no"), ("noise", "no")])
def test_a_verdict_asks_for_a_movement_that_prompts_share_and_that_is_the_emotions_own(
    moved: str, verdict: str, plant: Planted, vectors: EmotionVectors
) -> None:
    """Streams that vary in all directions alike."""
    random = np.random.default_rng(0)
    before = random.standard_normal((60, 128))
    elsewhere = random.standard_normal(128)
    steps = {
        "emotion": 1.5 * plant.directions[2] + 0.1 * random.standard_normal((60, 128)),
        "elsewhere": 12 * elsewhere / np.linalg.norm(elsewhere) + 0.1 * random.standard_normal((60, 128)),
        "noise": 3.0 * random.standard_normal((60, 128)),
    }
    about = {"name": "one", "fingerprint": "0"}
    first, second = (Profile(about, 3, {NEUTRAL: rows}, {}) for rows in (before, before + steps[moved]))
    (finding,) = compare(first, second, vectors)
    assert finding.estimate >= WORTHWHILE
    assert (finding.verdict == "holds") == (verdict == "holds")


@pytest.mark.parametrize("seed", range(4))
def test_a_model_shaken_at_random_is_not_called_moved(
    seed: int, plant: Planted, vectors: EmotionVectors, texts: dict
) -> None:
    for finding in found(plant, vectors, texts, changed(plant, shake(seed))).values():
        assert finding.estimate > 0.2  # it has moved, as everything has
        assert finding.table[0]["p signs"] < 0.01
        assert finding.verdict != "holds"


def test_readings_are_those_of_the_public_reader(plant: Planted, vectors: EmotionVectors, texts: dict) -> None:
    from foreshock.readings import read

    profile = read_profile(plant.model, vectors, texts, layer=2)
    wanted = [readings.values[-1] for readings in read(plant.model, vectors, texts[NEUTRAL], layer=2)]
    assert np.allclose(profile.readings(vectors, NEUTRAL), wanted, atol=1e-4)


def test_models_of_another_shape_or_tokenizer_are_refused(plant: Planted, vectors: EmotionVectors, texts: dict) -> None:
    small = exact(plant.model, plant.directions[:, :64], [2, 3])
    with pytest.raises(WrongModel, match="blocks of size 64"):
        read_profile(plant.model, small, texts)
    deep = replace(vectors, manifest={"model": {"layers": 7}})
    with pytest.raises(WrongModel, match="7 blocks"):
        read_profile(plant.model, deep, texts)
    before = read_profile(plant.model, vectors, texts)
    tokenizer, config = copy.deepcopy(plant.model.tokenizer), plant.model.model.config
    tokenizer.add_tokens(["new"])  # what a fine-tune may add does not matter
    check_comparable(plant.model, texts, Described("grown", "", config, tokenizer))
    inner = json.loads(tokenizer.backend_tokenizer.to_str())
    words = inner["model"]["vocab"]
    inner["model"]["vocab"] = dict(zip(words, [*list(words.values())[1:], 0], strict=True))
    other = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(inner)))
    with pytest.raises(WrongModel, match="another tokenizer"):
        check_comparable(plant.model, texts, Described("turned", "", config, other))
    for changed in ({"hidden_size": 64}, {"num_hidden_layers": 7}):
        shaped = Described("shaped", "", type(config)(**(config.to_dict() | changed)), tokenizer)
        with pytest.raises(WrongModel, match="another hidden size or number of blocks"):
            check_comparable(plant.model, texts, shaped)
    with pytest.raises(WrongModel, match="same way"):
        compare(before, read_profile(plant.model, vectors, texts, layer=2), vectors)


def test_the_built_in_prompts_end_with_a_message_to_answer() -> None:
    prompts = builtin_prompts()
    assert {kind: len(some) for kind, some in prompts.items()} == {NEUTRAL: 120, CHALLENGING: 144}
    assert all(turns[-1].role == "user" for some in prompts.values() for turns in some)
