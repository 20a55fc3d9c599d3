"""Models that have learnt nothing: words survive in the stirred one, and its blocks are random."""

from __future__ import annotations

import torch

from foreshock.model.planted import Planted
from foreshock.model.untrained import stirred, untrained
from foreshock.study.running import run_study


def test_the_stirred_twin_keeps_the_words_and_loses_what_the_blocks_knew(plant: Planted) -> None:
    twin = stirred(plant.model)
    own, other = (m.model.get_input_embeddings().weight for m in (plant.model, twin))
    assert torch.equal(own, other) and twin.fingerprint != plant.model.fingerprint
    found = {f.id: f.verdict for f in run_study(twin, plant.library, only=["separability", "scenarios"]).findings}
    assert "holds" not in found.values()  # the planted emotions live in the blocks


def test_an_untrained_model_is_the_same_for_the_same_seed(plant: Planted) -> None:
    a, b, c = (untrained(plant.model.tokenizer, seed).fingerprint for seed in (0, 0, 1))
    assert a == b != c
