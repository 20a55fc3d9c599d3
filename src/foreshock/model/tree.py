"""Several endings after one beginning, laid out as one sequence in which no ending sees another.

A mask lets each token see the beginning and its own ending only, and positions count on from the beginning in every
ending, so the beginning is computed once. Models that make their own masks, or remember without attention, cannot do
this; `Branches` finds out by comparing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

if TYPE_CHECKING:
    from foreshock.model.language_model import LanguageModel


@dataclass(frozen=True, slots=True)
class Tree:
    """The shape of the sequence: tokens of the beginning, and of each ending after it."""

    beginning: int
    endings: Sequence[int]

    def __len__(self) -> int:
        return self.beginning + sum(self.endings)

    @property
    def first(self) -> list[int]:
        """Where in the sequence each ending begins."""
        return [self.beginning + sum(self.endings[:k]) for k in range(len(self.endings))]

    def arguments(self, model: LanguageModel) -> dict[str, Tensor]:
        """What the decoder is called with, besides the tokens."""
        return {
            "attention_mask": self.mask(model.dtype).to(model.device),
            "position_ids": self.positions().to(model.device),
        }

    def positions(self) -> Int[Tensor, "1 token"]:
        """Place of each token in its own text."""
        own = [torch.arange(self.beginning, self.beginning + length) for length in self.endings]
        return torch.cat([torch.arange(self.beginning), *own])[None]

    def mask(self, dtype: torch.dtype) -> Float[Tensor, "1 1 token token"]:
        """What is added to the attention scores: 0 where a token sees another, else the lowest number."""
        ending = torch.cat(
            [torch.full((self.beginning,), -1), *(torch.full((n,), k) for k, n in enumerate(self.endings))]
        )
        seen = (ending[:, None] == ending[None]) | (ending[None] == -1)
        seen &= torch.ones(len(self), len(self), dtype=torch.bool).tril()
        return torch.zeros(seen.shape, dtype=dtype).masked_fill(~seen, torch.finfo(dtype).min)[None, None]
