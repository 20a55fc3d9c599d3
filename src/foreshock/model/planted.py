"""A tiny scripted model with known emotion directions, for tests and examples.

It is a real Llama of transformers with hand-made weights. In its own little language each topic has cue words of
its own for an emotion, so that no word says anything about an emotion beyond its topic. Block 0 turns every cue
into the emotion's planted direction, block 1 carries what was said to every later token, and the unembedding turns
a direction into the emotion's word. So extraction must recover the directions where a bag of words cannot, and with
shuffled labels nothing may be found.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from foreshock.emotions import catalogue
from foreshock.model.language_model import LanguageModel
from foreshock.texts.library import Library
from foreshock.texts.schema import Dialogue, Exchange, Passage, Scale, Scenario, Turn

EMOTIONS = ("happy", "calm", "proud", "loving", "sad", "afraid", "angry", "desperate")
HIDDEN, LAYERS, FILLERS, CUES, TOPICS, NUISANCES = 128, 4, 120, 2, 6, 3
DOSES = 6
"""Words `dose~1` … carry more and more of *afraid* and less of *calm*; words `count~1` … carry nothing."""
TEMPLATE = (
    "{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }} [end] {% endfor %}"
    "{% if add_generation_prompt %}[assistant] {% endif %}"
)


@dataclass(frozen=True, slots=True)
class Planted:
    """The model, what was planted in it, and texts in its language."""

    model: LanguageModel
    directions: Float[np.ndarray, "emotion hidden"]
    """Unit directions, in the order of `EMOTIONS`."""
    library: Library

    @property
    def passages(self) -> list[Passage]:
        """The stories of its library."""
        return list(self.library.stories)

    @property
    def neutral(self) -> list[Dialogue]:
        """The neutral dialogues of its library."""
        return list(self.library.neutral)


def cue(emotion: str, topic: int, number: int) -> str:
    """One of the words that show an emotion within a topic; its letters say nothing about either."""
    digest = hashlib.sha256(f"{emotion} {topic} {number}".encode()).digest()
    return "".join("abcdefghijklmnopqrstuvwxyz"[byte % 26] for byte in digest[:7])


def planted(seed: int = 0) -> Planted:
    """Make the model and its library."""
    random = np.random.default_rng(seed)
    fillers = [f"w{k}" for k in range(FILLERS)]
    cues = {cue(word, topic, k): word for word in EMOTIONS for topic in range(TOPICS) for k in range(CUES)}
    marks = ["[pad]", "[unk]", "[system]", "[user]", "[assistant]", "[end]"]
    numbers = [f"{kind}~{k}" for kind in ("dose", "count") for k in range(1, DOSES + 1)]
    subjects = [f"topic{k}" for k in range(TOPICS)]
    words = marks + sorted(w for w in catalogue() if " " not in w) + subjects + fillers + numbers + list(cues)
    basis, _ = np.linalg.qr(random.standard_normal((HIDDEN, HIDDEN)))
    basis = basis.T.astype(np.float32)
    directions, nuisances = basis[: len(EMOTIONS)], basis[len(EMOTIONS) : len(EMOTIONS) + NUISANCES]
    keys = basis[len(EMOTIONS) + NUISANCES :][: len(cues) + 1]
    model = _model(words, cues, directions, nuisances, keys, seed)
    tokenizer = _tokenizer(words)
    return Planted(LanguageModel(model, tokenizer, name=f"planted-{seed}"), directions, _library(random, fillers))


def _tokenizer(words: list[str]) -> PreTrainedTokenizerFast:
    inner = Tokenizer(models.WordLevel({word: k for k, word in enumerate(words)}, unk_token="[unk]"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="[pad]", unk_token="[unk]", eos_token="[end]")
    tokenizer.chat_template = TEMPLATE
    return tokenizer


@torch.no_grad()
def _model(
    words: list[str], cues: dict[str, str], directions: np.ndarray, nuisances: np.ndarray, keys: np.ndarray, seed: int
) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=HIDDEN,
        intermediate_size=2 * HIDDEN,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        initializer_range=0.02,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=5,
        tie_word_embeddings=False,
    )
    model = LlamaForCausalLM(config)
    embed, emotions = model.model.embed_tokens.weight, torch.from_numpy(directions)
    embed.normal_(0, 0.05)
    # What neutral texts vary in, for the denoising to find.
    embed += 0.5 * torch.randn(len(words), NUISANCES) @ torch.from_numpy(nuisances)
    embed -= embed @ emotions.T @ emotions  # no word holds an emotion by itself
    model.lm_head.weight.normal_(0, 0.02)
    for row, word in enumerate(EMOTIONS):
        model.lm_head.weight[words.index(word)] += emotions[row]
    _plant_cues(model, words, cues, emotions, torch.from_numpy(keys))
    _plant_carrying(model, emotions)
    return model


def _plant_cues(
    model: LlamaForCausalLM, words: list[str], cues: dict[str, str], emotions: torch.Tensor, keys: torch.Tensor
) -> None:
    """Block 0: a neuron for each cue word writes the emotion's direction; one more for the doses."""
    embed, mlp = model.model.embed_tokens.weight, model.model.layers[0].mlp
    writes = [emotions[EMOTIONS.index(emotion)] for emotion in cues.values()]
    writes.append(emotions[EMOTIONS.index("afraid")] - emotions[EMOTIONS.index("calm")])
    mlp.down_proj.weight.zero_()
    model.model.layers[0].self_attn.o_proj.weight.zero_()
    for neuron, (key, written) in enumerate(zip(keys, writes, strict=True)):
        mlp.gate_proj.weight[neuron] = key
        mlp.up_proj.weight[neuron] = key / 8
        mlp.down_proj.weight[:, neuron] = written / 4
    for word, key in zip(cues, keys, strict=False):
        embed[words.index(word)] += key
    for dose in range(1, DOSES + 1):
        embed[words.index(f"dose~{dose}")] += (dose / DOSES) * keys[len(cues)]


