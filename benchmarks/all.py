"""All of speed in one table: extraction, corpus reading, steering sweep, watched generation, cold start, memory.

Each against the ceiling (what the bare model could do) and against peers in their own virtual environments, on the same
weights, texts, number format and threads. Contenders take turns within a round, and Foreshock runs again next to every
peer, so ratios are of neighbours in time. Both clocks are kept: on a machine that others use as well, the processor's
(`cpu`) says more than the wall's.
Run: python -m benchmarks.all [STUDY]  — a study's folder, by default study/embedded-full.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import growth, watching
from benchmarks.ceiling import ceiling
from benchmarks.measuring import RESULTS, for_older_transformers, median, save, show
from benchmarks.peer import PEERS, Peer, python_of, versions_of
from foreshock.activations import read_passages
from foreshock.behaviour.propensity import as_tree, doses, replies, slopes
from foreshock.emotions import core
from foreshock.files import write_text
from foreshock.model import LanguageModel, open_model
from foreshock.monitor.monitor import Monitor
from foreshock.monitor.store import Store
from foreshock.readings import read
from foreshock.texts import propensity_items, stories
from foreshock.texts.schema import Turn
from foreshock.vectors import EmotionVectors

ROUNDS, STORIES, ITEMS = (
    int(os.environ.get(f"BENCH_{name}", most)) for name, most in (("ROUNDS", 3), ("STORIES", 48), ("ITEMS", 3))
)
"""Fewer of each for a run on a busy machine."""
LAYER = 20
"""About two thirds of the embedded model's 30 layers, where the study extracted."""
BATCH, NEW = 16, 24
SWEEP_LAYER, DIRECTIONS, STRENGTHS, NORM = 15, 8, (-0.2, -0.1, 0.1, 0.2), 168.0
PEER_WRITES = 4
"""Of all writes, those that the peers are timed on: theirs cost the same each, ours share what lies below the layer."""
WRITES = DIRECTIONS * len(STRENGTHS)
MANY = 171 + 4000
"""Directions of the propensity experiment, the emotions and the random ones, whose slopes are timed besides."""
TASKS = {
    "extraction": ("extraction", "steering-vectors repeng nnsight transformer-lens transformers"),
    "reading": ("corpus reading", "nnsight transformer-lens transformers"),
    "sweep": ("steering sweep", "steering-vectors repeng nnsight transformer-lens transformers"),
}
Times = dict[str, float]


def main(study: Path) -> None:
    """Measure, print, save and add to the history."""
    model = open_model()
    vectors = EmotionVectors.load(study / "vectors.safetensors")
    contenders, job = _prepared(model, vectors)
    load = os.getloadavg()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        for_older_transformers(model, path)
        (path / "job.json").write_text(json.dumps(job | {"model": folder}))
        found = _rounds(contenders, path)
        write_text(RESULTS / "bench.part.json", json.dumps(found))  # of a run that is broken off
        generation = _generation(model, vectors, path)
    peaks = {"foreshock": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024} | found.pop("peaks")
    cold = {name: _cold(name) for name in ("foreshock", *PEERS)}
    grown = growth.measured()
    versions = {name: versions_of(name) for name in PEERS}
    rows, ratios = _summary(found, generation, job)
    ratios |= growth.ratios(grown)
    setting = f"{model.name}, {str(model.dtype)[6:]}, {job['threads']} thread(s), {ROUNDS} rounds, load {load[0]:.1f}"
    same = _agreement(found["sweep"])
    show(setting, ["", "contender", "a second (CPU)", "foreshock is × (CPU)", "from", "to", "× (wall)"], rows)
    print("Correlation of the sweep's cells with the peers':", ", ".join(f"{n} {r:.4f}" for n, r in same.items()))
    show("Cold start and peak memory", ["", "s to start", "peak MB", "version"], [
        [name, f"{cold[name]:.2f}", f"{peaks.get(name, 0):,.0f}", versions.get(name, {}).get(name, "")] for name in cold
    ])  # fmt: skip
    growth.table(grown)
    details = {
        "rounds": found,
        "agreement": same,
        "generation": generation,
        "cold_start": cold,
        "peak_mb": peaks,
        "growth": grown,
    }
    amounts = {"tokens": job["tokens"], "items": ITEMS, "writes": WRITES, "threads": job["threads"]}
    save("bench", ratios, {**details, "peers": versions, "load": load, **amounts})
    (RESULTS / "bench.part.json").unlink()
    _remember(ratios, load[0])


