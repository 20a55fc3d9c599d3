"""Models that have learnt nothing of emotions, so that no claim may hold on them: the study's own false-positive test."""

from __future__ import annotations

import copy
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from foreshock.model.anatomy import find_anatomy
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


def stirred(model: LanguageModel, seed: int = 0) -> LanguageModel:
    """The same model with its trained word embeddings and random blocks: it knows words, and nothing else.

    The harsher control: what its embeddings carry is still there at every layer, so a claim that words alone could
    give has only its floor to stop it. What the blocks write is small, as at the start of a training.
    """
    torch.manual_seed(seed)
    twin = copy.deepcopy(model.model)
    blocks = find_anatomy(twin).layers
    width = 0.02 / (2 * len(blocks)) ** 0.5
    with torch.no_grad():
        for parameter in blocks.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, width)
            else:
                parameter.fill_(1)
    return LanguageModel(twin, model.tokenizer, name=f"stirred-{seed}")