def _plant_carrying(model: LlamaForCausalLM, emotions: torch.Tensor) -> None:
    """Block 1: every token attends evenly to all before it and takes over what they hold of the emotions."""
    attention, size = model.model.layers[1].self_attn, HIDDEN // 4
    for weight in (attention.q_proj.weight, attention.k_proj.weight, attention.v_proj.weight, attention.o_proj.weight):
        weight.zero_()
    attention.v_proj.weight[: len(emotions)] = emotions
    for head in (0, 1):  # both share the first key-value head
        attention.o_proj.weight[:, head * size : head * size + len(emotions)] = 0.25 * emotions.T


def _library(random: np.random.Generator, fillers: list[str]) -> Library:
    return Library(
        stories=[
            Passage(text=_story(random, word, topic, fillers), emotion=word, topic=f"topic{topic}")
            for word in EMOTIONS
            for topic in range(TOPICS)
        ],
        neutral=[
            Dialogue(turns=tuple(Turn(role=r, content=_words(random, fillers, 15)) for r in ("user", "assistant")))
            for _ in range(24)
        ],
        scenarios=[
            Scenario(id=f"{word}-{k}", emotion=word, text=_message(random, word, fillers))
            for word in EMOTIONS
            for k in range(3)
        ],
        scales=[_scale(random, number, fillers) for number in range(8)],
        exchanges=[_exchange(random, number, fillers) for number in range(64)],
    )


def _words(random: np.random.Generator, fillers: list[str], count: int) -> str:
    return " ".join(random.choice(fillers, count))


def _cues(random: np.random.Generator, emotion: str, topic: int, count: int) -> list[str]:
    return [cue(emotion, topic, k) for k in random.integers(0, CUES, count)]


def _story(random: np.random.Generator, emotion: str, topic: int, fillers: list[str]) -> str:
    """Forty-eight words: the topic's, the emotion's cues and fillers, mixed."""
    told = [f"topic{topic}"] * 6 + _cues(random, emotion, topic, 12) + list(random.choice(fillers, 30))
    return " ".join(random.permutation(told))


def _message(random: np.random.Generator, emotion: str, fillers: list[str]) -> str:
    told = _cues(random, emotion, int(random.integers(TOPICS)), 6) + list(random.choice(fillers, 10))
    return " ".join(random.permutation(told))


def _scale(random: np.random.Generator, number: int, fillers: list[str]) -> Scale:
    before, after = _words(random, fillers, 6), _words(random, fillers, 6)
    return Scale(
        id=f"scale-{number}",
        kind="danger",
        template=f"{before} dose~{{n}} dose~3 {after}",
        values=tuple(range(1, DOSES + 1)),
        expect={"afraid": 1, "calm": -1},
        control=f"{before} count~{{n}} dose~3 {after}",
    )


def _exchange(random: np.random.Generator, number: int, fillers: list[str]) -> Exchange:
    first, second = EMOTIONS[number % 8], EMOTIONS[number // 8]

    def turn(emotion: str) -> str:
        topic = int(random.integers(TOPICS))
        return " ".join(random.permutation(_cues(random, emotion, topic, 4) + list(random.choice(fillers, 8))))

    turns = tuple(turn(first if k % 2 == 0 else second) for k in range(4))
    return Exchange(id=f"exchange-{number}", who="two voices", a=first, b=second, turns=turns)
