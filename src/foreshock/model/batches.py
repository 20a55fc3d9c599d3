"""Token-budget batches, sorted by length and padded on the right.

With a causal model, padding on the right needs no attention mask: a real token never sees what comes
after it. So the mask only serves the pooling, and the attention kernel takes its fast causal path.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Batch:
    """Some texts of a corpus, as one padded block."""

    rows: list[int]
    """Which texts of the corpus these are."""
    ids: Int[Tensor, "batch token"]
    lengths: Int[Tensor, " batch"]

    def mask(self) -> Bool[Tensor, "batch token"]:
        """True where a token is real."""
        return torch.arange(self.ids.shape[1], device=self.ids.device)[None] < self.lengths[:, None]


def plan(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Group texts of these lengths so that rows × longest row stays within `budget` tokens.

    Longest first, so that a shortage of memory shows at once; a text over the budget goes alone.
    """
    order = sorted(range(len(lengths)), key=lambda row: (-lengths[row], row))
    groups: list[list[int]] = []
    for row in order:
        if groups and lengths[groups[-1][0]] * (len(groups[-1]) + 1) <= budget:
            groups[-1].append(row)
        else:
            groups.append([row])
    return groups


def pad(ids: Sequence[Sequence[int]], rows: list[int], padding: int, device: torch.device) -> Batch:
    """The texts `rows` of `ids` as one block, filled up on the right with `padding`."""
    lengths = [len(ids[row]) for row in rows]
    block = torch.full((len(rows), max(lengths)), padding, dtype=torch.long)
    for place, row in enumerate(rows):
        block[place, : lengths[place]] = torch.tensor(ids[row], dtype=torch.long)
    return Batch(rows, block.to(device), torch.tensor(lengths, device=device))
