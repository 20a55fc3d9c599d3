"""Two real workers on a real Ray: the numbers of one process, and nothing done twice when one of them dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import ray
import torch

from foreshock import activations
from foreshock import sweep as sweeping
from foreshock.activations import read_passages
from foreshock.behaviour.propensity import slopes
from foreshock.errors import ForeshockError, ScaleError, TextError
from foreshock.model import LanguageModel, Tokens, open_model
from foreshock.model.planted import Planted
from foreshock.model.work import Tell
from foreshock.readings import read
from foreshock.scale.cluster import Opening, Share, cluster, share
from foreshock.scale.workers import RayWorkers
from foreshock.sweep import Tops, sweep
from foreshock.texts import stories
from foreshock.texts.corpus import documents
from foreshock.texts.schema import PropensityItem, Turn
from tests.cli.test_commands import run
from tests.exact_vectors import exact

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::ResourceWarning")]  # Ray's own sockets and files


@pytest.fixture(scope="module")
def alone(plant_folder: Path) -> LanguageModel:
    return open_model(str(plant_folder), "float32")


@pytest.fixture(scope="module")
def many(plant_folder: Path) -> Iterator[LanguageModel]:
    """The same model, whose work two workers do."""
    model = open_model(str(plant_folder), "float32")
    with cluster(num_cpus=4, object_store_memory=80_000_000):  # two for these workers, two for those of other drivers
        model.workers = RayWorkers(Opening.of(model, str(plant_folder), None), [Share(1, 0)] * 2)
        yield model


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver cuts, so the workers need not know."""
    monkeypatch.setattr(activations, "BLOCK", 4)
    monkeypatch.setattr(sweeping, "BLOCK", 7)


def texts_of(plant: Planted, model: LanguageModel, times: int = 1) -> list[Tokens]:
    return [model.encode(p.text) for p in plant.passages] * times


def slowly(model: LanguageModel, block: int, tell: Tell, log: Path) -> tuple[int, int]:
    """Leaves a line when it begins and one when it is done."""
    with open(log, "a") as lines:
        lines.write(f"begun {block}\n")
    time.sleep(0.1)
    tell(block)
    with open(log, "a") as lines:
        lines.write(f"done {block}\n")
    return block**2, os.getpid()


def test_spans_moments_and_progress_are_those_of_one_process(
    plant: Planted, alone: LanguageModel, many: LanguageModel, tmp_path: Path
) -> None:
    texts = texts_of(plant, alone)
    told: dict[str, list[tuple[int, int]]] = {"one": [], "two": []}
    one = read_passages(alone, texts, [-1, 1, 3], progress=lambda *said: told["one"].append(said))
    two = read_passages(many, texts, [-1, 1, 3], store=tmp_path, progress=lambda *said: told["two"].append(said))
    assert np.array_equal(one.values, two.values) and np.array_equal(one.tokens, two.tokens)
    assert one.moments.count == two.moments.count and np.array_equal(one.moments.total, two.moments.total)
    assert sorted(told["one"]) == sorted(told["two"])
    # The blocks that workers left are those that one process looks for.
    read: list[int] = []
    again = read_passages(alone, texts, [-1, 1, 3], store=tmp_path, progress=lambda _, tokens: read.append(tokens))
    assert sum(read) == 0 and np.array_equal(again.values, one.values)


def test_readings_come_in_order_and_are_those_of_one_process(
    plant: Planted, alone: LanguageModel, many: LanguageModel
) -> None:
    vectors, texts = exact(alone, plant.directions, (1, 2)), texts_of(plant, alone, times=12)
    one, two = read(alone, vectors, texts), read(many, vectors, iter(texts))
    for a, b in zip(one, two, strict=True):
        assert a.tokens == b.tokens and np.array_equal(a.values, b.values)


