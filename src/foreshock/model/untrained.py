"""A tiny model with random weights and a real tokenizer: it has learnt nothing, so no claim may hold on it.

What its layers carry is what words alone give, stirred: the study's own false-positive test.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from foreshock.model.language_model import LanguageModel

HIDDEN, LAYERS = 64, 8


def untrained(tokenizer: Any, seed: int = 0) -> LanguageModel:
    """A Llama of 8 layers × 64 with weights drawn from `seed`, reading with this tokenizer."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=HIDDEN,
        intermediate_size=4 * HIDDEN,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        initializer_range=0.1,  # large enough that the layers change what passes through them
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    return LanguageModel(LlamaForCausalLM(config), tokenizer, name=f"untrained-{seed}")
