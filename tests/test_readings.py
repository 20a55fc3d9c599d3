from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreshock import readings as reading
from foreshock.activations import SKIP, read_passages
from foreshock.errors import TextError, VectorsError, WrongModel
from foreshock.model import Tokens, open_model
from foreshock.model.planted import Planted, cue, planted
from foreshock.readings import Readings, read, read_layers
from foreshock.texts import Turn
from foreshock.vectors import EmotionVectors
from foreshock.vectors.fitting import fit_vectors

HAPPY, SAD, ANGRY = (cue(word, 0, 1) + " " for word in ("happy", "sad", "angry"))


@pytest.fixture(scope="module")
def vectors(plant: Planted) -> EmotionVectors:
    means = read_passages(plant.model, [plant.model.encode(p.text) for p in plant.passages], [1, 2])
    made_by = {"model": {"name": plant.model.name, "fingerprint": plant.model.fingerprint}}
    return fit_vectors(plant.passages, means, None, reading_layer=2, manifest=made_by)


def test_the_mean_of_a_fitted_passage_is_its_standardised_projection(plant: Planted, vectors: EmotionVectors) -> None:
    passage = plant.passages[0]
    (readings,) = read(plant.model, vectors, [plant.model.encode(passage.text)])
    assert readings.values.shape == (len(readings.tokens), len(vectors))
    assert max(readings.mean(), key=lambda word: readings.mean()[word]) == passage.emotion
    means = read_passages(plant.model, [plant.model.encode(passage.text)], [2])
    readout = vectors.readout()
    by_hand = readout.W @ means.at(2)[0] + readout.b
    assert np.allclose(list(readings.mean().values()), by_hand, atol=1e-4)


def test_turns_and_frame(plant: Planted, vectors: EmotionVectors) -> None:
    talk = [Turn(role="user", content=HAPPY * 12), Turn(role="assistant", content=SAD * 12)]
    (readings,) = read(plant.model, vectors, [plant.model.encode(talk)])
    (_, user, asked), (_, assistant, answered) = readings.by_turn()
    assert (user, assistant) == ("user", "assistant")
    assert asked["happy"] > answered["happy"] and answered["sad"] > asked["sad"]
    frame = readings.to_frame()
    assert frame.columns[:5] == ["token", "start", "end", "role", "turn"] and len(frame) == len(readings.tokens)
    assert np.allclose(frame["calm"].to_numpy(), readings.values[:, readings.emotions.index("calm")])


def test_a_text_of_one_token_is_read(plant: Planted, vectors: EmotionVectors) -> None:
    (readings,) = read(plant.model, vectors, [plant.model.encode(ANGRY)])
    assert readings.top(1)[0][0] == "angry"


def test_other_layers_other_models_and_missing_layers(
    plant: Planted, vectors: EmotionVectors, plant_folder: Path
) -> None:
    tokens = plant.model.encode("w1 w2")
    assert next(read(plant.model, vectors, [tokens], layer=1)).layer == 1
    with pytest.raises(VectorsError, match="no layer 0"):
        next(read(plant.model, vectors, [tokens], layer=0))
    with pytest.raises(WrongModel):
        next(read(planted(seed=1).model, vectors, [tokens]))
    same = open_model(str(plant_folder), dtype="float32")
    assert len(list(read(same, vectors, [tokens, tokens]))) == 2


def test_several_layers_are_those_read_one_by_one(
    plant: Planted, vectors: EmotionVectors, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [plant.model.encode(f"{HAPPY * k} w1 {SAD}") for k in range(1, 12)]
    alone = [list(read(plant.model, vectors, texts, layer)) for layer in (2, 1)]
    monkeypatch.setattr(reading, "BLOCK_TOKENS", 40)  # several blocks
    together = list(read_layers(plant.model, vectors, iter(texts), [2, 1, 2]))
    assert len(together) == len(texts)
    for own, at_2, at_1 in zip(together, *alone, strict=True):
        assert [one.layer for one in own] == [2, 1, 2] and own[0].tokens is at_2.tokens
        for one, expected in zip(own, (at_2, at_1, at_2), strict=True):
            assert np.allclose(one.values, expected.values, atol=1e-4)
    assert next(read_layers(plant.model, vectors, texts))[0].layer == 2


def conversation(lengths: list[int], seed: int = 0) -> Readings:
    """Readings of turns with so many words each, one token of the template before each turn's words."""
    turns = [turn for turn, length in enumerate(lengths) for _ in range(length + 1)]
    content = [k > 0 for length in lengths for k in range(length + 1)]
    count = len(turns)
    tokens = Tokens("w" * count, [0] * count, [(k, k + 1) for k in range(count)], ["user"] * count, turns, content)
    return Readings(tokens, ("a", "b"), 1, np.random.default_rng(seed).normal(size=(count, 2)).astype(np.float32))


LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=5)


@given(LENGTHS, st.integers(1, 60))
def test_smoothing_keeps_a_constant_and_reaches_into_no_other_turn(lengths: list[int], window: int) -> None:
    readings = conversation(lengths)
    level = np.array(readings.tokens.turns, np.float32)[:, None].repeat(2, 1)  # constant within each turn
    assert np.allclose(replace(readings, values=level).smoothed(window).values, level, atol=1e-5)
    changed = readings.values.copy()
    first = np.array(readings.tokens.turns) == 0
    changed[first] += 1000
    kept = replace(readings, values=changed).smoothed(window).values[~first]
    assert np.array_equal(kept, readings.smoothed(window).values[~first])
    left = ~readings.counted()
    assert np.array_equal(readings.smoothed(window).values[left], readings.values[left])


@given(LENGTHS)
def test_a_window_of_one_changes_nothing(lengths: list[int]) -> None:
    readings = conversation(lengths)
    assert np.array_equal(readings.smoothed(1).values, readings.values)


@given(LENGTHS, st.integers(2, 60))
def test_smoothing_is_the_mean_of_the_neighbours_that_are_there(lengths: list[int], window: int) -> None:
    readings = conversation(lengths)
    found = readings.smoothed(window).values
    for turn in set(readings.tokens.turns):
        own = np.flatnonzero((np.array(readings.tokens.turns) == turn) & readings.counted())
        for place, k in enumerate(own):
            near = own[max(0, place - window // 2) : place + (window - 1) // 2 + 1]
            assert np.allclose(found[k], readings.values[near].mean(0), atol=1e-5)


def test_the_attention_sink_is_not_smoothed_into_its_neighbours() -> None:
    readings = conversation([40])
    readings.values[0] = -1000
    assert np.abs(readings.smoothed(32).values[SKIP:]).max() < 5
    with pytest.raises(TextError, match="A window of 0"):
        readings.smoothed(0)
