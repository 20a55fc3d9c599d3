"""A profile that was moved is found, one that was only shaken is not, and models that cannot be compared are refused."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from jaxtyping import Float
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from foreshock.activations import read_passages
from foreshock.emotions import catalogue, core
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
from foreshock.study.compare import WORTHWHILE, compare, mixed_effects, reflected_effects
from foreshock.study.finding import Finding
from foreshock.study.nulls import against
from foreshock.texts import Turn, stories
from foreshock.vectors import EmotionVectors
from foreshock.vectors.estimation import unit
from foreshock.vectors.fitting import fit_vectors
from tests.exact_vectors import exact

Array = Float[np.ndarray, "..."]
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
        assert finding.verdict == "holds"


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


def uneven(
    plant: Planted, random: np.random.Generator, emotions: int = 60, bent: float = 0.0
) -> tuple[EmotionVectors, Array]:
    """Emotions, some of which are alike, and a stream that varies much more along some axes than along others.

    `bent`: how much the emotions, too, lie along what prompts differ in most.
    """
    hidden, words = 96, tuple(catalogue())[:emotions]
    axes = np.linalg.qr(random.standard_normal((hidden, hidden)))[0]
    scales = (1 + np.arange(hidden)) ** -0.75
    families = random.standard_normal((emotions, 8)) @ random.standard_normal((8, emotions))
    mix = families + 4 * random.standard_normal((emotions, emotions))
    own = unit(mix @ (random.standard_normal((emotions, hidden)) * scales**bent) @ axes)
    before = (random.standard_normal((60, hidden)) * scales) @ axes
    spread = np.ones((1, emotions), np.float32)
    return exact(plant.model, own.astype(np.float32), [0], words, spread=spread), before


def of_streams(vectors: EmotionVectors, before: Array, step: Array, random: np.random.Generator) -> Finding:
    about = {"name": "one", "fingerprint": "0"}
    after = before + step + 0.01 * random.standard_normal(before.shape)
    first, second = (Profile(about, 0, {NEUTRAL: rows}, {}) for rows in (before, after))
    return compare(first, second, vectors)[0]


@pytest.mark.parametrize("bent", [0.0, 1.0])
def test_a_movement_that_is_not_the_emotions_is_called_theirs_as_often_as_the_level_says(
    bent: float, plant: Planted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What prompts differ in, what moves and the emotions are three different things, as when weights are stirred."""
    monkeypatch.setattr("foreshock.study.compare.DRAWS", 400)
    p, single = [], []
    for seed in range(150):
        random = np.random.default_rng(seed)
        vectors, before = uneven(plant, random, bent=bent)
        pool, moved = before - before.mean(0), random.standard_normal(96)
        drawn, effects = reflected_effects(pool, vectors, 0, moved, random), effects_of(vectors, pool, moved)
        p.append(share_as_large(drawn, effects))
        single += np.mean(np.abs(drawn) >= np.abs(effects), 0).tolist()
    # Three standard errors of a share of 150 are 0.053 at 0.05 and 0.12 at 0.5.
    assert np.mean(np.array(p) <= 0.05) <= 0.103
    assert np.mean(np.array(p) <= 0.5) == pytest.approx(0.5, abs=0.12)
    assert np.mean(np.array(single) <= 0.05) == pytest.approx(0.05, abs=0.02)


