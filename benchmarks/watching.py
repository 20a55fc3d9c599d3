"""What watching costs: generation watched and bare, reading a corpus against the ceiling, memory over a long conversation.

Run: python -m benchmarks.watching [STUDY] — a study's folder, by default study/embedded-full.
"""

from __future__ import annotations

import gc
import sys
import tempfile
import tracemalloc
import warnings
from dataclasses import replace
from pathlib import Path

import torch
from transformers import DynamicCache

from benchmarks.ceiling import ceiling
from benchmarks.measuring import interleaved, median, save, show
from foreshock.emotions import core
from foreshock.model import LanguageModel, open_model
from foreshock.monitor.calibration import Calibration, calibrate
from foreshock.monitor.monitor import DriftWarning, Monitor
from foreshock.monitor.rules import parse_rule
from foreshock.monitor.store import Store
from foreshock.readings import read
from foreshock.texts import benign_conversations, stories
from foreshock.texts.schema import Turn
from foreshock.vectors import EmotionVectors

ROUNDS = 9
NEW = 96
ROWS = (1, 8)
"""Streams at once."""
RULES = ("desperate,calm=-1", "afraid:change", "hostile:extreme")
LONG = (10_000, 100_000)
CHUNK = 100


def main(study: Path) -> None:
    """Measure, print and save."""
    vectors = EmotionVectors.load(study / "vectors.safetensors")
    model = open_model(vectors.manifest["model"]["name"])
    reading = vectors.reading_layer
    layers = [reading - 5, reading, reading + 5]
    rules = _rules(model, vectors)
    found = {rows: generation(model, vectors, rules, layers, rows) for rows in ROWS}
    corpus = reading_corpus(model, vectors)
    grown = memory(model, vectors, rules, layers)
    show(
        f"Watching {len(vectors.emotions)} emotions at layers {layers}, {len(rules.rules)} rules, a store; {NEW} new tokens",
        ["streams", "bare, tokens/s", "watched, tokens/s", "watched / bare (paired)", "from", "to"],
        [[str(rows), *(f"{NEW * rows / median(one[k]):.1f}" for k in ("bare", "watched")), *_paired(one)] for rows, one in found.items()],
    )  # fmt: skip
    speed = {name: median(values) for name, values in corpus.items()}
    print(f"Reading a corpus: {speed['ceiling'] / speed['read']:.2f} of the ceiling.")
    print(f"Memory of the monitor: {grown[0]:,} bytes after {LONG[0]:,} tokens, {grown[1]:,} after {LONG[1]:,}.")
    ratios = {f"watched_over_bare_{rows}": _ratio(one) for rows, one in found.items()}
    ratios |= {"corpus_of_ceiling": speed["ceiling"] / speed["read"], "memory_10x": grown[1] / grown[0]}
    save("watching", ratios, {"seconds": {str(rows): one for rows, one in found.items()}, "corpus": corpus, "bytes": grown, "layers": layers, "emotions": len(vectors.emotions), "new_tokens": NEW, "rounds": ROUNDS})  # fmt: skip


def _rules(model: LanguageModel, vectors: EmotionVectors) -> Calibration:
    texts = (model.encode_transcript(talk.turns) for talk in benign_conversations())
    return calibrate([parse_rule(words) for words in RULES], read(model, vectors, texts), 0.05, model, vectors)


@torch.inference_mode()
def generation(
    model: LanguageModel, vectors: EmotionVectors, rules: Calibration, layers: list[int], rows: int
) -> dict[str, list[float]]:
    """Seconds of the same generation, bare and watched, run in turn."""
    prompt = model.encode_transcript([Turn(role="user", content="Tell me about a storm at sea.")], reply=True)
    ids = torch.tensor([prompt.ids] * rows)
    given = {"attention_mask": torch.ones_like(ids), "max_new_tokens": NEW, "min_new_tokens": NEW, "do_sample": False}

    def bare() -> float:
        model.model.generate(ids, **given)
        return 0.0

    with tempfile.TemporaryDirectory() as folder, Store.open(Path(folder) / "kept.db") as store:
        monitor = Monitor(model, vectors, rules, layers=layers, store=store)

        def watched() -> float:
            monitor.expect([prompt] * rows)
            monitor.attach()
            model.model.generate(ids, **given)
            monitor.detach()
            return 0.0

        bare()
        watched()
        warnings.simplefilter("ignore", DriftWarning)  # the same prompt, again and again
        return interleaved({"bare": bare, "watched": watched}, ROUNDS)


def _ratio(one: dict[str, list[float]]) -> float:
    return median([watched / bare for watched, bare in zip(one["watched"], one["bare"], strict=True)])


def _paired(one: dict[str, list[float]]) -> list[str]:
    ratios = [watched / bare for watched, bare in zip(one["watched"], one["bare"], strict=True)]
    return [f"{value:.3f}" for value in (median(ratios), min(ratios), max(ratios))]


def reading_corpus(model: LanguageModel, vectors: EmotionVectors) -> dict[str, list[float]]:
    """Seconds to read stories token by token, and for the bare blocks to run over as many tokens."""
    encoded = [model.encode(p.text) for p in stories(core(), split="fit")]
    tokens = sum(map(len, encoded))

    def ours() -> float:
        for _ in read(model, vectors, encoded):
            pass
        return 0.0

    ours()
    return interleaved({"ceiling": lambda: ceiling(model, tokens, vectors.reading_layer), "read": ours}, 5)


@torch.inference_mode()
def memory(model: LanguageModel, vectors: EmotionVectors, rules: Calibration, layers: list[int]) -> list[int]:
    """Bytes that watching holds in Python and NumPy after a short and a long stretch of one conversation.

    Each chunk stands at its place in the conversation, but attends to nothing before it: the model's own cache, which
    grows, is left out.
    """
    words = model.encode("They waited for the boat, and nobody said a word about it. " * 2 * CHUNK)
    chunk = words.ids[:CHUNK]
    first = replace(
        words, **{name: getattr(words, name)[:CHUNK] for name in ("ids", "spans", "roles", "turns", "content")}
    )
    found, cache = [], _Far()
    with (
        tempfile.TemporaryDirectory() as folder,
        Store.open(Path(folder) / "kept.db") as store,
        Monitor(model, vectors, rules, layers=layers, store=store) as monitor,
    ):
        monitor.expect([first], ["long"])
        tracemalloc.start()
        for cache.start in range(0, LONG[-1], CHUNK):
            places = torch.arange(cache.start, cache.start + CHUNK)[None]
            model.anatomy.decoder(torch.tensor([chunk]), past_key_values=cache, position_ids=places, use_cache=False)
            if cache.start + CHUNK in LONG:
                store.flush()
                found.append(_held())
        tracemalloc.stop()
        assert [one.length for one in monitor.following.known.values()] == [LONG[-1]]
    return found


def _held() -> int:
    """Bytes that Foreshock's own code has allocated and still holds."""
    gc.collect()
    ours = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(True, "*/foreshock/*")])
    return sum(trace.size for trace in ours.traces)


class _Far(DynamicCache):
    """An empty cache that says it holds the `start` tokens before."""

    start = 0

    def get_seq_length(self, layer_idx: int = 0) -> int:  # noqa: ARG002
        """Tokens before."""
        return self.start


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "study/embedded-full"))
