"""repeng: its own reading of hidden states (without its PCA), its set_control for each cell of a sweep."""

import numpy as np
from repeng import ControlModel, ControlVector
from repeng.extract import batched_get_hiddens
from sweeping import batch_of, log_odds
from working import JOB, answer, opened

model, tokenizer = opened()


def extraction():
    batched_get_hiddens(model, tokenizer, JOB["texts"], [JOB["layer"]], JOB["batch"])


def sweep():
    controlled = ControlModel(model, [JOB["sweep_layer"]])
    try:
        return [[_cell(controlled, batch_of(replies), write) for write in JOB["writes"]] for replies in JOB["items"]]
    finally:
        controlled.unwrap()


def _cell(controlled, batch, write):
    """One situation under one vector."""
    controlled.set_control(ControlVector("llama", {JOB["sweep_layer"]: np.array(write, np.float32)}), 1.0)
    found = log_odds(controlled, batch)
    controlled.reset()
    return found


answer({"extraction": extraction, "sweep": sweep})
