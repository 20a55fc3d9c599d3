"""Runs in the environment of steering-vectors: its apply, once for each cell."""

from steering_vectors import SteeringVector
from sweeping import job_and_model, log_odds, sweep

job, model = job_and_model()


def cell(batch, write):
    """One situation under one vector."""
    with SteeringVector({job["layer"]: write.to(model.dtype)}).apply(model):
        return log_odds(model, batch)


sweep(job, cell)