def _prepared(model: LanguageModel, vectors: EmotionVectors) -> tuple[dict[str, Callable[[], Any]], dict[str, Any]]:
    """What Foreshock and the bare model do, and the same work as a job for the peers."""
    passages = stories(core(), split="fit")
    texts = [p.text for p in passages[:: len(passages) // STORIES][:STORIES]]
    encoded = [model.encode(text) for text in texts]
    tokens = sum(map(len, encoded))  # each contender makes its own, within its time
    everything = propensity_items()
    items = everything[:: len(everything) // ITEMS][:ITEMS]
    tree = as_tree(model, items, SWEEP_LAYER)
    directions = np.random.default_rng(0).standard_normal((MANY, model.hidden)).astype(np.float32)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    writes = np.concatenate([strength * NORM * directions[:DIRECTIONS] for strength in STRENGTHS])
    told = [[[reply.ids[: reply.end], reply.start] for reply in replies(model, item)] for item in items]
    readout = vectors.readout()
    prompt = model.encode_transcript([Turn(role="user", content="Tell me about a storm at sea.")], reply=True)

    def reading() -> None:
        for _ in read(model, vectors, map(model.encode, texts), readout.layer):
            pass

    contenders: dict[str, Callable[[], Any]] = {
        "extraction ceiling": lambda: ceiling(model, tokens, LAYER),
        "extraction": lambda: read_passages(model, map(model.encode, texts), [LAYER]).tokens.tolist(),
        "reading ceiling": lambda: ceiling(model, tokens, readout.layer),
        "reading": reading,
        "sweep": lambda: doses(model, items, SWEEP_LAYER, writes, tree=tree).tolist(),
        "sweep slopes": lambda: (slopes(model, items, SWEEP_LAYER, tree=tree).gradient @ directions.T).shape,
    }
    job = {"dtype": str(model.dtype)[6:], "threads": torch.get_num_threads(), "texts": texts, "batch": BATCH}
    job |= {"layer": LAYER, "readout": readout.W.T.tolist(), "items": told}
    job |= {"writes": writes[:PEER_WRITES].tolist(), "reading_layer": readout.layer}
    return contenders, job | {"sweep_layer": SWEEP_LAYER, "prompt": prompt.ids, "new": NEW, "tokens": tokens}


def _timed(work: Callable[[], Any]) -> dict[str, Any]:
    begun, cpu = time.perf_counter(), time.process_time()
    result = work()
    return {"seconds": time.perf_counter() - begun, "cpu": time.process_time() - cpu, "result": result}


def _rounds(contenders: dict[str, Callable[[], Any]], folder: Path) -> dict[str, Any]:
    """Rounds of all tasks: beside each peer's time stand ours and the ceiling's, measured just before it."""
    found: dict[str, Any] = {task: {} for task in TASKS}
    peaks = {}
    with contextlib.ExitStack() as stack:
        peers = {name: stack.enter_context(Peer(name, folder / "job.json", folder / f"{name}.log")) for name in PEERS}
        for number in range(ROUNDS + 1):  # the first warms up
            for task, (_, able) in TASKS.items():
                for name in able.split():
                    own = {kind: _timed(contenders[kind]) for kind in contenders if kind.split()[0] == task}
                    theirs = peers[name].ask(task)
                    peaks[name] = theirs.pop("peak_mb")
                    if number:
                        found[task].setdefault(name, []).append({"peer": theirs, **own})
            if number:
                bare = {**peers["transformers"].ask("bare_cells")}
                own = {kind: _timed(contenders[kind]) for kind in ("sweep", "sweep slopes")}
                found["sweep"].setdefault("bare passes", []).append({"peer": bare, **own})
            print(f"round {number} of {ROUNDS}", file=sys.stderr)
        made = {}
        for name in ("nnsight", "transformer-lens", "transformers"):
            peers[name].ask("bare"), peers[name].ask("watched")
            made[name] = [{kind: peers[name].ask(kind) for kind in ("bare", "watched")} for _ in range(ROUNDS)]
    return {**found, "peers_generation": made, "peaks": peaks}


@torch.inference_mode()
def _generation(model: LanguageModel, vectors: EmotionVectors, folder: Path) -> dict[str, list[dict]]:
    """Pairs of a bare and a watched generation, one stream and eight."""
    rules = watching._rules(model, vectors)
    prompt = model.encode_transcript([Turn(role="user", content="Tell me about a storm at sea.")], reply=True)
    found: dict[str, list[dict]] = {}
    reading = vectors.reading_layer
    for rows in watching.ROWS:
        ids = torch.tensor([prompt.ids] * rows)
        given = {
            "attention_mask": torch.ones_like(ids),
            "max_new_tokens": NEW,
            "min_new_tokens": NEW,
            "do_sample": False,
        }
        with Store.open(folder / f"kept{rows}.db") as store:
            monitor = Monitor(model, vectors, rules, layers=[reading - 5, reading, reading + 5], store=store)

            def bare(ids: torch.Tensor = ids, given: dict = given) -> None:
                model.model.generate(ids, **given)

            def watched(bare: Callable[[], None] = bare, monitor: Monitor = monitor, rows: int = rows) -> None:
                monitor.expect([prompt] * rows)
                with monitor:
                    bare()

            bare(), watched()
            found[str(rows)] = [{"bare": _timed(bare), "watched": _timed(watched)} for _ in range(3 * ROUNDS)]
    return found


def _cold(name: str) -> float:
    """Median seconds until a fresh process has the peer imported, or Foreshock's command line has answered."""
    program = f"import {PEERS[name][2]}" if name in PEERS else (
        "import sys; sys.argv = ['foreshock', '--help']; from foreshock.cli import main; main()"
    )  # fmt: skip
    python = python_of(name) if name in PEERS else sys.executable

    def start() -> None:
        subprocess.run([python, "-c", program], capture_output=True, check=False)

    start()
    return median([_timed(start)["seconds"] for _ in range(3)])


def _summary(found: dict[str, Any], generation: dict[str, list[dict]], job: dict[str, Any]) -> tuple[list[list[str]], dict[str, float]]:  # fmt: skip
    """Rows of the table, and the ratios that the targets are about."""
    rows, ratios = [], {}
    for task, (title, _) in TASKS.items():
        amount, unit = (ITEMS * WRITES, "cells") if task == "sweep" else (job["tokens"], "tokens")
        theirs = ITEMS * PEER_WRITES if task == "sweep" else amount
        own = [one[task] for rounds in found[task].values() for one in rounds]
        rows.append(
            [f"{title}, {unit}", "foreshock", f"{amount / median([o['cpu'] for o in own]):,.1f}", "", "", "", ""]
        )
        against = {name: [(one["peer"], one[task]) for one in rounds] for name, rounds in found[task].items()}
        if task == "sweep":
            many = [one["sweep slopes"]["cpu"] for rounds in found[task].values() for one in rounds]
            rows.append(["", f"foreshock, slopes of {MANY:,}", f"{ITEMS * MANY / median(many):,.0f}", "", "", "", ""])
        else:
            against["ceiling"] = [
                (one[f"{task} ceiling"], one[task]) for rounds in found[task].values() for one in rounds
            ]
        for name, pairs in against.items():
            times, walls = (
                [their[clock] / theirs / (our[clock] / amount) for their, our in pairs] for clock in ("cpu", "seconds")
            )
            speed = theirs / median([their["cpu"] for their, _ in pairs])
            spread = (median(times), min(times), max(times), median(walls))
            rows.append(["", name, f"{speed:,.1f}", *(f"{x:.2f}" for x in spread)])
            ratios[f"{task}_over_{name}"] = median(times)
        least = min(value for key, value in ratios.items() if key.startswith(task) and key.split("_over_")[1] in PEERS)
        ratios[f"{task}_over_best_peer"] = least
    watched = {f"foreshock, {n} stream(s)": pairs for n, pairs in generation.items()} | found["peers_generation"]
    for name, pairs in watched.items():
        times = [pair["watched"]["cpu"] / pair["bare"]["cpu"] for pair in pairs]
        wall = median([pair["watched"]["seconds"] / pair["bare"]["seconds"] for pair in pairs])
        rows.append(
            [
                "watched / bare generation",
                name,
                "",
                *(f"{x:.3f}" for x in (median(times), min(times), max(times), wall)),
            ]
        )
        ratios[f"watched_over_bare, {name}"] = median(times)
    return rows, ratios


def _agreement(sweep: dict[str, list[dict]]) -> dict[str, float]:
    """Correlation of our cells with each peer's, so that the same thing is timed."""
    ours = {name: np.array(rounds[-1]["sweep"]["result"])[:, :PEER_WRITES] for name, rounds in sweep.items()}
    return {
        name: float(np.corrcoef(ours[name].ravel(), np.ravel(rounds[-1]["peer"]["result"]))[0, 1])
        for name, rounds in sweep.items()
        if name in PEERS
    }


def _remember(ratios: dict[str, float], load: float) -> None:
    """One line a run, so that a change for the worse shows."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    line = {"date": datetime.now(UTC).date().isoformat(), "commit": commit, "load": round(load, 1), "ratios": {k: round(v, 3) for k, v in ratios.items()}}  # fmt: skip
    with (RESULTS / "history.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "study/embedded-full"))
