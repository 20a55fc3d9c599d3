"""TransformerLens: its bridge over the same weights; one hook point, stopped after the layer."""

import torch
from sweeping import batch_of
from transformer_lens.model_bridge import TransformerBridge
from working import JOB, WEIGHTS, answer, batches, means, opened, readings

plain, tokenizer = opened()
model = TransformerBridge.boot_transformers(JOB["model"], hf_model=plain, tokenizer=tokenizer, dtype=plain.dtype)
ids = torch.tensor(JOB["prompt"])[None]
POINT = f"blocks.{JOB['layer']}.hook_out"


@torch.inference_mode()
def hidden(batch):
    """The stream after the layer; nothing above it is run."""
    _, cache = model.run_with_cache(
        batch["input_ids"],
        attention_mask=batch["attention_mask"],
        names_filter=[POINT],
        stop_at_layer=JOB["layer"] + 1,
    )
    return cache[POINT]


def extraction():
    for batch in batches(tokenizer):
        means(hidden(batch), batch["attention_mask"])


def reading():
    for batch in batches(tokenizer):
        readings(hidden(batch), batch["attention_mask"])


@torch.inference_mode()
def cell(batch, write):
    """One situation under one vector."""
    tokens, mask, own = batch
    logits = model.run_with_hooks(
        tokens, attention_mask=mask, fwd_hooks=[(f"blocks.{JOB['sweep_layer']}.hook_out", lambda out, **_: out + write)]
    )
    logits = logits[:, :-1].float()
    chosen = logits.gather(-1, tokens[:, 1:, None])[..., 0] - logits.logsumexp(-1)
    scores = (chosen * own[:, 1:]).sum(1) / own[:, 1:].sum(1)
    half = len(scores) // 2
    return float(scores[:half].mean() - scores[half:].mean())


def sweep():
    writes = torch.tensor(JOB["writes"]).to(plain.dtype)
    return [[cell(batch_of(replies), write) for write in writes] for replies in JOB["items"]]


@torch.inference_mode()
def bare():
    model.generate(ids, max_new_tokens=JOB["new"], stop_at_eos=False, do_sample=False, verbose=False)


@torch.inference_mode()
def watched():
    with model.hooks(fwd_hooks=[(POINT, lambda out, **_: (out.float() @ WEIGHTS, None)[1])]):
        bare()


answer({"extraction": extraction, "reading": reading, "sweep": sweep, "bare": bare, "watched": watched})
