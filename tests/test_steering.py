"""Emotions as writes: strengths in mean residual norms, several at once, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from foreshock.errors import SteeringError, UnknownEmotion, VectorsError, WrongModel
from foreshock.model.planted import EMOTIONS, Planted, planted
from foreshock.steering import BeyondRange, Steering
from foreshock.vectors import EmotionVectors
from tests.exact_vectors import exact


@pytest.fixture(scope="module")
def toy() -> Planted:
    return planted()


@pytest.fixture(scope="module")
def vectors(toy: Planted) -> EmotionVectors:
    """The planted directions themselves, at two layers."""
    return exact(toy.model, 3 * toy.directions, (0, 1), norms=(2.0, 4.0), steering_layer=0, usable_strength=0.5)


def test_a_strength_is_in_mean_residual_norms(toy: Planted, vectors: EmotionVectors) -> None:
    (write,) = Steering({"calm": 0.1}, vectors).writes(toy.model)
    assert write.layer == 0
    assert torch.allclose(write.vector, 0.1 * 2.0 * torch.from_numpy(toy.directions[EMOTIONS.index("calm")]))
    both = Steering({"calm": 0.3, "afraid": -0.4}, vectors, layers=(0, 1))
    assert both.strength == pytest.approx(0.5)  # the planted directions are orthogonal
    assert [float(write.vector.norm()) for write in both.writes(toy.model)] == pytest.approx([1.0, 2.0])


def test_a_steered_emotion_raises_its_word(toy: Planted, vectors: EmotionVectors) -> None:
    tokens = toy.model.encode("w1 w2 w3")
    word = toy.model.tokenizer.convert_tokens_to_ids("calm")

    def logit() -> float:
        return float(toy.model.model(torch.tensor([tokens.ids])).logits[0, -1, word])

    with torch.inference_mode():
        plain = logit()
        with toy.model.steered(Steering({"calm": 0.4}, vectors)):
            assert logit() > plain
        with toy.model.steered(Steering({"calm": -0.4}, vectors)):
            assert logit() < plain
        with toy.model.steered(Steering({"calm": 0.0}, vectors)):
            assert logit() == plain
        assert logit() == plain


def test_vectors_scaled_are_the_same_steering(toy: Planted, vectors: EmotionVectors) -> None:
    from dataclasses import replace

    longer = replace(vectors, directions=7 * vectors.directions)
    one, other = (Steering({"sad": 0.2}, v).writes(toy.model)[0].vector for v in (vectors, longer))
    assert torch.allclose(one, other)


def test_what_cannot_be_steered_is_said(toy: Planted, vectors: EmotionVectors, tmp_path: Path) -> None:
    with pytest.raises(UnknownEmotion):
        Steering({"clam": 0.1}, vectors)
    with pytest.raises(UnknownEmotion, match="These vectors have no"):
        Steering({"brooding": 0.1}, vectors)
    with pytest.raises(VectorsError, match="no layer 3"):
        Steering({"calm": 0.1}, vectors, layers=[3])
    with pytest.raises(SteeringError, match="finite number"):
        Steering({"calm": float("nan")}, vectors)
    with pytest.raises(WrongModel):
        Steering({"calm": 0.1}, vectors).writes(planted(seed=1).model)


def test_a_strength_beyond_the_measured_range_warns_with_it(toy: Planted, vectors: EmotionVectors) -> None:
    strong = Steering({"calm": 0.6}, vectors)
    with pytest.warns(BeyondRange, match="beyond 0.5"), toy.model.steered(strong):
        pass
    assert Steering({"calm": 0.5}, vectors).beyond() is None
