"""steering-vectors: its own training for extraction, its apply for each cell of a sweep."""

from steering_vectors import SteeringVector, train_steering_vector
from sweeping import cells, log_odds
from working import JOB, answer, opened

model, tokenizer = opened()
# Each text is read once: the first half as positives, the second as negatives.
half = len(JOB["texts"]) // 2
PAIRS = list(zip(JOB["texts"][:half], JOB["texts"][half : 2 * half], strict=True))


def extraction():
    train_steering_vector(model, tokenizer, PAIRS, layers=[JOB["layer"]], batch_size=JOB["batch"])


def cell(batch, write):
    """One situation under one vector."""
    with SteeringVector({JOB["sweep_layer"]: write}).apply(model):
        return log_odds(model, batch)


def sweep():
    return cells(cell, model.dtype)


answer({"extraction": extraction, "sweep": sweep})
