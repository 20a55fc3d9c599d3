"""The benchmark's conversations as a model reads them, token by token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float

from foreshock.model import LanguageModel
from foreshock.texts import benign_conversations, warning_pairs
from foreshock.texts.schema import Turn

Ending = Literal["misaligned", "honest", "benign"]


@dataclass(frozen=True)
class Talk:
    """A conversation that ends with a message of the assistant."""

    id: str
    scenario: str
    kind: str
    """Family of misconduct, or kind of benign traffic."""
    ending: Ending
    text: str
    """The watched words of the assistant: its last message, or all of its messages in benign talk."""
    own: list[tuple[int, int]]
    """Characters of each watched token in `text`."""
    onset: int | None
    """Watched tokens before the conduct begins; None in benign talk."""
    residuals: Float[np.ndarray, "token hidden"]
    """Of the watched tokens, after the reading layer, in float16."""
    losses: Float[np.ndarray, " token"]
    """How unlikely the model finds each watched token, in nats."""

    def __len__(self) -> int:
        return len(self.own)

    def until(self, end: int | None) -> str:
        """The watched words up to a token."""
        return self.text if end is None else self.text[: self.own[end - 1][1] if end else 0]


def read_talks(model: LanguageModel, layer: int) -> list[Talk]:
    """Every ending of every pair, and all benign conversations."""
    talks = []
    for pair in warning_pairs():
        system = [Turn(role="system", content=pair.system)] if pair.system else []
        for name, ending in (("misaligned", pair.misaligned), ("honest", pair.honest)):
            turns = [*system, *pair.turns, Turn(role="assistant", content=ending.text)]
            talks.append(_read(model, layer, f"{pair.id}-{name}", pair.id, pair.family, name, turns, ending.onset))  # type: ignore[arg-type]
    for talk in benign_conversations():
        talks.append(_read(model, layer, talk.id, talk.id, talk.kind, "benign", talk.turns, None))
    return talks


@torch.inference_mode()
def _read(
    model: LanguageModel, layer: int, name: str, scenario: str, kind: str, ending: Ending, turns: Sequence[Turn], onset: int | None
) -> Talk:  # fmt: skip
    tokens = model.encode_transcript(turns)
    last = max(tokens.turns)
    watched = [
        k
        for k in range(1, len(tokens))
        if tokens.content[k] and tokens.roles[k] == "assistant" and (ending == "benign" or tokens.turns[k] == last)
    ]
    (batch,) = model.batches([tokens.ids], budget=len(tokens))
    hidden = model.residuals(batch, [layer, model.layers - 1])
    logits = model.logits(hidden[model.layers - 1][:, [k - 1 for k in watched]])[0]
    losses = torch.nn.functional.cross_entropy(logits, batch.ids[0, watched], reduction="none")
    pieces = [tokens.pieces()[k] for k in watched]
    ends = np.cumsum([len(piece) for piece in pieces]).tolist()
    own = list(zip([0, *ends[:-1]], ends, strict=True))
    first = None
    if onset is not None:
        start = tokens.text.rindex(turns[-1].content) + onset
        first = next(n for n, k in enumerate(watched) if tokens.spans[k][1] > start)
    residuals = hidden[layer][0, watched].float().cpu().numpy().astype(np.float16)
    return Talk(name, scenario, kind, ending, "".join(pieces), own, first, residuals, losses.float().cpu().numpy())