def test_a_sweep_keeps_what_one_process_keeps_and_hears_of_faults(
    plant: Planted, alone: LanguageModel, many: LanguageModel, tmp_path: Path
) -> None:
    vectors = exact(alone, plant.directions, (1, 2))
    corpus: list = [(f"line {k}", p.text) for k, p in enumerate(plant.passages)]
    corpus.insert(20, ("line 20b", TextError("line 20b is wrong.")))
    heard: list[ForeshockError] = []
    one = sweep(alone, vectors, corpus, tmp_path / "one.json")
    two = sweep(many, vectors, corpus, tmp_path / "two.json", complain=heard.append)
    assert one == two and [str(problem) for problem in heard] == ["line 20b is wrong."]


def test_both_work_and_a_killed_one_loses_nothing(many: LanguageModel, tmp_path: Path) -> None:
    log = tmp_path / "log"
    blocks = ((k, k) for k in range(40))
    found, heard, killed = {}, [], 0
    for number, (square, pid) in many.each(partial(slowly, log=log), blocks, heard.append):
        found[number] = square, pid
        if len(found) == 6:
            os.kill(pid, signal.SIGKILL)
            killed = pid
    assert {number: square for number, (square, _) in found.items()} == {k: k**2 for k in range(40)}
    pids = {pid for _, pid in found.values()}
    assert len(pids) == 3 and killed in pids  # two, and the one that came after
    assert sorted(heard) == list(range(40))
    lines = log.read_text().split("\n")
    done = [line for line in lines if line.startswith("done")]
    # The dead worker's two blocks are begun anew, and one that was done may have died before it was heard of.
    assert len(set(done)) == 40 and len(done) <= 41
    assert sum(line.startswith("begun") for line in lines) <= 42


def test_a_worker_killed_while_it_reads(
    plant: Planted, alone: LanguageModel, many: LanguageModel, tmp_path: Path
) -> None:
    texts = texts_of(plant, alone, times=8)
    workers = many.workers
    assert isinstance(workers, RayWorkers)
    pids, kept = workers.pids(), []

    def kill(*_: object) -> None:
        if pids and len(files := list(tmp_path.glob("*.safetensors"))) > 4:
            os.kill(pids.pop(), signal.SIGKILL)
            kept[:] = [(path, path.stat().st_mtime_ns) for path in files]
            pids.clear()

    # Each text once more, a little different, so that no two blocks are the same.
    distinct = [alone.encode(f"w{k % 100} w{k // 100} {text.text}") for k, text in enumerate(texts)]
    found = read_passages(many, distinct, [0, 2], store=tmp_path, progress=kill)
    assert not pids and kept and all(path.stat().st_mtime_ns == when for path, when in kept)
    assert np.array_equal(found.values, read_passages(alone, distinct, [0, 2]).values)


DRIVER = """
import sys
from pathlib import Path
from foreshock import activations
from foreshock.model import open_model
from foreshock.model.planted import planted
from foreshock.scale.cluster import Opening, Share, cluster
from foreshock.scale.workers import RayWorkers
activations.BLOCK = 4
folder, store, address = sys.argv[1:]
model = open_model(folder, "float32")
texts = [model.encode(f"w{k % 100} {p.text}") for k, p in enumerate(planted().passages * 8)]
with cluster(address):
    model.workers = RayWorkers(Opening.of(model, folder, None), [Share(1, 0)] * 2)
    activations.read_passages(model, texts, [0, 2], store=Path(store))
"""


def test_a_killed_driver_started_again_repeats_no_finished_block(
    plant: Planted, alone: LanguageModel, many: LanguageModel, plant_folder: Path, tmp_path: Path
) -> None:
    address = ray.get_runtime_context().gcs_address
    command = [sys.executable, "-W", "ignore", "-c", DRIVER, str(plant_folder), str(tmp_path), address]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        while len(list(tmp_path.glob("*.safetensors"))) < 5:
            assert process.poll() is None
            time.sleep(0.005)
        os.kill(process.pid, signal.SIGKILL)
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.safetensors")}
    assert 5 <= len(kept) < 96
    texts = [alone.encode(f"w{k % 100} {p.text}") for k, p in enumerate(plant.passages * 8)]
    found_again: list[int] = []
    found = read_passages(
        many, texts, [0, 2], store=tmp_path, progress=lambda count, tokens: found_again.append(0 if tokens else count)
    )
    assert all(path.stat().st_mtime_ns == when for path, when in kept.items())
    assert sum(found_again) >= 4 * len(kept)  # its workers may have ended a block after it was gone
    assert np.array_equal(found.values, read_passages(alone, texts, [0, 2]).values)