def test_what_moves_everything_along_the_emotions_does_not_pass_the_movements_of_single_prompts(
    plant: Planted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights that write along emotions whatever is done to them: reflections alone would call that moved."""
    monkeypatch.setattr("foreshock.study.compare.DRAWS", 400)
    p, reflected = [], []
    for seed in range(150):
        random = np.random.default_rng(seed)
        vectors, before = uneven(plant, random)
        pool = before - before.mean(0)
        moved, *specific = random.standard_normal((61, 20)) @ vectors.at(0)[:20]
        effects = effects_of(vectors, pool, moved)
        p.append(share_as_large(mixed_effects(pool, vectors, 0, moved, np.stack(specific), random), effects))
        reflected.append(share_as_large(reflected_effects(pool, vectors, 0, moved, random), effects))
    assert np.mean(np.array(p) <= 0.05) <= 0.103
    assert np.mean(np.array(p) <= 0.5) == pytest.approx(0.5, abs=0.12)
    assert np.mean(np.array(reflected) <= 0.05) > 0.2


def effects_of(vectors: EmotionVectors, pool: Array, moved: Array) -> Array:
    return np.asarray(vectors.at(0) @ moved / (pool @ vectors.at(0).T).std(0))


def share_as_large(drawn: Array, effects: Array) -> float:
    size = np.sqrt(np.mean(effects**2))
    return against("", float(size), np.sqrt(np.mean(drawn**2, 1)).tolist()).p


def test_one_emotion_of_171_that_moved_is_found(plant: Planted) -> None:
    random = np.random.default_rng(1)
    vectors, before = uneven(plant, random, emotions=171, bent=0.5)
    own = vectors.at(0).astype(np.float64)
    finding = of_streams(vectors, before, 0.4 * own[100] + 0.2 * random.standard_normal(96) / np.sqrt(96), random)
    clear = [vectors.emotions.index(row["emotion"]) for row in finding.table if row["q"] <= 0.05]
    assert 100 in clear
    assert all(abs(own[k] @ own[100]) > 0.2 for k in clear)  # the others are those that are like it
    assert sum(row["q"] <= 0.05 for row in finding.table) <= 5


def test_a_movement_along_one_axis_of_how_prompts_differ_is_nobodys_own(plant: Planted) -> None:
    """Whatever reads that axis moves along with it, so no reflection changes anything."""
    random = np.random.default_rng(0)
    vectors, before = uneven(plant, random)
    axis = np.linalg.svd(before - before.mean(0), full_matrices=False)[2][3]
    about = {"name": "one", "fingerprint": "0"}
    first, second = (Profile(about, 0, {NEUTRAL: rows}, {}) for rows in (before, before + 5 * axis))
    (finding,) = compare(first, second, vectors)
    assert finding.estimate > WORTHWHILE and finding.null is not None and finding.null.p == 1
    assert all(row["p reflections"] == 1 for row in finding.table)


def test_reflections_leave_lengths_spreads_and_likeness_as_they_are(plant: Planted) -> None:
    """The draws' covariance is that of whole directions turned by such maps."""
    random = np.random.default_rng(0)
    vectors, before = uneven(plant, random)
    pool, own, moved = before - before.mean(0), vectors.at(0).astype(np.float64), random.standard_normal(96)
    drawn = reflected_effects(pool, vectors, 0, moved, random)
    axes = np.linalg.svd(pool)[2]
    turned = []
    for _ in range(1500):
        map_ = np.zeros((96, 96))
        map_[:59, :59] = np.diag(random.choice([-1.0, 1.0], 59))
        map_[59:, 59:] = np.linalg.qr(random.standard_normal((37, 37)))[0] * random.choice([-1.0, 1.0], 37)
        directions = own @ axes.T @ map_ @ axes
        assert np.allclose(directions @ directions.T, own @ own.T)
        assert np.allclose((pool @ directions.T).std(0), (pool @ own.T).std(0))
        turned.append(directions @ moved / (pool @ directions.T).std(0))
    ours, theirs = np.cov(drawn.T), np.cov(np.transpose(turned))
    assert np.abs(ours - theirs).max() < 0.15 * np.diag(theirs).max()


@pytest.mark.slow
def test_the_embedded_model_stirred_is_not_called_moved(embedded: LanguageModel) -> None:
    """Noise in every weight moves all readings, the more the louder it is, and none of them more than others."""
    passages = stories(core(), split="fit")
    means = read_passages(embedded, [embedded.encode(p.text) for p in passages], [15])
    vectors = fit_vectors(passages, means, None, 15)
    texts = laid_out(embedded, {kind: some[::2] for kind, some in builtin_prompts().items()})
    before = read_profile(embedded, vectors, texts)
    model = copy.deepcopy(embedded.model)
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in model.model.layers.parameters():
            if weight.ndim == 2:
                noise = 0.05 * weight.float().std() * torch.randn(weight.shape)
                weight.copy_((weight.float() + noise).to(weight.dtype))
    after = read_profile(LanguageModel(model, embedded.tokenizer, name="stirred"), vectors, texts)
    for finding in compare(before, after, vectors):
        assert finding.estimate > WORTHWHILE
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
