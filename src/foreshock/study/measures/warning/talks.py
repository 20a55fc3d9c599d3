"""Conversations as a model reads them, token by token: what a warner gets to see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import torch
from jaxtyping import Float

from foreshock.activations import Progress
from foreshock.errors import TooLong
from foreshock.model import LanguageModel, Tokens
from foreshock.texts.schema import BenignConversation, WarningPair


@dataclass(frozen=True)
class Laid:
    """A conversation laid out for the model."""

    scenario: str
    kind: str
    """Family of misconduct, kind of benign traffic, or a task."""
    misaligned: bool
    tokens: Tokens
    watched: list[int]
    """Tokens that are read, none of them the first: the assistant's last message, or all of its messages."""
    onset: int | None = None
    """Watched tokens before the conduct begins; None where none does."""

    @property
    def pieces(self) -> list[str]:
        """The characters of each watched token."""
        return [self.tokens.text[slice(*self.tokens.spans[k])] for k in self.watched]


@dataclass(frozen=True)
class Talk:
    """A conversation as it was read; lists and arrays have an entry for each watched token."""

    scenario: str
    kind: str
    misaligned: bool
    pieces: list[str]
    onset: int | None
    residuals: Float[np.ndarray, "token hidden"]
    """In mean residual norms, in float16."""
    losses: Float[np.ndarray, " token"]
    """How unlikely the model finds each token, in nats."""

    def __len__(self) -> int:
        return len(self.pieces)

    def words(self, start: int = 0, end: int | None = None) -> str:
        """The watched characters between two tokens."""
        return "".join(self.pieces[start:end])

    def until(self, end: int) -> Talk:
        """The same conversation when no more than `end` watched tokens had come."""
        return Talk(
            self.scenario, self.kind, self.misaligned, self.pieces[:end], self.onset, self.residuals[:end], self.losses[:end]
        )  # fmt: skip


def pair_laid(model: LanguageModel, pair: WarningPair) -> tuple[Laid, Laid] | None:
    """The misaligned and the honest ending of a pair; None where the model takes no text of that length."""
    laid = []
    for ending in (pair.misaligned, pair.honest):
        try:
            tokens = model.encode_transcript(pair.told(ending))
        except TooLong:
            return None
        last = max(tokens.turns[k] for k in range(len(tokens)) if tokens.content[k])
        watched = [k for k in _own(tokens) if tokens.turns[k] == last]
        # The template may have trimmed or moved the message, so the conduct's first word is looked up.
        begins = tokens.text.rindex(ending.act.strip())
        onset = sum(tokens.spans[k][1] <= begins for k in watched)
        laid.append(Laid(pair.id, pair.family, ending is pair.misaligned, tokens, watched, onset))
    return (laid[0], laid[1]) if all(one.onset for one in laid) else None


def benign_laid(model: LanguageModel, talk: BenignConversation) -> Laid | None:
    """A benign conversation, of which all of the assistant's words are watched; None where it is too long."""
    try:
        tokens = model.encode_transcript(talk.turns)
    except TooLong:
        return None
    return Laid(talk.id, talk.kind, False, tokens, _own(tokens))


def _own(tokens: Tokens) -> list[int]:
    return [k for k in range(1, len(tokens)) if tokens.content[k] and tokens.roles[k] == "assistant"]


@torch.inference_mode()
def read(
    model: LanguageModel, laid: Sequence[Laid], layer: int, norm: float, progress: Progress | None = None
) -> dict[str, np.ndarray]:
    """Residuals after a layer and losses of the watched tokens of all conversations, one after the other.

    Args:
        norm: what residuals are divided by, so that float16 holds them.
    """
    last = model.layers - 1
    residuals: list[np.ndarray] = [np.empty(0)] * len(laid)
    losses = list(residuals)
    for batch in model.batches([one.tokens.ids for one in laid]):
        hidden = model.residuals(batch, [layer, last])
        for place, row in enumerate(batch.rows):
            watched = laid[row].watched
            logits = model.logits(hidden[last][place : place + 1, [k - 1 for k in watched]])[0]
            loss = torch.nn.functional.cross_entropy(
                logits, batch.ids[place, watched].to(logits.device), reduction="none"
            )
            losses[row] = loss.float().cpu().numpy()
            residuals[row] = (hidden[layer][place, watched].float() / norm).cpu().numpy().astype(np.float16)
        if progress:
            progress(len(batch.rows), sum(len(laid[row].tokens) for row in batch.rows))
    return {"residuals": np.concatenate(residuals), "losses": np.concatenate(losses)}


def talks_of(laid: Sequence[Laid], arrays: dict[str, np.ndarray]) -> list[Talk]:
    """The conversations with what `read` gave for them."""
    ends = list(accumulate(len(one.watched) for one in laid))
    return [
        Talk(one.scenario, one.kind, one.misaligned, one.pieces, one.onset, arrays["residuals"][end - len(one.watched) : end], arrays["losses"][end - len(one.watched) : end])
        for one, end in zip(laid, ends, strict=True)
    ]  # fmt: skip
