"""Extraction in tokens per second: Foreshock against the ceiling and against two peers.

The ceiling is the same model cut after the same layer, run over full batches without padding, with nothing
captured. The peers read the same texts in the same dtype with the batch size that our token budget gives.
Run: python -m benchmarks.extraction
"""

from __future__ import annotations

import resource

import torch

from benchmarks.measuring import interleaved, median, run_peer, save, show
from foreshock.activations import read_passages
from foreshock.emotions import core
from foreshock.model import LanguageModel, Tokens, open_model
from foreshock.texts import stories

LAYER = 20
"""About two thirds of the embedded model's 30 layers, where the study read."""
BUDGET = 2048
ROUNDS = 5
PEERS = {
    "steering-vectors 0.12.2": ("steering_vectors_peer.py", ["torch==2.13.0", "steering-vectors==0.12.2"]),
    "repeng 0.4.0": ("repeng_peer.py", ["torch==2.13.0", "repeng==0.4.0", "numpy<2"]),
}


def main() -> None:
    """Measure, print and save."""
    model = open_model()
    texts = stories(core(), split="fit")
    encoded = [model.encode(p.text) for p in texts]
    tokens = sum(map(len, encoded))
    rows = max(1, BUDGET // (tokens // len(encoded)))
    contenders = {
        "ceiling": lambda: ceiling(model, tokens),
        "foreshock": lambda: ours(model, encoded),
    }
    ours(model, encoded[:32])
    seconds = interleaved(contenders, ROUNDS)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    speeds = {name: tokens / median(values) for name, values in seconds.items()}
    peers = {name: peer(name, model, [p.text for p in texts], rows) for name in PEERS}
    speeds |= {name: tokens / found["seconds"] for name, found in peers.items()}
    best = max(speeds[name] for name in PEERS)
    ratios = {"of_ceiling": speeds["foreshock"] / speeds["ceiling"], "over_best_peer": speeds["foreshock"] / best}
    memory = {"foreshock": peak} | {name: found["peak_mb"] for name, found in peers.items()}
    spread = {name: (max(v) - min(v)) / median(v) for name, v in seconds.items()}
    show(
        f"Extraction to layer {LAYER}, {len(texts)} stories, {tokens} tokens, {str(model.dtype)[6:]}",
        ["", "tokens/s", "of ceiling", "peak MB"],
        [
            [
                name,
                f"{speed:,.0f}",
                f"{speed / speeds['ceiling']:.2f}",
                f"{memory[name]:,.0f}" if name in memory else "",
            ]
            for name, speed in speeds.items()
        ],
    )
    print(f"{ratios['of_ceiling']:.2f} of the ceiling, {ratios['over_best_peer']:.1f} times the faster peer")
    details = {"tokens_per_second": speeds, "peak_mb": memory, "rounds": ROUNDS, "spread": spread, "peers": peers}
    save("extraction", ratios, {**details, "layer": LAYER, "tokens": tokens, "peer_batch": rows})


def ours(model: LanguageModel, encoded: list[Tokens]) -> float:
    """Passage means of all stories, nothing kept on disk."""
    read_passages(model, encoded, [LAYER], budget=BUDGET)
    return 0.0


@torch.inference_mode()
def ceiling(model: LanguageModel, tokens: int, layer: int = LAYER) -> float:
    """The bare blocks 0 … `layer` over as many tokens in full rows of one length, with nothing read."""
    decoder, layers = model.anatomy.decoder, model.anatomy.layers
    length = 128
    rows = BUDGET // length
    ids = torch.arange(rows * length).reshape(rows, length) % 40_000 + 5
    depth = model.model.config.num_hidden_layers
    decoder.layers, model.model.config.num_hidden_layers = layers[: layer + 1], layer + 1
    try:
        done = 0
        while done < tokens:
            part = ids[: max(1, min(rows, round((tokens - done) / length)))]
            decoder(input_ids=part, use_cache=False)
            done += part.numel()
    finally:
        decoder.layers, model.model.config.num_hidden_layers = layers, depth
    return 0.0


def peer(name: str, model: LanguageModel, texts: list[str], rows: int) -> dict[str, float]:
    """Median seconds and peak memory of a peer on the same texts and weights."""
    script, requirements = PEERS[name]
    job = {"texts": texts, "layer": LAYER, "batch": rows, "rounds": 3}
    return run_peer(name.split()[0], script, requirements, model, job)


if __name__ == "__main__":
    main()
