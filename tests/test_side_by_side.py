"""Replies under several steerings: one row each, what they cost, and where characters of a message stand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from foreshock.errors import SteeringError, TooLong
from foreshock.model import LanguageModel
from foreshock.model.generation import generate
from foreshock.model.places import token_range
from foreshock.model.planted import EMOTIONS, Planted, cue
from foreshock.readings import read
from foreshock.side_by_side import compare, in_message
from foreshock.steering import Steering
from foreshock.texts.schema import Turn
from foreshock.vectors import EmotionVectors
from tests.architectures.families import word_tokenizer
from tests.exact_vectors import exact

MESSAGE = "w1 w2 w3 w4 w5 w6"


@pytest.fixture(scope="module")
def vectors(plant: Planted) -> EmotionVectors:
    """The planted directions themselves; steering at layer 1, reading at 2."""
    return exact(plant.model, plant.directions, (1, 2), norms=(2.0, 2.0), steering_layer=1)


def test_each_row_is_what_its_steering_gives_alone(plant: Planted, vectors: EmotionVectors) -> None:
    steerings = [Steering({"calm": size}, vectors) for size in (-0.5, 0.0, 0.5, 1.5)]
    told = compare(plant.model, vectors, MESSAGE, steerings, most=8)
    prompt = plant.model.encode([Turn(role="user", content=MESSAGE)], reply=True)
    alone = [next(generate(plant.model, [prompt], 8, steering=one)) for one in steerings]
    assert [one.text for one in told] == alone and len(set(alone)) > 1
    assert "calm" in told[3].text and "calm" not in told[1].text
    assert [one.steering for one in told] == steerings


@torch.inference_mode()
def test_loss_and_readings_are_those_of_the_unsteered_model(plant: Planted, vectors: EmotionVectors) -> None:
    steerings = [Steering({"calm": 1.5, "proud": 0.1}, vectors), Steering({"afraid": 0.0}, vectors)]
    steered, plain = compare(plant.model, vectors, MESSAGE, steerings, most=6)
    turns = [Turn(role="user", content=MESSAGE), Turn(role="assistant", content=steered.text)]
    prompt, whole = plant.model.encode(turns[:1], reply=True), plant.model.encode(turns)
    own = [k for k, turn in enumerate(whole.turns) if turn == 1 and whole.content[k]]
    assert own[0] == len(prompt)
    likely = plant.model.model(torch.tensor([whole.ids])).logits[0].log_softmax(-1)
    assert steered.loss == pytest.approx(-float(np.mean([float(likely[k - 1, whole.ids[k]]) for k in own])), abs=1e-4)
    (readings,) = read(plant.model, vectors, [whole])
    mean = dict(zip(readings.emotions, readings.values[own].mean(0), strict=True))
    assert steered.readings == pytest.approx({"calm": mean["calm"], "proud": mean["proud"]}, abs=1e-4)
    assert plain.loss is not None and plain.loss < steered.loss and list(plain.readings) == ["afraid"]


def test_sampling_repeats_with_its_seed(plant: Planted, vectors: EmotionVectors) -> None:
    steerings = [Steering({"calm": size}, vectors) for size in (0.0, 0.2)]
    once, again, other = (
        [one.text for one in compare(plant.model, vectors, MESSAGE, steerings, 8, temperature=1.0, seed=seed)]
        for seed in (3, 3, 4)
    )
    assert once == again != other


def test_an_empty_reply_has_neither_loss_nor_readings(plant: Planted, vectors: EmotionVectors) -> None:
    """The unembedding is changed so that *sad* means the end."""
    end = plant.model.tokenizer.eos_token_id
    head = plant.model.model.lm_head.weight
    kept = head[end].detach().clone()
    with torch.no_grad():
        head[end] += 50 * torch.from_numpy(plant.directions[EMOTIONS.index("sad")])
    try:
        stamped = EmotionVectors(**{**vars(vectors), "manifest": {"model": {"fingerprint": fresh(plant.model)}}})
        (told,) = compare(plant.model, stamped, MESSAGE, [Steering({"sad": 3.0}, stamped)], most=4)
    finally:
        with torch.no_grad():
            head[end] = kept
        fresh(plant.model)
    assert (told.text, told.loss, told.readings) == ("", None, {})


def fresh(model: LanguageModel) -> str:
    """The fingerprint, computed anew."""
    vars(model).pop("fingerprint", None)
    return model.fingerprint


def test_characters_of_a_message_are_placed_in_the_prompt(plant: Planted) -> None:
    model = plant.model
    message = f"w1 {cue('sad', 0, 0)} w1"
    prompt = model.encode([Turn(role="user", content=message)], reply=True)
    place = in_message(model, message, 3, 10)
    assert prompt.text[place.start : place.end] == cue("sad", 0, 0)
    tokens = token_range(place, prompt)
    assert isinstance(tokens, slice) and prompt.pieces()[tokens] == [cue("sad", 0, 0)]
    for start, end in ((3, 3), (0, 99), (-1, 2)):
        with pytest.raises(SteeringError, match="outside of a prompt"):
            in_message(model, message, start, end)


def test_a_model_without_a_template_is_given_a_transcript(plant: Planted, vectors: EmotionVectors) -> None:
    plain = LanguageModel(plant.model.model, word_tokenizer(), "plain")
    assert not plain.has_chat_template
    (told,) = compare(plain, vectors, "t5 t6", [Steering({"calm": 0.0}, vectors)], most=3)
    assert told.loss is not None and math.isfinite(told.loss)
    assert in_message(plain, "t5 t6", 3, 5).start == len("User: t5 ")


def test_a_prompt_beyond_the_context_is_refused(plant: Planted, vectors: EmotionVectors) -> None:
    with pytest.raises(TooLong):
        compare(plant.model, vectors, "w1 " * 600, [Steering({"calm": 0.1}, vectors)])
    with pytest.raises(TooLong, match="a reply of up to 60"):
        compare(plant.model, vectors, "w1 " * 480, [Steering({"calm": 0.1}, vectors)])