def test_what_goes_wrong_is_said(many: LanguageModel) -> None:
    assert share(2) == [Share(2, 0)] * 2
    with pytest.raises(ScaleError, match="5 workers do not fit on this Ray, which has a CPU for each of 4 at most"):
        share(5)
    with pytest.raises(TextError, match="block 2"):
        list(many.each(refuse, [(k, k) for k in range(4)]))


def test_a_busy_ray_is_told_of(many: LanguageModel, plant_folder: Path) -> None:
    with pytest.raises(ScaleError, match="busy: 2 of 4 CPUs are free, and 2 workers of 2 CPUs"):
        RayWorkers(Opening.of(many, str(plant_folder), None), share(2), patience=1)
    # What was asked for in vain is not held.
    assert RayWorkers(Opening.of(many, str(plant_folder), None), [Share(1, 0)] * 2, patience=20).pids()


def test_results_leave_the_store_of_ray(many: LanguageModel) -> None:
    kept = dict(many.each(large, ((k, k) for k in range(4))))
    assert all(values.flags.owndata and np.all(values == k) for k, values in kept.items())


def large(_model: LanguageModel, block: int, _tell: Tell) -> np.ndarray:
    return np.full(1_000_000, block, np.float32)


def test_the_embedded_model_in_bfloat16_reads_alike_with_as_many_threads(many: LanguageModel) -> None:
    model, threads = open_model(None, "bfloat16"), torch.get_num_threads()
    texts = [model.encode(story.text) for story in stories()[:8]]
    torch.set_num_threads(1)
    try:
        one = read_passages(model, texts, [-1, 15, 29])
    finally:
        torch.set_num_threads(threads)
    model.workers = RayWorkers(Opening.of(model, None, None), [Share(1, 0)] * 2)
    assert np.array_equal(read_passages(model, texts, [-1, 15, 29]).values, one.values)


def refuse(_model: LanguageModel, block: int, _tell: Tell) -> None:
    if block == 2:
        raise TextError("The block 2 is refused.")


def test_the_command_line_sweeps_on_a_ray_of_its_own(
    plant: Planted, alone: LanguageModel, plant_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeping, "BLOCK", 256)  # as the command line has it
    kept, corpus = tmp_path / "vectors.safetensors", tmp_path / "corpus.jsonl"
    made_by = {"model": {"name": "planted", "fingerprint": alone.fingerprint}}
    vectors = exact(alone, plant.directions, (1, 2), manifest=made_by)
    vectors.save(kept)
    corpus.write_text("\n".join(json.dumps({"text": p.text}) for p in plant.passages * 12))
    own = ("--model", plant_folder, "--dtype", "float32", "--out", tmp_path, "--ray", "local", "--workers", "2")
    run("sweep", kept, corpus, *own)
    one = sweep(alone, vectors, documents(corpus), tmp_path / "one.json")
    assert Tops.from_json(json.loads((tmp_path / "sweep.json").read_text())) == one and one.documents == 576


def test_gradients_are_those_of_one_process(alone: LanguageModel, many: LanguageModel) -> None:
    items = [
        PropensityItem(
            id=f"{k}", family="x", stakes="everyday", turns=(Turn(role="user", content=f"w1 w{k}"),),
            misaligned=("w3 w4", "w3 w5", "w3 w6"), aligned=("w7 w4", "w7 w5", "w7 w6"),
        )
        for k in range(8)
    ]  # fmt: skip
    one, two = (slopes(model, items, 1, tree=True) for model in (alone, many))
    assert np.array_equal(one.gradient, two.gradient) and np.array_equal(one.propensity, two.propensity)
