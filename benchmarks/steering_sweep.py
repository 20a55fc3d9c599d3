"""The steering sweep: situations × directions × strengths per second, against loops over two peers.

A cell is the log-odds of six replies to one situation under one vector at one strength. The peers set their vector on
the same model, run the six replies as one padded batch, and go on to the next cell. Foreshock is timed at finite
strengths, cell for cell the same numbers, and by slopes: one backward pass a situation, for as many directions as wanted.
Run: python -m benchmarks.steering_sweep
"""

from __future__ import annotations

import numpy as np
import torch

from benchmarks.measuring import interleaved, median, run_peer, save, show
from foreshock.behaviour.propensity import as_tree, doses, replies, slopes
from foreshock.model import LanguageModel, open_model
from foreshock.texts import propensity_items
from foreshock.texts.schema import PropensityItem

LAYER = 15
"""The embedded model's measured steering layer."""
DIRECTIONS, STRENGTHS = 8, (-0.2, -0.1, 0.1, 0.2)
MANY = 171 + 4000
"""Directions of the propensity experiment: the emotions and the random ones."""
ITEMS, PEER_ITEMS, PEER_DIRECTIONS = 6, 3, 2
"""Situations, and the smaller part that the slower loops are timed on."""
ROUNDS = 3
NORM = 168.0
"""About the mean residual norm at the layer; its exact value plays no part in the time."""
PEERS = {
    "steering-vectors 0.12.2": ("steering_vectors_sweep.py", ["torch==2.13.0", "steering-vectors==0.12.2"]),
    "repeng 0.4.0": ("repeng_sweep.py", ["torch==2.13.0", "repeng==0.4.0", "numpy<2"]),
}


def main() -> None:
    """Measure, print and save."""
    model = open_model()
    everything = propensity_items()
    items = everything[:: len(everything) // ITEMS][:ITEMS]
    tree = as_tree(model, items, LAYER)
    directions = np.random.default_rng(0).standard_normal((MANY, model.hidden)).astype(np.float32)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    writes = np.concatenate([strength * NORM * directions[:DIRECTIONS] for strength in STRENGTHS])
    contenders = {
        "doses": lambda: timed_doses(model, items, writes, tree),
        "slopes": lambda: timed_slopes(model, items, directions, tree),
    }
    for warm_up in contenders.values():
        warm_up()
    seconds = interleaved(contenders, ROUNDS)
    cells = {"doses": ITEMS * len(writes), "slopes": ITEMS * MANY}
    speeds = {f"foreshock, {name}": cells[name] / median(values) for name, values in seconds.items()}
    few = np.concatenate([strength * NORM * directions[:PEER_DIRECTIONS] for strength in STRENGTHS])
    peers = {name: peer(name, model, items[:PEER_ITEMS], few) for name in PEERS}
    speeds |= {name: PEER_ITEMS * len(few) / found["seconds"] for name, found in peers.items()}
    best = max(speeds[name] for name in PEERS)
    same = agreement(model, items[:PEER_ITEMS], few, tree, peers)
    show(
        f"Steering sweep at layer {LAYER} of {model.layers}, {str(model.dtype)[6:]}",
        ["", "cells/s", "times the faster peer"],
        [[name, f"{speed:,.1f}", f"{speed / best:,.1f}"] for name, speed in speeds.items()],
    )
    print(f"Correlation of the cells with those of the peers: {', '.join(f'{n} {r:.4f}' for n, r in same.items())}")
    ratios = {f"{name}_over_best_peer": speeds[f"foreshock, {name}"] / best for name in contenders}
    spread = {name: (max(values) - min(values)) / median(values) for name, values in seconds.items()}
    save("steering_sweep", ratios, {"cells_per_second": speeds, "agreement": same, "spread": spread, "rounds": ROUNDS, "layer": LAYER, "threads": torch.get_num_threads()})  # fmt: skip


def timed_doses(model: LanguageModel, items: list[PropensityItem], writes: np.ndarray, tree: bool) -> float:
    """Every cell at its strength."""
    doses(model, items, LAYER, writes, tree=tree)
    return 0.0


def timed_slopes(model: LanguageModel, items: list[PropensityItem], directions: np.ndarray, tree: bool) -> float:
    """The slopes of all directions in all situations."""
    slopes(model, items, LAYER, tree=tree).gradient @ directions.T
    return 0.0


def peer(name: str, model: LanguageModel, items: list[PropensityItem], writes: np.ndarray) -> dict:
    """Median seconds of a peer's loop over the same cells, and the log-odds it found."""
    script, requirements = PEERS[name]
    told = [[[reply.ids[: reply.end], reply.start] for reply in replies(model, item)] for item in items]
    job = {"items": told, "writes": writes.tolist(), "layer": LAYER, "rounds": ROUNDS}
    return run_peer(name.split()[0], script, requirements, model, job)


def agreement(
    model: LanguageModel, items: list[PropensityItem], writes: np.ndarray, tree: bool, peers: dict
) -> dict[str, float]:
    """Correlation of our cells with each peer's, so that the same thing is timed."""
    ours = doses(model, items, LAYER, writes, tree=tree).ravel()
    return {name: float(np.corrcoef(ours, np.ravel(found["cells"]))[0, 1]) for name, found in peers.items()}


if __name__ == "__main__":
    main()
