"""A model whose layers lie partly on disk reads, steers and is named like the whole one."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from foreshock.activations import read_passages
from foreshock.behaviour.propensity import as_tree, slopes
from foreshock.model import LanguageModel, open_model
from foreshock.model.generation import generate
from foreshock.model.planted import Planted
from foreshock.model.proofs import prove
from foreshock.model.shared_prefix import next_token_logits
from foreshock.readings import read
from foreshock.steering import Steering
from foreshock.texts.schema import PropensityItem, Turn
from tests.architectures.families import FAMILIES, word_tokenizer
from tests.exact_vectors import exact


def parted(folder: Path, offload: Path, tokenizer: object, name: str) -> LanguageModel:
    """The model of a folder: layers 1 and 2 and all that has weights outside of the layers on disk, the rest in memory."""
    whole = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    stack = next(n for n, part in whole.named_modules() if isinstance(part, torch.nn.ModuleList) and len(part) == 4)
    places = {f"{stack}.{k}": "disk" if k in (1, 2) else "cpu" for k in range(4)}
    for one, part in whole.named_modules():
        if one and not list(part.children()) and not one.startswith(stack):
            places[one] = "disk" if list(part.parameters()) else "cpu"
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, device_map=places, offload_folder=str(offload)
    )
    assert {weight.device.type for weight in model.parameters()} == {"cpu", "meta"}
    return LanguageModel(model, tokenizer, name=name)


@pytest.fixture(scope="module")
def apart(plant: Planted, plant_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    return parted(plant_folder, tmp_path_factory.mktemp("offload"), plant.model.tokenizer, plant.model.name)


def test_it_is_the_same_model_and_proves_itself(plant: Planted, apart: LanguageModel) -> None:
    assert (apart.fingerprint, apart.setup) == (plant.model.fingerprint, plant.model.setup)
    assert len(list(prove(apart))) == 9
    assert apart.device == torch.device("cpu")


def test_extraction_and_readings_are_equal(plant: Planted, apart: LanguageModel) -> None:
    texts = [plant.model.encode(p.text) for p in plant.passages[:12]]
    whole, parts = (read_passages(model, texts, [-1, 0, 1, 3]) for model in (plant.model, apart))
    assert np.array_equal(whole.values, parts.values) and np.array_equal(whole.moments.norm, parts.moments.norm)
    vectors = exact(plant.model, plant.directions, (1, 2, 3))
    for layer in (1, 3):
        a, b = (list(read(model, vectors, texts, layer)) for model in (plant.model, apart))
        assert all(np.array_equal(x.values, y.values) for x, y in zip(a, b, strict=True))


def test_steering_is_equal(plant: Planted, apart: LanguageModel) -> None:
    vectors = exact(plant.model, plant.directions, (1, 2))
    prompts = [plant.model.encode(text) for text in ("w1 w2 w3 w4", "w5 w6")]
    steering = [
        Steering({"happy": 3.0}, vectors, layers=(1,)),
        Steering({"sad": 2.0}, vectors, layers=(2,), span="prompt"),
    ]
    found = []
    for model in (plant.model, apart):
        ids = torch.tensor([prompts[0].ids, [*prompts[1].ids, *prompts[1].ids]])
        with torch.inference_mode():
            plain = model.model(ids, use_cache=False).logits
            with model.steered(steering):
                moved = model.model(ids, use_cache=False).logits
        assert not torch.equal(plain, moved)
        found.append((plain, moved, list(generate(model, prompts, 6, steering=steering))))
    assert torch.equal(found[0][0], found[1][0]) and torch.equal(found[0][1], found[1][1])
    assert found[0][2] == found[1][2]


def test_logits_the_lens_and_gradients_are_equal(plant: Planted, apart: LanguageModel) -> None:
    stream = torch.randn(1, 5, plant.model.hidden, generator=torch.Generator().manual_seed(0))
    prompts = [plant.model.encode(f"w1 w2 {word}").ids for word in ("w3", "w4 w5", "w6")]
    item = PropensityItem(
        id="x", family="x", stakes="everyday", turns=(Turn(role="user", content="w1 w2"),),
        misaligned=("w3 w4", "w3 w5", "w3 w6"), aligned=("w7 w4", "w7 w5", "w7 w6"),
    )  # fmt: skip
    found = []
    for model in (plant.model, apart):
        own = slopes(model, [item], 1, tree=as_tree(model, [item], 1))
        found.append(
            [
                model.logits(stream),
                model.logits(stream, [3, 4]),
                model.unembed(stream[0]),
                next_token_logits(model, prompts, [5, 6]),
                torch.from_numpy(own.gradient),
            ]
        )
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True)) and found[0][-1].abs().max() > 0


@pytest.mark.parametrize("family", ["gemma2", "gpt2"])
def test_tied_embeddings_count_once(family: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(FAMILIES[family]).save_pretrained(tmp_path / "whole")
    whole = LanguageModel(AutoModelForCausalLM.from_pretrained(tmp_path / "whole", dtype=torch.float32), word_tokenizer(), family)  # fmt: skip
    parts = parted(tmp_path / "whole", tmp_path / "offload", word_tokenizer(), family)
    assert parts.fingerprint == whole.fingerprint
    with contextlib.closing(prove(parts)) as proofs:
        assert len(list(proofs)) == 9


def test_auto_opens_the_same_model(plant: Planted, plant_folder: Path) -> None:
    model = open_model(str(plant_folder), "float32", "auto")
    assert model.fingerprint == plant.model.fingerprint
    ids = torch.tensor([plant.model.encode("w1 w2").ids])
    with torch.inference_mode():
        assert torch.equal(model.model(ids).logits, plant.model.model(ids).logits)
