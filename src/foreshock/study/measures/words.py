"""Emotion words as next tokens, and how much a write to the stream raises them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int

from foreshock.emotions import lookup
from foreshock.model.continuation import Continuation
from foreshock.study.subject import Subject

Effects = Float[np.ndarray, "direction word"]
"""Rise in log-probability (nats) of each emotion's words for each direction written."""


def own_tokens(subject: Subject, word: str) -> Int[np.ndarray, " form"]:
    """First tokens of the emotion's word forms as they stand inside a sentence; whole tokens where there are any."""
    pieces = [subject.model.tokenizer.encode(f" {form}", add_special_tokens=False) for form in lookup(word).forms]
    whole = [ids[0] for ids in pieces if len(ids) == 1]
    return np.array(sorted(set(whole or [ids[0] for ids in pieces])))


def word_effects(
    subject: Subject, layer: int, writes: Float[np.ndarray, "direction hidden"], frames: Sequence[str]
) -> Effects:
    """Mean over frames of the rise in log-probability of each emotion's words (nats) as the next word."""
    forms = [torch.from_numpy(own_tokens(subject, word)) for word in subject.emotions]
    rows = torch.from_numpy(np.concatenate([np.zeros_like(writes[:1]), writes]).astype(np.float32))
    total = np.zeros((len(writes), len(forms)), np.float32)
    for frame in frames:
        ids = subject.model.encode(frame).ids
        found = Continuation(subject.model, ids, layer).log_probs(rows, [len(ids) - 1])[:, 0].cpu()
        words = torch.stack([found[:, tokens].logsumexp(1) for tokens in forms], 1).numpy()
        total += words[1:] - words[:1]
    return total / len(frames)


def specific(effects: Effects) -> Float[np.ndarray, " word"]:
    """Effect of each row on its own word less its mean effect on the other words."""
    return np.diag(specific_of_each(effects)).copy()


def specific_of_each(effects: Effects) -> Effects:
    """For every row and word: the effect on that word less the mean effect on the other words."""
    count = effects.shape[1]
    return (effects - effects.mean(1, keepdims=True)) * count / (count - 1)
