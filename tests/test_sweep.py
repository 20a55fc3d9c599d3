"""A sweep finds what reads highest, adds up, resumes after kill -9, and reads bad documents' neighbours all the same."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from foreshock import sweep as module
from foreshock.activations import read_passages
from foreshock.errors import ForeshockError, OutputError, TextError
from foreshock.model.planted import EMOTIONS, Planted, cue
from foreshock.sweep import sweep
from foreshock.texts.corpus import Found
from foreshock.vectors import EmotionVectors
from foreshock.vectors.fitting import fit_vectors


@pytest.fixture(scope="module")
def vectors(plant: Planted) -> EmotionVectors:
    means = read_passages(plant.model, [plant.model.encode(p.text) for p in plant.passages], [1, 2])
    made_by = {"model": {"name": plant.model.name, "fingerprint": plant.model.fingerprint}}
    return fit_vectors(plant.passages, means, None, 2, manifest=made_by)


@pytest.fixture(scope="module")
def corpus() -> list[Found]:
    random = np.random.default_rng(0)
    found: list[Found] = []
    for k in range(60):
        told = list(random.choice([f"w{n}" for n in range(100)], 20))
        if k % 3 == 0:
            told[5:10] = [cue(EMOTIONS[k // 3 % 8], k % 6, 0)] * 5
        found.append((f"corpus, line {k + 1}", " ".join(told)))
    return found


def test_the_planted_passages_come_out_on_top(
    plant: Planted, vectors: EmotionVectors, corpus: list[Found], tmp_path: Path
) -> None:
    tops = sweep(plant.model, vectors, corpus, tmp_path / "state.json")
    assert tops.documents == tops.passages == 60
    for k, word in enumerate(EMOTIONS):
        planted_rows = {f"corpus, line {n + 1}" for n in range(60) if n % 3 == 0 and n // 3 % 8 == k}
        assert tops.by_passage[word][0].place in planted_rows
        best = tops.by_token[word][0]
        assert best.place in planted_rows and best.token is not None and best.values[best.token] == max(best.values)


def test_parts_add_up_in_any_order_and_blocks_change_nothing(
    plant: Planted, vectors: EmotionVectors, corpus: list[Found], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = sweep(plant.model, vectors, corpus, tmp_path / "whole.json")
    a, b = (sweep(plant.model, vectors, corpus[k::2], tmp_path / f"{k}.json") for k in range(2))
    assert (a + b).by_passage == (b + a).by_passage
    monkeypatch.setattr(module, "BLOCK", 7)
    blocks = sweep(plant.model, vectors, corpus, tmp_path / "blocks.json")
    for other in (a + b, blocks):
        assert {w: [h.place for h in hits] for w, hits in other.by_passage.items()} == {
            w: [h.place for h in hits] for w, hits in whole.by_passage.items()
        }


def test_long_documents_are_read_in_parts(plant: Planted, vectors: EmotionVectors, tmp_path: Path) -> None:
    tops = sweep(plant.model, vectors, [("x", "w1 " * 600)], tmp_path / "state.json")
    assert (tops.documents, tops.passages, tops.tokens) == (1, 3, 600)


def test_faults_are_counted_and_said(plant: Planted, vectors: EmotionVectors, tmp_path: Path) -> None:
    said: list[ForeshockError] = []
    corpus: list[Found] = [("a", "w1 w2"), ("b", TextError("b is wrong.")), ("c", "w3")]
    tops = sweep(plant.model, vectors, corpus, tmp_path / "state.json", complain=said.append)
    assert (tops.documents, tops.passages, tops.faults) == (3, 2, 1) and "b is wrong" in str(said[0])


def test_state_of_other_vectors_or_none_is_refused(plant: Planted, vectors: EmotionVectors, tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    sweep(plant.model, vectors, [("a", "w1")], state, corpus_id="one")
    with pytest.raises(OutputError, match="another corpus"):
        sweep(plant.model, vectors, [("a", "w1")], state, corpus_id="two")
    sweep(plant.model, vectors, [("a", "w1")], state, corpus_id="one")
    state.write_text("{")
    with pytest.raises(OutputError, match="no state"):
        sweep(plant.model, vectors, [("a", "w1")], state)


@pytest.mark.slow
def test_kill_9_then_the_same_result(
    plant: Planted, vectors: EmotionVectors, corpus: list[Found], plant_folder: Path, tmp_path: Path
) -> None:
    vectors.save(tmp_path / "vectors.safetensors")
    path = tmp_path / "corpus.jsonl"
    path.write_text("\n".join(json.dumps({"text": text}) for _, text in corpus * 20))
    code = "from foreshock import sweep; sweep.BLOCK = 8; from foreshock.cli import main; main()"
    command = [sys.executable, "-c", code, "sweep", tmp_path / "vectors.safetensors", path, "--model", plant_folder, "--dtype", "float32"]  # fmt: skip
    state = tmp_path / "killed" / "state.json"
    with subprocess.Popen([*command, "--out", state.parent], stderr=subprocess.DEVNULL) as process:
        while not state.exists():
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
    done_before = json.loads(state.read_text())["tops"]["documents"]
    assert 0 < done_before < 1200
    for folder in ("killed", "whole"):
        subprocess.run([*command, "--out", tmp_path / folder], check=True, capture_output=True)
    resumed, whole = (json.loads((tmp_path / folder / "sweep.json").read_text()) for folder in ("killed", "whole"))
    assert resumed == whole and whole["documents"] == 1200
    assert "<script>" in (tmp_path / "whole" / "sweep.html").read_text()
