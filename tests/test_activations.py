"""Passage means: resumable, mergeable, the same however they are cut."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from foreshock import activations
from foreshock.activations import Moments, read_passages, read_tokens
from foreshock.errors import NotFinite, TextError
from foreshock.model.planted import Planted, planted


def test_moments_of_shards_add_up_to_moments_of_the_whole(plant: Planted) -> None:
    texts = [plant.model.encode(p.text) for p in plant.passages]
    whole = read_passages(plant.model, texts, [0, 3])
    parts = [read_passages(plant.model, texts[k::3], [0, 3]) for k in range(3)]
    merged = sum((part.moments for part in parts), Moments.zero(2, plant.model.hidden))
    assert merged.count == whole.moments.count
    assert np.allclose(merged.mean, whole.moments.mean, atol=1e-6)
    assert np.allclose(merged.mean_norm, whole.moments.mean_norm, rtol=1e-6)


@given(st.integers(1, 50))
def test_the_size_of_a_block_changes_nothing(block: int) -> None:
    plant = planted()
    texts = [plant.model.encode(p.text) for p in plant.passages[:12]]
    whole = read_passages(plant.model, texts, [2])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(activations, "BLOCK", block)
        assert np.allclose(read_passages(plant.model, texts, [2]).values, whole.values, atol=1e-6)


def test_finished_blocks_are_not_read_again_and_damaged_ones_are(plant: Planted, tmp_path: Path) -> None:
    texts = [plant.model.encode(p.text) for p in plant.passages]
    first = read_passages(plant.model, texts, [1], store=tmp_path)
    read: list[int] = []
    again = read_passages(plant.model, texts, [1], store=tmp_path, progress=lambda _, tokens: read.append(tokens))
    assert sum(read) == 0 and np.array_equal(first.values, again.values)
    (block,) = tmp_path.iterdir()
    block.write_bytes(block.read_bytes()[:500])
    mended = read_passages(plant.model, texts, [1], store=tmp_path, progress=lambda _, tokens: read.append(tokens))
    assert sum(read) > 0 and np.array_equal(first.values, mended.values)


def test_another_recipe_does_not_take_the_same_block(plant: Planted, tmp_path: Path) -> None:
    texts = [plant.model.encode(p.text) for p in plant.passages[:4]]
    a = read_passages(plant.model, texts, [1], store=tmp_path)
    b = read_passages(plant.model, texts, [1], skip=0, store=tmp_path)
    assert len(list(tmp_path.iterdir())) == 2 and not np.array_equal(a.values, b.values)


KILLED = """
import sys, time
from pathlib import Path
from foreshock import activations
from foreshock.model.planted import planted
activations.BLOCK = 8
plant = planted()
texts = [plant.model.encode(p.text) for p in plant.passages]
print("go", flush=True)
activations.read_passages(plant.model, texts, [0, 2], store=Path(sys.argv[1]), progress=lambda *_: time.sleep(0.2))
"""


def test_kill_9_at_any_time_then_the_same_numbers(
    plant: Planted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE) as process:
        assert process.stdout and process.stdout.readline().strip() == b"go"
        while not list(tmp_path.glob("*.safetensors")):
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
    monkeypatch.setattr(activations, "BLOCK", 8)
    texts = [plant.model.encode(p.text) for p in plant.passages]
    finished = len(list(tmp_path.glob("*.safetensors")))
    assert 0 < finished < len(texts) / 8
    read: list[int] = []
    resumed = read_passages(plant.model, texts, [0, 2], store=tmp_path, progress=lambda _, tokens: read.append(tokens))
    assert sum(tokens == 0 for tokens in read) == finished
    assert np.array_equal(resumed.values, read_passages(plant.model, texts, [0, 2]).values)


def test_a_layer_the_model_lacks_and_no_texts_are_said(plant: Planted) -> None:
    text = plant.model.encode("w1 w2")
    with pytest.raises(TextError, match="layers -1 … 3"):
        read_passages(plant.model, [text], [4])
    with pytest.raises(TextError, match="no texts"):
        read_passages(plant.model, [], [1])


def test_nan_activations_are_said() -> None:
    plant = planted()
    with torch.no_grad():
        plant.model.anatomy.layers[1].mlp.down_proj.weight[:] = float("nan")
    text = plant.model.encode("w1 w2 w3")
    with pytest.raises(NotFinite, match="layer 1 are NaN.*float32"):
        read_passages(plant.model, [text], [1])
    assert read_passages(plant.model, [text], [0]).values.shape == (1, 1, plant.model.hidden)


def test_token_residuals_come_in_the_texts_order(plant: Planted) -> None:
    texts = [plant.model.encode(" ".join(f"w{k}" for k in range(n))) for n in (3, 40, 11)]
    found = list(read_tokens(plant.model, texts, 2))
    assert [len(f) for f in found] == [3, 40, 11]
    alone = next(iter(read_tokens(plant.model, [texts[2]], 2)))
    assert torch.allclose(found[2], alone, atol=1e-5)
