"""Runs in the environment of repeng: its set_control, once for each cell."""

from repeng import ControlModel, ControlVector
from sweeping import job_and_model, log_odds, sweep

job, model = job_and_model()
controlled = ControlModel(model, [job["layer"]])


def cell(batch, write):
    """One situation under one vector."""
    controlled.set_control(ControlVector("llama", {job["layer"]: write.numpy()}), 1.0)
    found = log_odds(controlled, batch)
    controlled.reset()
    return found


sweep(job, cell)
