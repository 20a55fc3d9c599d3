"""One tiny configuration for each supported family."""

from __future__ import annotations

import transformers as hf
from tokenizers import Tokenizer, models, pre_tokenizers

VOCABULARY = 128
COMMON = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
GROUPED = COMMON | {"num_key_value_heads": 2}
HEADED = GROUPED | {"head_dim": 8}
FALCON = {
    "vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4, "pad_token_id": 0,
    "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
OPT = FALCON | {"ffn_dim": 48, "max_position_embeddings": 128}

FAMILIES: dict[str, hf.PretrainedConfig] = {
    "llama": hf.LlamaConfig(**GROUPED),
    "mistral": hf.MistralConfig(**HEADED, sliding_window=8),
    "qwen2": hf.Qwen2Config(**GROUPED),
    "qwen3": hf.Qwen3Config(**HEADED),
    "gemma2": hf.Gemma2Config(**HEADED, sliding_window=8),
    "gemma3": hf.Gemma3TextConfig(**HEADED, sliding_window=8),
    "phi3": hf.Phi3Config(**GROUPED),
    "gpt2": hf.GPT2Config(
        vocab_size=VOCABULARY, n_embd=32, n_layer=4, n_head=4, n_positions=128, bos_token_id=1, eos_token_id=2
    ),
    "gpt-neox": hf.GPTNeoXConfig(**COMMON),
    "opt": hf.OPTConfig(**OPT, word_embed_proj_dim=32),
    "opt-projected": hf.OPTConfig(**OPT, word_embed_proj_dim=16, do_layer_norm_before=False),
    "falcon": hf.FalconConfig(**FALCON),
    "falcon-alibi": hf.FalconConfig(**FALCON, alibi=True),
    "olmo2": hf.Olmo2Config(**GROUPED),
    "smollm3": hf.SmolLM3Config(**GROUPED),
    "granite": hf.GraniteConfig(**GROUPED, logits_scaling=2.0, residual_multiplier=0.5, embedding_multiplier=3.0),
    "mixtral": hf.MixtralConfig(**GROUPED, num_local_experts=4),
    "qwen3-moe": hf.Qwen3MoeConfig(
        **HEADED, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=16, decoder_sparse_step=1
    ),
}


def word_tokenizer() -> hf.PreTrainedTokenizerFast:
    """Words `t0` … `t127` as their own tokens."""
    inner = Tokenizer(models.WordLevel({f"t{k}": k for k in range(VOCABULARY)}, unk_token="t3"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return hf.PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="t0")
