"""Running on from a layer gives what a whole steered pass gives, in every family."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
import transformers as hf

from foreshock.model import LanguageModel
from foreshock.model.continuation import Continuation
from foreshock.model.stream import add
from tests.architectures.families import FAMILIES, word_tokenizer

IDS = [5, 9, 77, 14, 30, 8, 99]


@pytest.fixture(scope="module", params=FAMILIES)
def model(request: pytest.FixtureRequest) -> Iterator[LanguageModel]:
    torch.manual_seed(0)
    yield LanguageModel(hf.AutoModelForCausalLM.from_config(FAMILIES[request.param]), word_tokenizer(), request.param)


@torch.inference_mode()
def whole(model: LanguageModel, layer: int, vector: torch.Tensor) -> torch.Tensor:
    with model.hooked(writes={layer: add(vector)}):
        return model.model(torch.tensor([IDS]), use_cache=False).logits[0].float().log_softmax(-1)


@pytest.mark.parametrize("layer", [0, 2, 3])
def test_each_row_equals_a_whole_pass_with_its_own_write(model: LanguageModel, layer: int) -> None:
    writes = torch.stack([torch.zeros(model.hidden), torch.linspace(-1, 1, model.hidden), torch.ones(model.hidden)])
    found = Continuation(model, IDS, layer).log_probs(writes, [2, 6])
    for row, write in enumerate(writes):
        assert torch.allclose(found[row], whole(model, layer, write)[[2, 6]], atol=2e-4), row


def test_losses_are_those_of_the_text(model: LanguageModel) -> None:
    losses = Continuation(model, IDS, 1).losses(torch.zeros(3, model.hidden), IDS)
    own = whole(model, 1, torch.zeros(model.hidden))
    wanted = -own[:-1].gather(1, torch.tensor(IDS[1:])[:, None]).mean()
    assert torch.allclose(losses, wanted.expand(3), atol=2e-4)


def test_a_span_keeps_writes_to_its_tokens(model: LanguageModel) -> None:
    vector = torch.linspace(-1, 1, model.hidden)
    found = Continuation(model, IDS, 1, span=slice(2, 4)).log_probs(vector[None])[0]
    mask = torch.zeros(1, len(IDS), 1)
    mask[:, 2:4] = 1
    assert torch.allclose(found, whole(model, 1, mask * vector), atol=2e-4)
    assert torch.allclose(found[:2], whole(model, 1, 0 * vector)[:2], atol=2e-4)
