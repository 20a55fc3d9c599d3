"""Plain transformers: output_hidden_states for reading, a forward hook for writing."""

import torch
from sweeping import cells, log_odds
from working import JOB, WEIGHTS, answer, opened, reads

model, tokenizer = opened()
ids = torch.tensor(JOB["prompt"])[None]
NEW = {"max_new_tokens": JOB["new"], "min_new_tokens": JOB["new"], "do_sample": False}
block = model.model.layers[JOB["sweep_layer"]]


@torch.inference_mode()
def hidden(batch, layer):
    """The stream after the layer; hidden_states begins with the embeddings."""
    out = model(**batch, output_hidden_states=True, use_cache=False, logits_to_keep=1)
    return out.hidden_states[layer + 1]


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
    return cells(cell, model.dtype)


def bare_cells():
    """The bare model: as many passes over the same batches, nothing written."""
    return cells(lambda batch, _write: log_odds(model, batch), model.dtype)


def bare():
    model.generate(ids, attention_mask=torch.ones_like(ids), **NEW)


def watched():
    found = model.generate(
        ids, attention_mask=torch.ones_like(ids), output_hidden_states=True, return_dict_in_generate=True, **NEW
    )
    for states in found.hidden_states:
        states[JOB["reading_layer"] + 1].float() @ WEIGHTS


answer(
    {
        **reads(hidden, tokenizer),
        "sweep": sweep,
        "bare_cells": bare_cells,
        "bare": bare,
        "watched": watched,
    }
)
