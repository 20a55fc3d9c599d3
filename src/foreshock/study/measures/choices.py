"""Which of two activities would the model rather do? Every ordered pair is asked, and scored as in chess.

The answer is a letter, read off the logits of the next token. Being named first or being called A helps an activity;
asking each pair both ways round takes that out (paper, "Preferences").
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from foreshock.model import LanguageModel, Tokens
from foreshock.model.places import Characters, token_range
from foreshock.model.shared_prefix import next_token_logits, shares_prefix
from foreshock.study.nulls import generator
from foreshock.study.subject import Arrays, Subject
from foreshock.texts.schema import Turn

QUESTION = (
    "You have a free hour and can spend it on one of the two things below. "
    "Which of them would you rather do? Answer with its letter alone.\n\n"
)
CHUNK = 8
"""First options whose answers are kept together: what a kill can cost."""
TRIED = 4
"""Prompts on which sharing a prefix is tried before it is trusted."""
ELO = 400 / math.log(10)
"""Elo points in one natural log-odds."""
DRAWS = 1000
Square = Float[np.ndarray, "first second"]


@dataclass(frozen=True, slots=True)
class Letters:
    """How a model answers with a letter."""

    tail: int
    """Tokens of a finished answer from the letter on: a prompt stops before them."""
    a: tuple[int, ...]
    """Tokens that are an A in one surface form or another."""
    b: tuple[int, ...]

    @property
    def all(self) -> list[int]:
        """The A's, then the B's."""
        return [*self.a, *self.b]


@dataclass(frozen=True, slots=True)
class Choices:
    """The answers about all pairs of activities."""

    asked: Square
    """Log-odds of A over B, the row's activity being A and the column's B; 0 on the diagonal."""
    mass: float
    """Share of the next token's probability that the letters hold, over the pairs of the first activity."""

    @property
    def preferred(self) -> Square:
        """Log-odds of the row's activity over the column's, the order taken out; skew-symmetric."""
        return np.asarray((self.asked - self.asked.T) / 2)

    @property
    def order_bias(self) -> float:
        """How far the order alone moves the log-odds, on average over pairs."""
        both = (self.asked + self.asked.T) / 2
        return float(np.abs(both[np.triu_indices(len(both), 1)]).mean())

    @property
    def elo(self) -> Float[np.ndarray, " activity"]:
        """Bradley-Terry scores with soft outcomes, in Elo points about a mean of 0.

        The least-squares fit of s_i - s_j to a full skew-symmetric table is its row mean.
        """
        return np.asarray(ELO * self.preferred.mean(1))

    def elo_interval(self, seed: int) -> Float[np.ndarray, "2 activity"]:
        """95 % interval of each score, by resampling the opponents."""
        count = len(self.asked)
        draws = generator(seed, "opponents").multinomial(count, np.full(count, 1 / count), DRAWS)
        met = count / (count - 1) * (draws.sum(1, keepdims=True) - draws)  # nobody meets itself
        scores = ELO * draws @ self.preferred.T / np.maximum(met, 1)
        return np.asarray(np.quantile(scores, [0.025, 0.975], axis=0))

    @property
    def consistency(self) -> float:
        """Share of the variance of the preferences that one score an activity explains (of noise: 2 / activities)."""
        upper = np.triu_indices(len(self.asked), 1)
        scores = self.preferred.mean(1)
        left = (self.preferred - (scores[:, None] - scores[None]))[upper]
        return float(1 - (left**2).sum() / max((self.preferred[upper] ** 2).sum(), 1e-12))


def ask(subject: Subject, activities: Sequence[str]) -> Choices | None:
    """The answers about every ordered pair of `activities`; None where the tokenizer cannot tell A from B."""
    model = subject.model
    letters = find_letters(model, activities[0], activities[1])
    if letters is None:
        return None
    prompts = [prompts_of(model, activities, first, letters) for first in range(len(activities))]
    share = shares_prefix(model, prompts[0][:TRIED])
    tokens = letters.all

    def answers(asked: list[list[list[int]]]) -> Arrays:
        return {"answers": np.stack([_answers(subject, row, letters, share) for row in asked])}

    found = []
    for start in range(0, len(prompts), CHUNK):
        asked = prompts[start : start + CHUNK]
        kept = subject.kept("choices", [asked, tokens, share], lambda asked=asked: answers(asked))  # type: ignore[misc]
        found.append(kept["answers"])
    square = np.zeros((len(prompts), len(prompts)))
    square[~np.eye(len(prompts), dtype=bool)] = np.concatenate(found).ravel()
    mass = subject.kept("letters", [prompts[0], tokens, share], lambda: _mass(model, prompts[0], tokens, share))
    return Choices(square, float(mass["mass"].mean()))


def prompts_of(model: LanguageModel, activities: Sequence[str], first: int, letters: Letters) -> list[list[int]]:
    """The questions with one activity as A and each other as B, up to where the letter of the answer comes."""
    others = [activity for k, activity in enumerate(activities) if k != first]
    return [_encode(model, activities[first], second)[: -letters.tail] for second in others]


def find_letters(model: LanguageModel, first: str, second: str) -> Letters | None:
    """Where in an answer the letter stands, and the tokens that may stand for it.

    How a tokenizer splits `(A)` is found by laying out both answers: the first token in which they differ is the
    letter. Other single tokens of the same letter are added in pairs, so that neither letter has more of them.
    """
    a, b = (_encode(model, first, second, letter) for letter in "AB")
    at = next((k for k, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), None)
    if at is None:
        return None
    pairs = {(a[at], b[at])}
    for form in ("{}", " {}", "{})", "({}"):
        both = [model.tokenizer.encode(form.format(letter), add_special_tokens=False) for letter in "AB"]
        if all(len(ids) == 1 for ids in both) and both[0] != both[1]:
            pairs.add((both[0][0], both[1][0]))
    return Letters(len(a) - at, tuple(sorted({x for x, _ in pairs})), tuple(sorted({y for _, y in pairs})))


def asked(model: LanguageModel, first: str, second: str, answer: str = "A") -> tuple[Tokens, tuple[slice, slice]]:
    """One question with its answer, and the tokens of its two options."""
    options = f"(A) {first}\n(B) {second}"
    turns = [Turn(role="user", content=QUESTION + options), Turn(role="assistant", content=f"({answer})")]
    tokens = model.encode_transcript(turns)
    a = tokens.text.rindex(options) + len("(A) ")
    b = a + len(f"{first}\n(B) ")
    spans = (token_range(Characters(start, start + len(text)), tokens) for start, text in ((a, first), (b, second)))
    own, other = cast("Iterator[slice]", spans)
    return tokens, (own, other)


def _encode(model: LanguageModel, first: str, second: str, answer: str = "A") -> list[int]:
    return asked(model, first, second, answer)[0].ids


def _answers(subject: Subject, prompts: list[list[int]], letters: Letters, share: bool) -> Float[np.ndarray, " second"]:
    """Log-odds of A over B after each prompt, each letter's surface forms taken together."""
    logits = next_token_logits(subject.model, prompts, letters.all, share=share)
    if subject.progress:
        subject.progress(len(prompts), sum(map(len, prompts)))
    a, b = logits[:, : len(letters.a)], logits[:, len(letters.a) :]
    return (a.logsumexp(1) - b.logsumexp(1)).numpy()


def _mass(model: LanguageModel, prompts: list[list[int]], tokens: list[int], share: bool) -> Arrays:
    logits: Tensor = next_token_logits(model, prompts, share=share)
    return {"mass": torch.softmax(logits, 1)[:, tokens].sum(1).numpy()}
