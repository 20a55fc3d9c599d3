from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from foreshock.model.batches import pad, plan


@given(st.lists(st.integers(1, 200), min_size=1, max_size=60), st.integers(1, 500))
def test_every_text_is_in_one_batch_within_the_budget(lengths: list[int], budget: int) -> None:
    groups = plan(lengths, budget)
    assert sorted(row for group in groups for row in group) == list(range(len(lengths)))
    for group in groups:
        assert len(group) == 1 or len(group) * max(lengths[row] for row in group) <= budget
    assert [lengths[row] for group in groups for row in group] == sorted(lengths, reverse=True)


def test_padding_is_on_the_right_and_masked() -> None:
    batch = pad([[5, 6, 7], [8]], [1, 0], 0, torch.device("cpu"))
    assert batch.ids.tolist() == [[8, 0, 0], [5, 6, 7]]
    assert batch.mask().tolist() == [[True, False, False], [True, True, True]]
