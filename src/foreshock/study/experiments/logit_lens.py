"""Through the unembedding, do a vector's top tokens name the emotion? (paper, "Logit lens")"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int

from foreshock.model import EMBEDDING
from foreshock.study import charts
from foreshock.study.finding import Finding
from foreshock.study.measures.words import own_tokens
from foreshock.study.nulls import (
    against,
    beside,
    bootstrap,
    dealt_out,
    generator,
    harder,
    random_directions,
    shuffled_over,
)
from foreshock.study.subject import Subject
from foreshock.vectors.estimation import unit

DIRECTIONS = 200
"""Random directions; each draw of the null deals them out to the emotions anew."""
DRAWS = 1000
SHOWN = 8
"""Tokens shown at each end."""


def run(subject: Subject) -> list[Finding]:
    """Percentile of each emotion's own word forms among all tokens, against random directions."""
    layer = subject.fitted.reading_layer
    forms = [own_tokens(subject, word) for word in subject.emotions]
    logits = _lens(subject, subject.fitted.at(layer))
    own = np.array([_percentile(row, tokens) for row, tokens in zip(logits, forms, strict=True)])
    random = generator(subject.seed, "logit lens")
    drawn = _lens(subject, random_directions(subject.means.at(layer), DIRECTIONS, random))
    # Each draw gives every emotion a random direction and takes the same statistic.
    table = np.array([[_percentile(row, tokens) for tokens in forms] for row in drawn])
    value, floor = float(own.mean()), _figure(subject, EMBEDDING, forms)
    everyone = np.array([[_percentile(row, tokens) for tokens in forms] for row in logits])
    null, other = harder(
        against("random directions in the span of the activations", value, dealt_out(table, random, DRAWS)),
        against("vectors shuffled over emotions", value, shuffled_over(everyone, random, DRAWS)),
    )
    ranks = _ranks(logits, forms)
    best, best_value = _best_layer(subject, forms)
    finding = Finding(
        id="logit-lens",
        claim="Through the unembedding, a vector points at words of its emotion",
        statistic="mean percentile of the best own word form among all tokens (chance for one form 0.5)",
        estimate=value,
        interval=bootstrap(len(own), lambda rows: float(own[rows].mean()), random),
        null=null,
        published="words of the emotion on top for 12 of 12 shown",
        worthwhile=0.9,
        how_to_read=(
            "Each row shows the tokens that a vector raises and lowers most when it is read straight through the final norm and "
            "the unembedding. The rank is the place of the emotion's best own word form among all tokens; 1 is the top."
        ),
        baselines={
            "the model's embedding layer": floor,
            "median rank of the best own form": float(np.median(ranks)),
            "tokens": float(logits.shape[1]),
        },
        floor=floor,
        notes=(
            beside(other),
            f"At the best of all layers, {best}, the figure is {best_value:.2f}; that layer was picked after the fact.",
            f"An own form is among the top 10 tokens for {int((ranks <= 10).sum())} of {len(ranks)} emotions, "
            f"among the top 100 for {int((ranks <= 100).sum())}.",
            "Forms that the tokenizer splits are stood for by their first piece, so that part of the rank is shared with other words.",
        ),
        table=tuple(
            _row(subject, word, row, rank) for word, row, rank in zip(subject.emotions, logits, ranks, strict=True)
        ),
        charts=(
            charts.bars(
                "logit-lens",
                "Percentile of the best own word form; the dashed rule is the mean of the null",
                [{"emotion": w, "percentile": float(v)} for w, v in zip(subject.emotions, own, strict=True)],
                "percentile",
                "emotion",
                null.mean,
            ),
        ),
    )
    return [finding]


def _figure(subject: Subject, layer: int, forms: list[np.ndarray]) -> float:
    """Mean percentile of the best own form for the vectors of one layer."""
    logits = _lens(subject, subject.fitted.at(layer))
    return float(np.mean([_percentile(row, tokens) for row, tokens in zip(logits, forms, strict=True)]))


def _best_layer(subject: Subject, forms: list[np.ndarray]) -> tuple[int, float]:
    """The layer whose vectors point best at their own words, and how well."""
    figures = {layer: _figure(subject, layer, forms) for layer in subject.fitted.layers if layer != EMBEDDING}
    best = max(figures, key=lambda layer: figures[layer])
    return best, figures[best]


def _lens(subject: Subject, directions: Float[np.ndarray, "direction hidden"]) -> Float[np.ndarray, "direction token"]:
    return subject.model.unembed(torch.from_numpy(unit(directions)).float()).cpu().numpy()


def _percentile(logits: Float[np.ndarray, " token"], tokens: Int[np.ndarray, " form"]) -> float:
    return float((logits < logits[tokens].max()).mean())


def _ranks(logits: Float[np.ndarray, "emotion token"], forms: list[np.ndarray]) -> Int[np.ndarray, " emotion"]:
    return np.array([1 + int((row > row[tokens].max()).sum()) for row, tokens in zip(logits, forms, strict=True)])


def _row(subject: Subject, word: str, logits: Float[np.ndarray, " token"], rank: int) -> dict[str, Any]:
    order = np.argsort(logits)
    decode = subject.model.tokenizer.decode

    def words(ids: np.ndarray) -> str:
        return " · ".join(decode([int(token)]).strip() or "␣" for token in ids)

    return {"emotion": word, "raises": words(order[::-1][:SHOWN]), "lowers": words(order[:SHOWN]), "rank": int(rank)}
