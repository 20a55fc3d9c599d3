"""What both peers' sweeps share: the six replies of an item as one padded batch, scored by their log-odds."""

import json
import sys
import time
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM


def job_and_model():
    """The job, and its model in the wanted dtype."""
    job = json.loads(Path(sys.argv[1]).read_text())
    torch.set_num_threads(job["threads"])
    return job, AutoModelForCausalLM.from_pretrained(job["model"], torch_dtype=getattr(torch, job["dtype"])).eval()


def batch_of(replies):
    """Token ids padded on the right, their mask, and which places are the reply's own words."""
    longest = max(len(ids) for ids, _ in replies)
    ids = torch.zeros(len(replies), longest, dtype=torch.long)
    mask, own = torch.zeros_like(ids), torch.zeros_like(ids)
    for row, (reply, start) in enumerate(replies):
        ids[row, : len(reply)] = torch.tensor(reply)
        mask[row, : len(reply)], own[row, start : len(reply)] = 1, 1
    return ids, mask, own


@torch.inference_mode()
def log_odds(model, batch):
    """Mean log-probability a token of the first half of the replies less that of the second half."""
    ids, mask, own = batch
    positions = torch.arange(ids.shape[1]).expand(len(ids), -1)  # repeng wants a row of them each
    logits = model(input_ids=ids, attention_mask=mask, position_ids=positions).logits[:, :-1].float()
    chosen = logits.gather(-1, ids[:, 1:, None])[..., 0] - logits.logsumexp(-1)
    scores = (chosen * own[:, 1:]).sum(1) / own[:, 1:].sum(1)
    half = len(scores) // 2
    return float(scores[:half].mean() - scores[half:].mean())


def sweep(job, cell):
    """Median seconds of `cell(batch, write)` over all items and writes; prints them with the last round's cells."""
    seconds = []
    for _ in range(job["rounds"]):
        begun = time.perf_counter()
        cells = []
        for replies in job["items"]:
            batch = batch_of(replies)
            cells.append([cell(batch, torch.tensor(write)) for write in job["writes"]])
        seconds.append(time.perf_counter() - begun)
    print(json.dumps({"seconds": sorted(seconds)[len(seconds) // 2], "cells": cells}))
