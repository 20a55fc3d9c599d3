"""A tiny scripted model with known emotion directions, for tests and examples.

It is a real Llama of transformers with hand-made weights. Words of its own little language carry a planted
direction into the residual stream, the blocks disturb it only a little, and the unembedding turns each
direction into the emotion's word. So extraction must recover the directions, the logit lens must name
them, and with shuffled labels nothing may be found.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from foreshock.emotions import catalogue
from foreshock.model.language_model import LanguageModel
from foreshock.texts.schema import Dialogue, Passage, Turn

EMOTIONS = ("happy", "calm", "proud", "loving", "sad", "afraid", "angry", "desperate")
HIDDEN, LAYERS, FILLERS, CUES, TOPICS, NUISANCES = 64, 4, 120, 4, 6, 3
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
    passages: list[Passage]
    neutral: list[Dialogue]


def planted(seed: int = 0) -> Planted:
    """Make the model and its corpus."""
    random = np.random.default_rng(seed)
    fillers = [f"w{k}" for k in range(FILLERS)]
    subjects = [f"topic{k}" for k in range(TOPICS)]
    cues = [f"{word}~{k}" for word in EMOTIONS for k in range(CUES)]
    marks = ["[pad]", "[unk]", "[system]", "[user]", "[assistant]", "[end]"]
    words = marks + sorted(w for w in catalogue() if " " not in w) + subjects + fillers + cues
    tokenizer = _tokenizer(words)
    basis = _orthonormal(random, len(EMOTIONS) + NUISANCES)
    directions = basis[: len(EMOTIONS)]
    model = _model(words, directions, basis[len(EMOTIONS) :], seed)
    passages = [
        Passage(text=_story(random, word, topic, fillers), emotion=word, topic=f"topic{topic}")
        for word in EMOTIONS
        for topic in range(TOPICS)
    ]
    neutral = [_dialogue(random, fillers) for _ in range(24)]
    return Planted(LanguageModel(model, tokenizer, name=f"planted-{seed}"), directions, passages, neutral)


def _orthonormal(random: np.random.Generator, count: int) -> Float[np.ndarray, "count hidden"]:
    basis, _ = np.linalg.qr(random.standard_normal((HIDDEN, count)))
    return basis.T.astype(np.float32)


def _tokenizer(words: list[str]) -> PreTrainedTokenizerFast:
    inner = Tokenizer(models.WordLevel({word: k for k, word in enumerate(words)}, unk_token="[unk]"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="[pad]", unk_token="[unk]", eos_token="[end]")
    tokenizer.chat_template = TEMPLATE
    return tokenizer


@torch.no_grad()
def _model(words: list[str], directions: np.ndarray, nuisances: np.ndarray, seed: int) -> LlamaForCausalLM:
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
    model.model.embed_tokens.weight.normal_(0, 0.05)
    # What neutral texts vary in, for the denoising to find.
    model.model.embed_tokens.weight += 0.5 * torch.randn(len(words), NUISANCES) @ torch.from_numpy(nuisances)
    model.lm_head.weight.normal_(0, 0.02)
    for row, word in enumerate(EMOTIONS):
        direction = torch.from_numpy(directions[row])
        for cue in range(CUES):
            model.model.embed_tokens.weight[words.index(f"{word}~{cue}")] += 2 * direction
        model.lm_head.weight[words.index(word)] += direction
    return model


def _story(random: np.random.Generator, emotion: str, topic: int, fillers: list[str]) -> str:
    """Forty words: the topic's, the emotion's cues and fillers, mixed."""
    told = [f"topic{topic}"] * 6 + [f"{emotion}~{k}" for k in random.integers(0, CUES, 12)]
    told += list(random.choice(fillers, 30))
    return " ".join(random.permutation(told))


def _dialogue(random: np.random.Generator, fillers: list[str]) -> Dialogue:
    turns = [Turn(role=role, content=" ".join(random.choice(fillers, 15))) for role in ("user", "assistant")]
    return Dialogue(turns=tuple(turns))
