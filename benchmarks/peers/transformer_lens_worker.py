"""TransformerLens: its bridge over the same weights; one hook point, stopped after the layer."""

import torch
from sweeping import cells, scored
from transformer_lens.model_bridge import TransformerBridge
from working import JOB, WEIGHTS, answer, opened, reads

plain, tokenizer = opened()
model = TransformerBridge.boot_transformers(JOB["model"], hf_model=plain, tokenizer=tokenizer, dtype=plain.dtype)
ids = torch.tensor(JOB["prompt"])[None]
POINT = f"blocks.{JOB['reading_layer']}.hook_out"


@torch.inference_mode()
def hidden(batch, layer):
    """The stream after the layer; nothing above it is run."""
    point = f"blocks.{layer}.hook_out"
    _, cache = model.run_with_cache(
        batch["input_ids"],
        attention_mask=batch["attention_mask"],
        names_filter=[point],
        stop_at_layer=layer + 1,
    )
    return cache[point]


@torch.inference_mode()
def cell(batch, write):
    """One situation under one vector."""
    tokens, mask, _ = batch
    with model.hooks(fwd_hooks=[(f"blocks.{JOB['sweep_layer']}.hook_out", lambda out, **_: out + write)]):
        last = hidden({"input_ids": tokens, "attention_mask": mask}, plain.config.num_hidden_layers - 1)
    return scored(plain.model.norm(last), plain.lm_head, batch)


def sweep():
    return cells(cell, plain.dtype)


@torch.inference_mode()
def bare():
    model.generate(ids, max_new_tokens=JOB["new"], stop_at_eos=False, do_sample=False, verbose=False)


@torch.inference_mode()
def watched():
    with model.hooks(fwd_hooks=[(POINT, lambda out, **_: (out.float() @ WEIGHTS, None)[1])]):
        bare()


answer({**reads(hidden, tokenizer), "sweep": sweep, "bare": bare, "watched": watched})
