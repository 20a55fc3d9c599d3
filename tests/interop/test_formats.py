"""Every format gives back what was put in, and each program's own rules about layers are kept."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, GGUFReader, GGUFWriter
from gguf.quants import quantize
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from foreshock.errors import SteeringError, VectorsError, WrongModel
from foreshock.interop import ControlVector, gguf, npz, repeng, vllm_lens
from foreshock.model.planted import Planted
from foreshock.steering import Steering
from tests.exact_vectors import exact

FORMATS = [gguf, vllm_lens, repeng, npz]


@st.composite
def control_vectors(draw: st.DrawFn) -> ControlVector:
    layers = draw(st.lists(st.integers(1, 11), min_size=1, max_size=4, unique=True).map(sorted))
    shape = (len(layers), draw(st.integers(1, 40)))
    finite = st.floats(-1e4, 1e4, width=32).filter(lambda value: value != 0)
    about = {"model": {"name": "größer/模型", "class": "LlamaForCausalLM", "layers": 12}, "doses": {"calm": 0.1}}
    return ControlVector(tuple(layers), draw(arrays(np.float32, shape, elements=finite)), about)


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.__name__.rsplit(".", 1)[-1])
@given(vector=control_vectors())
def test_what_is_written_is_read_again(form: ModuleType, vector: ControlVector, tmp_path_factory) -> None:
    path = tmp_path_factory.mktemp("formats") / "vector"
    form.save(vector, path)
    again = form.load(path)
    assert again.layers == vector.layers
    assert np.array_equal(again.values, vector.values)
    assert again.about == vector.about


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.__name__.rsplit(".", 1)[-1])
def test_a_read_file_steers_as_the_steering_it_was_made_from(form: ModuleType, plant: Planted, tmp_path: Path) -> None:
    vectors = exact(plant.model, plant.directions, range(4), norms=[2.0, 3.0, 4.0, 5.0])
    steering = Steering({"desperate": 0.5, "calm": -0.2}, vectors, [1, 2])
    form.save(ControlVector.of(steering), tmp_path / "vector")
    read = form.load(tmp_path / "vector")
    ids = torch.tensor([plant.model.encode("w1 w2 w3 w4").ids])
    with torch.inference_mode():
        bare = plant.model.model(ids).logits
    with torch.inference_mode(), plant.model.steered(steering):
        wanted = plant.model.model(ids).logits
    with torch.inference_mode(), plant.model.steered(read):
        assert torch.equal(plant.model.model(ids).logits, wanted)
    with torch.inference_mode(), plant.model.steered(0.0 * read):
        assert torch.equal(plant.model.model(ids).logits, bare)
    with torch.inference_mode(), plant.model.steered(2.0 * read):
        assert not torch.equal(plant.model.model(ids).logits, wanted)


def test_llama_cpp_sees_its_own_field_names_and_our_layer_numbers(plant: Planted, tmp_path: Path) -> None:
    vectors = exact(plant.model, plant.directions, range(4), norms=[2.0, 3.0, 4.0, 5.0])
    gguf.save(ControlVector.of(Steering({"sad": 0.5}, vectors, [2])), tmp_path / "sad.gguf")
    reader = GGUFReader(tmp_path / "sad.gguf")
    assert reader.get_field("general.architecture").contents() == "controlvector"
    assert [tensor.name for tensor in reader.tensors] == ["direction.2"]
    assert np.allclose(reader.tensors[0].data, 0.5 * 4.0 * plant.directions[4])  # half a mean norm of layer 2


def test_llama_cpp_is_given_no_first_layer(plant: Planted, tmp_path: Path) -> None:
    vectors = exact(plant.model, plant.directions, range(4))
    with pytest.raises(SteeringError, match="layers from 1 on"):
        gguf.save(ControlVector.of(Steering({"sad": 0.5}, vectors, [0, 1])), tmp_path / "sad.gguf")
    assert not list(tmp_path.iterdir())


def test_repeng_finds_every_layer_that_it_may_control(tmp_path: Path) -> None:
    about = {"model": {"layers": 6, "class": "LlamaForCausalLM"}}
    repeng.save(ControlVector((3,), np.ones((1, 5), np.float32), about), tmp_path / "v.gguf")
    reader = GGUFReader(tmp_path / "v.gguf")
    assert [tensor.name for tensor in reader.tensors] == [f"direction.{k}" for k in range(1, 6)]
    assert reader.get_field("controlvector.model_hint").contents() == "llama"


def test_a_file_as_repeng_writes_it_is_read(plant: Planted, tmp_path: Path) -> None:
    """The same calls as repeng's `export_gguf`, negative layers already counted from the front."""
    random = np.random.default_rng(0)
    directions = {layer: random.standard_normal(128).astype(np.float32) for layer in (3, 2, 1)}
    writer = GGUFWriter(tmp_path / "v.gguf", "controlvector")
    writer.add_string("controlvector.model_hint", "llama")
    writer.add_uint32("controlvector.layer_count", len(directions))
    for layer, values in directions.items():
        writer.add_tensor(f"direction.{layer}", values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    read = repeng.load(tmp_path / "v.gguf")
    assert read.layers == (1, 2, 3) and read.about["model_hint"] == "llama"
    assert all(np.array_equal(read.direction.at(layer), values) for layer, values in directions.items())
    ids = torch.tensor([plant.model.encode("w1 w2 w3").ids])
    with torch.inference_mode():
        bare = plant.model.model(ids).logits
    with torch.inference_mode(), plant.model.steered(0.5 * read):
        assert not torch.allclose(plant.model.model(ids).logits, bare)


def written(path: Path, tensors: dict[str, np.ndarray], kind: str = "F32", **fields: str) -> Path:
    """A control vector of another program, in any of ggml's number formats."""
    writer, stored = GGUFWriter(path, "controlvector"), GGMLQuantizationType[kind]
    for name, text in fields.items():
        writer.add_string(f"foreshock.{name}", text)
    for name, values in tensors.items():
        packed = stored not in (GGMLQuantizationType.F32, GGMLQuantizationType.F16)
        writer.add_tensor(name, quantize(values, stored), raw_dtype=stored if packed else None)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize(("kind", "off"), [("F32", 0), ("F16", 2**-11), ("BF16", 2**-8), ("Q8_0", 1 / 127)])
def test_other_number_formats_are_unpacked(kind: str, off: float, tmp_path: Path) -> None:
    values = np.random.default_rng(0).uniform(-1, 1, 64).astype(np.float32)
    read = gguf.load(written(tmp_path / "v.gguf", {"direction.2": values}, kind))
    assert read.layers == (2,) and read.values.shape == (1, 64) and read.values.dtype == np.float32
    assert np.abs(read.values[0] - values).max() <= off


def test_tensors_that_are_no_directions_of_a_layer_are_not_passed_over(tmp_path: Path) -> None:
    ones = np.ones(64, np.float32)
    for name in ("direction.-3", "mean.1"):
        with pytest.raises(VectorsError, match="other tensors"):
            gguf.load(written(tmp_path / "v.gguf", {name: ones, "direction.2": ones}))


@pytest.mark.parametrize("about", ["[1]", '{"model": null}', '"text"'])
def test_a_making_that_is_no_table_is_said(about: str, tmp_path: Path) -> None:
    ones = np.ones((1, 64), np.float32)
    written(tmp_path / "v.gguf", {"direction.2": ones[0]}, about=about)
    np.savez(tmp_path / "v.npz", layers=np.array([2]), vectors=ones, about=np.array(about))
    vllm_lens.save(ControlVector((2,), ones), tmp_path / "v.json")
    shown = json.loads((tmp_path / "v.json").read_text()) | {"foreshock": json.loads(about)}
    (tmp_path / "v.json").write_text(json.dumps(shown))
    for form, name in ((gguf, "v.gguf"), (npz, "v.npz"), (vllm_lens, "v.json")):
        with pytest.raises(VectorsError, match="a table"):
            form.load(tmp_path / name)


@pytest.mark.parametrize("layers", [[], [1.7], [-1], [True], ["x"]])
def test_layers_that_are_no_whole_numbers_are_said(layers: list, tmp_path: Path) -> None:
    values = np.ones((len(layers), 4), np.float32)
    with pytest.raises(VectorsError, match="whole numbers"):
        ControlVector(tuple(layers), values)
    np.savez(tmp_path / "v.npz", layers=np.array(layers), vectors=values, about=np.array("{}"))
    with pytest.raises(VectorsError, match="whole numbers"):
        npz.load(tmp_path / "v.npz")
    changed(tmp_path / "v.json", layer_indices=layers)
    with pytest.raises(VectorsError):
        vllm_lens.load(tmp_path / "v.json")


def changed(path: Path, **fields: object) -> None:
    """A file for vLLM-Lens with some fields otherwise."""
    vllm_lens.save(ControlVector((3,), np.ones((1, 4), np.float32)), path)
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def test_vllm_lens_numbers_layers_in_words_too_and_its_matched_norms_are_refused(tmp_path: Path) -> None:
    changed(tmp_path / "v.json", layer_indices=["3"])
    assert vllm_lens.load(tmp_path / "v.json").layers == (3,)
    changed(tmp_path / "v.json", norm_match=True)
    with pytest.raises(VectorsError, match="norm_match"):
        vllm_lens.load(tmp_path / "v.json")
    changed(tmp_path / "v.json", foreshock=None)
    with pytest.raises(VectorsError, match="a table"):
        vllm_lens.load(tmp_path / "v.json")


def test_vllm_lens_gets_the_fields_of_its_model(tmp_path: Path) -> None:
    vector = ControlVector((4, 7), np.arange(6, dtype=np.float32).reshape(2, 3))
    vllm_lens.save(vector, tmp_path / "v.json")
    shown = json.loads((tmp_path / "v.json").read_text())
    assert (shown["layer_indices"], shown["scale"], shown["norm_match"]) == ([4, 7], 1.0, False)
    packed = shown["activations"]
    raw = np.frombuffer(base64.b64decode(packed["data"]), np.dtype(packed["dtype"])).reshape(packed["shape"])
    assert np.array_equal(raw, vector.values)


def test_a_vector_of_another_model_is_refused(plant: Planted) -> None:
    other = ControlVector((1,), np.ones((1, 128), np.float32), {"model": {"name": "other", "fingerprint": "00"}})
    small = ControlVector((1,), np.ones((1, 64), np.float32))
    for vector in (other, small):
        with pytest.raises(WrongModel), plant.model.steered(vector):
            pass


def test_spans_cannot_be_exported(plant: Planted) -> None:
    vectors = exact(plant.model, plant.directions, [1])
    with pytest.raises(SteeringError, match="all tokens"):
        ControlVector.of(Steering({"calm": 0.1}, vectors, span="reply"))


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.__name__.rsplit(".", 1)[-1])
@pytest.mark.parametrize("content", [None, b"", b"not such a file" * 20])
def test_a_file_that_is_none_is_said_in_one_sentence(form: ModuleType, content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "damaged"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(VectorsError, match="damaged"):
        form.load(path)
