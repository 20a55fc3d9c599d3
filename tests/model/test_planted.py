"""What is planted is recovered; with shuffled labels it is not."""

from __future__ import annotations

import numpy as np

from foreshock.activations import read_passages
from foreshock.model.planted import EMOTIONS, Planted
from foreshock.model.proofs import prove
from foreshock.study.nulls import generator
from foreshock.vectors.estimation import unit
from foreshock.vectors.fitting import fit_vectors


def cosines(plant: Planted, labels: list[str]) -> np.ndarray:
    """Cosine of each fitted direction with the planted one."""
    passages = [p.model_copy(update={"emotion": label}) for p, label in zip(plant.passages, labels, strict=True)]
    means = read_passages(plant.model, [plant.model.encode(p.text) for p in passages], [2])
    neutral = read_passages(plant.model, [plant.model.encode_transcript(d.turns) for d in plant.neutral], [2])
    vectors = fit_vectors(passages, means, neutral, reading_layer=2)
    truth = unit(plant.directions - plant.directions.mean(0))
    order = [EMOTIONS.index(word) for word in vectors.emotions]
    return (unit(vectors.at(2)) * truth[order]).sum(1)


def test_extraction_recovers_the_planted_directions(plant: Planted) -> None:
    assert cosines(plant, [p.emotion for p in plant.passages]).min() > 0.9


def test_shuffled_labels_recover_nothing(plant: Planted) -> None:
    labels = np.array([p.emotion for p in plant.passages])
    shuffled = generator(0, "test").permutation(labels)
    assert np.abs(cosines(plant, list(shuffled))).mean() < 0.5


def test_the_logit_lens_names_the_emotion(plant: Planted) -> None:
    import torch

    logits = plant.model.unembed(torch.from_numpy(plant.directions))
    tops = [plant.model.tokenizer.decode([int(token)]) for token in logits.argmax(1)]
    assert tops == list(EMOTIONS)
    assert torch.allclose(plant.model.unembed(7 * torch.from_numpy(plant.directions)), logits, atol=1e-4)


def test_it_passes_the_conformance_suite(plant: Planted) -> None:
    assert any(proof.part == "chat template" and "present" in proof.shown for proof in prove(plant.model))
