"""Plain transformers: output_hidden_states for reading, a forward hook for writing."""

import torch
from sweeping import batch_of, log_odds
from working import JOB, WEIGHTS, answer, batches, means, opened, readings

model, tokenizer = opened()
ids = torch.tensor(JOB["prompt"])[None]
NEW = {"max_new_tokens": JOB["new"], "min_new_tokens": JOB["new"], "do_sample": False}
block = model.model.layers[JOB["sweep_layer"]]


@torch.inference_mode()
def hidden(batch):
    """The stream after the layer; hidden_states begins with the embeddings."""
    return model(**batch, output_hidden_states=True, use_cache=False).hidden_states[JOB["layer"] + 1]


def extraction():
    for batch in batches(tokenizer):
        means(hidden(batch), batch["attention_mask"])


def reading():
    for batch in batches(tokenizer):
        readings(hidden(batch), batch["attention_mask"])


def cell(batch, write):
    """One situation under one vector."""
    handle = block.register_forward_hook(
        lambda _m, _a, out: (out[0] + write, *out[1:]) if isinstance(out, tuple) else out + write
    )
    try:
        return log_odds(model, batch)
    finally:
        handle.remove()


def sweep():
    writes = torch.tensor(JOB["writes"]).to(model.dtype)
    return [[cell(batch_of(replies), write) for write in writes] for replies in JOB["items"]]


def bare_cells():
    """The bare model: as many passes over the same batches, nothing written."""
    return [[log_odds(model, batch_of(replies)) for _ in JOB["writes"]] for replies in JOB["items"]]


def bare():
    model.generate(ids, attention_mask=torch.ones_like(ids), **NEW)


def watched():
    found = model.generate(
        ids, attention_mask=torch.ones_like(ids), output_hidden_states=True, return_dict_in_generate=True, **NEW
    )
    for states in found.hidden_states:
        states[JOB["layer"] + 1].float() @ WEIGHTS


answer(
    {
        "extraction": extraction,
        "reading": reading,
        "sweep": sweep,
        "bare_cells": bare_cells,
        "bare": bare,
        "watched": watched,
    }
)
