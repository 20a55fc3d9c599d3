"""nnsight: a trace that saves the layer's output and stops there; an addition in the trace for each cell."""

import torch
from nnsight import LanguageModel
from sweeping import batch_of
from working import JOB, WEIGHTS, answer, batches, means, opened, readings

plain, tokenizer = opened()
model = LanguageModel(plain, tokenizer=tokenizer)
ids = torch.tensor(JOB["prompt"])[None]
NEW = {"max_new_tokens": JOB["new"], "min_new_tokens": JOB["new"], "do_sample": False}
LAYER = JOB["layer"]


@torch.inference_mode()
def hidden(batch):
    """The stream after the layer; nothing above it is run."""
    with model.trace(dict(batch)) as tracer:
        found = model.model.layers[LAYER].output.save()
        tracer.stop()
    return found[0] if isinstance(found, tuple) else found


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
    with model.trace({"input_ids": tokens, "attention_mask": mask}):
        model.model.layers[JOB["sweep_layer"]].output[:] += write
        out = model.lm_head.output.save()
    logits = out[:, :-1].float()
    chosen = logits.gather(-1, tokens[:, 1:, None])[..., 0] - logits.logsumexp(-1)
    scores = (chosen * own[:, 1:]).sum(1) / own[:, 1:].sum(1)
    half = len(scores) // 2
    return float(scores[:half].mean() - scores[half:].mean())


def sweep():
    writes = torch.tensor(JOB["writes"]).to(plain.dtype)
    return [[cell(batch_of(replies), write) for write in writes] for replies in JOB["items"]]


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


answer({"extraction": extraction, "reading": reading, "sweep": sweep, "bare": bare, "watched": watched})
