"""Linear layers that are filled up to few lengths give what they gave."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from foreshock.model.lengths import FEW, STEP, few_lengths
from foreshock.model.planted import Planted


class Counted(nn.Linear):
    """Notes how many tokens it is given."""

    def __init__(self) -> None:
        super().__init__(4, 3)
        self.met: list[int] = []

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        self.met.append(input.shape[-2])
        return super().forward(input)


@given(tokens=st.integers(0, 100), rows=st.integers(1, 3))
def test_the_numbers_stay_and_few_lengths_are_met(tokens: int, rows: int) -> None:
    layer = Counted()
    x = torch.randn(rows, tokens, 4)
    plain = layer(x)
    with few_lengths(layer):
        torch.testing.assert_close(layer(x), plain)
    assert layer.met[-1] - tokens < STEP
    assert layer.met[-1] <= FEW or layer.met[-1] % STEP == 0


def test_a_model_is_left_as_it_was_also_where_another_library_has_its_own_forward(plant: Planted) -> None:
    head = plant.model.model.get_output_embeddings()
    others = head.forward
    head.forward = others
    try:
        with few_lengths(plant.model.model), pytest.raises(ZeroDivisionError):
            assert head.forward is not others
            raise ZeroDivisionError
        assert head.forward is others
    finally:
        del head.forward
    linear = [layer for layer in plant.model.model.modules() if isinstance(layer, nn.Linear)]
    assert linear and not any("forward" in vars(layer) for layer in linear)
