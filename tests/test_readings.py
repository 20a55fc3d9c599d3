from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from foreshock.activations import read_passages
from foreshock.errors import VectorsError, WrongModel
from foreshock.model import open_model
from foreshock.model.planted import Planted, cue, planted
from foreshock.readings import read
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
