"""nnsight: a trace that saves the layer's output and stops there; an addition in the trace for each cell."""

import torch
from nnsight import LanguageModel
from sweeping import cells, scored
from working import JOB, WEIGHTS, answer, opened, reads

plain, tokenizer = opened()
model = LanguageModel(plain, tokenizer=tokenizer)
ids = torch.tensor(JOB["prompt"])[None]
NEW = {"max_new_tokens": JOB["new"], "min_new_tokens": JOB["new"], "do_sample": False}
LAYER = JOB["reading_layer"]


@torch.inference_mode()
def hidden(batch, layer):
    """The stream after the layer; nothing above it is run."""
    with model.trace(dict(batch)) as tracer:
        found = model.model.layers[layer].output.save()
        tracer.stop()
    return found[0] if isinstance(found, tuple) else found


@torch.inference_mode()
def cell(batch, write):
    """One situation under one vector."""
    tokens, mask, _ = batch
    with model.trace({"input_ids": tokens, "attention_mask": mask}) as tracer:
        model.model.layers[JOB["sweep_layer"]].output[:] += write
        normed = model.model.norm.output.save()
        tracer.stop()
    return scored(normed, plain.lm_head, batch)


def sweep():
    return cells(cell, plain.dtype)


@torch.inference_mode()
def bare():
    plain.generate(ids, attention_mask=torch.ones_like(ids), **NEW)


@torch.inference_mode()
def watched():
    with model.generate({"input_ids": ids, "attention_mask": torch.ones_like(ids)}, **NEW) as tracer:
        found = list().save()  # noqa: C408 (nnsight saves no literal)
        for _ in tracer.iter[: JOB["new"]]:
            found.append(model.model.layers[LAYER].output.float() @ WEIGHTS)
    assert len(found) == JOB["new"], len(found)


answer({**reads(hidden, tokenizer), "sweep": sweep, "bare": bare, "watched": watched})
