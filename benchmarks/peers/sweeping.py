"""What all peers' sweeps share: the six replies of an item as one padded batch, scored by their log-odds."""

import torch
from working import JOB


def batch_of(replies):
    """Token ids padded on the right, their mask, and which places are the reply's own words."""
    longest = max(len(ids) for ids, _ in replies)
    ids = torch.zeros(len(replies), longest, dtype=torch.long)
    mask, own = torch.zeros_like(ids), torch.zeros_like(ids)
    for row, (reply, start) in enumerate(replies):
        ids[row, : len(reply)] = torch.tensor(reply)
        mask[row, : len(reply)], own[row, start : len(reply)] = 1, 1
    return ids, mask, own.bool()


def cells(cell, dtype):
    """`cell(batch, write)` over all items and writes."""
    writes = torch.tensor(JOB["writes"]).to(dtype)
    return [[cell(batch_of(replies), write) for write in writes] for replies in JOB["items"]]


def scored(normed, head, batch):
    """Mean log-probability a token of the first half of the replies less that of the second half.

    Only the replies' own places are unembedded, as Foreshock does it too.
    """
    ids, _, own = batch
    logits = head(normed[:, :-1][own[:, 1:]]).float()
    found = logits.log_softmax(-1).gather(-1, ids[own][:, None])[:, 0]
    scores = torch.stack([part.mean() for part in found.split(own.sum(1).tolist())])
    half = len(scores) // 2
    return float(scores[:half].mean() - scores[half:].mean())


@torch.inference_mode()
def log_odds(model, batch):
    """The score of a model of transformers, whose blocks a peer has changed in place."""
    ids, mask, _ = batch
    positions = torch.arange(ids.shape[1]).expand(len(ids), -1)  # repeng wants a row of them each
    normed = model.model(input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False)[0]
    return scored(normed, model.lm_head, batch)
