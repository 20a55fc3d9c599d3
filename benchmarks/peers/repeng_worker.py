"""repeng: its own reading of hidden states (without its PCA), its set_control for each cell of a sweep."""

from functools import partial

import torch
from repeng import ControlModel, ControlVector
from repeng.extract import batched_get_hiddens
from sweeping import cells, log_odds
from working import JOB, answer, opened

model, tokenizer = opened()


def extraction():
    batched_get_hiddens(model, tokenizer, JOB["texts"], [JOB["layer"]], JOB["batch"])


def sweep():
    controlled = ControlModel(model, [JOB["sweep_layer"]])
    try:
        return cells(partial(_cell, controlled), torch.float32)
    finally:
        controlled.unwrap()


def _cell(controlled, batch, write):
    """One situation under one vector."""
    controlled.set_control(ControlVector("llama", {JOB["sweep_layer"]: write.numpy()}), 1.0)
    found = log_odds(model, batch)  # whose blocks are controlled in place
    controlled.reset()
    return found


answer({"extraction": extraction, "sweep": sweep})
