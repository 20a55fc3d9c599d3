"""Vectors behave like vectors, and their file describes itself."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from foreshock.errors import UnknownEmotion, VectorsError, WrongModel
from foreshock.readings import project
from foreshock.vectors import EmotionVectors
from foreshock.vectors.estimation import unit


def some_vectors(seed: int = 0, layers: int = 3, hidden: int = 8) -> EmotionVectors:
    random = np.random.default_rng(seed)
    words = ("happy", "calm", "sad")
    return EmotionVectors(
        emotions=words,
        layers=tuple(range(layers)),
        directions=random.standard_normal((layers, 3, hidden)).astype(np.float32),
        mean=random.standard_normal((layers, hidden)).astype(np.float32),
        spread=random.uniform(0.5, 2, (layers, 3)).astype(np.float32),
        residual_norm=random.uniform(5, 9, layers).astype(np.float32),
        neutral=tuple(np.zeros((k, hidden), np.float32) for k in range(layers)),
        reading_layer=1,
        manifest={"model": {"name": "toy", "fingerprint": "abc"}, "seed": seed},
    )


@given(st.integers(0, 1000), st.integers(1, 4))
def test_save_and_load_round_trips(tmp_path: Path, seed: int, layers: int) -> None:
    vectors = some_vectors(seed, max(layers, 2))
    vectors.save(tmp_path / "v.safetensors")
    loaded = EmotionVectors.load(tmp_path / "v.safetensors")
    for name in ("directions", "mean", "spread", "residual_norm"):
        assert np.array_equal(getattr(loaded, name), getattr(vectors, name))
    assert (loaded.emotions, loaded.layers, loaded.reading_layer, loaded.manifest) == (
        vectors.emotions,
        vectors.layers,
        vectors.reading_layer,
        vectors.manifest,
    )
    assert [b.shape for b in loaded.neutral] == [b.shape for b in vectors.neutral]


def test_a_truncated_file_is_said(tmp_path: Path) -> None:
    path = tmp_path / "v.safetensors"
    some_vectors().save(path)
    whole = path.read_bytes()
    for keep in (0, 5, 200, len(whole) - 1):
        path.write_bytes(whole[:keep])
        with pytest.raises(VectorsError, match="damaged"):
            EmotionVectors.load(path)


def test_other_files_newer_formats_and_missing_files_are_said(tmp_path: Path) -> None:
    with pytest.raises(VectorsError, match="foreshock study"):
        EmotionVectors.load(tmp_path / "none.safetensors")
    save_file({"a": np.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(VectorsError, match="without Foreshock's header"):
        EmotionVectors.load(tmp_path / "other.safetensors")
    save_file({"a": np.zeros(2)}, tmp_path / "newer.safetensors", {"foreshock": json.dumps({"format": 99})})
    with pytest.raises(VectorsError, match="format 99.*update"):
        EmotionVectors.load(tmp_path / "newer.safetensors")


def test_another_model_is_refused() -> None:
    some_vectors().check_model("abc", "toy")
    with pytest.raises(WrongModel, match=r"made on toy \(abc\), not on other \(def\)"):
        some_vectors().check_model("def", "other")


def test_nan_is_refused() -> None:
    good = some_vectors()
    with pytest.raises(VectorsError, match="NaN"):
        EmotionVectors(**{**vars(good), "mean": good.mean * np.nan})


def test_unknown_emotions_and_layers_are_said() -> None:
    with pytest.raises(UnknownEmotion, match="have no 'afraid'; they have: happy, calm, sad"):
        some_vectors()["afraid"]
    with pytest.raises(UnknownEmotion, match="did you mean"):
        some_vectors()["hapy"]
    with pytest.raises(VectorsError, match="no layer 7"):
        some_vectors().at(7)
    assert "calm" in some_vectors() and "afraid" not in some_vectors() and len(some_vectors()) == 3


def test_arithmetic() -> None:
    v = some_vectors()
    happy, calm = v["happy"], v["calm"]
    assert np.allclose((2 * happy - happy).values, happy.values)
    assert np.allclose((happy + calm - calm).values, happy.values, atol=1e-6)
    assert np.allclose((happy / 4 * 4).values, happy.values)
    assert np.allclose((-happy).values, (happy * -1).values)
    assert np.allclose((happy - happy).values, 0)
    assert np.allclose(happy.cosine(3 * happy), 1, atol=1e-6) and np.allclose(happy.cosine(-happy), -1, atol=1e-6)
    assert np.allclose(np.linalg.norm(happy.unit().values, axis=1), 1)
    assert np.allclose(v.cosines(1)[0, 1], happy.cosine(calm)[1], atol=1e-6)
    with pytest.raises(VectorsError, match="one file"):
        happy + some_vectors(layers=2)["happy"]


def test_the_readout_is_the_standardised_projection() -> None:
    v = some_vectors()
    residuals = np.random.default_rng(1).standard_normal((5, 8)).astype(np.float32)
    by_hand = (residuals - v.mean[2]) @ unit(v.directions[2]).T / v.spread[2]
    assert np.allclose(project(v.readout(2), residuals), by_hand, atol=1e-5)
    only = v.readout(2, ["sad"])
    assert only.emotions == ("sad",) and np.allclose(project(only, residuals)[:, 0], by_hand[:, 2], atol=1e-5)
