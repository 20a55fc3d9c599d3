"""Replies as branches of one prompt: the scores of whole texts, and slopes that finite writes confirm."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
import transformers as hf

from foreshock.errors import TextError, TooLong
from foreshock.model import LanguageModel
from foreshock.model.branches import Branches, Reply, encode_reply, fits_tree
from foreshock.model.stream import add
from foreshock.texts.schema import Turn
from tests.architectures.families import FAMILIES, word_tokenizer

LAYER = 1
REPLIES = [Reply([5, 9, 77, 14, 30, 8], 3, 6), Reply([5, 9, 77, 61, 12], 3, 5), Reply([5, 9, 77, 40, 41, 42, 9], 3, 7)]
LONG = [Reply([*range(20, 30), *reply.ids], reply.start + 10, reply.end + 10) for reply in REPLIES]
WITHOUT_TREE = {"mistral", "gemma2", "gemma3", "falcon-alibi"}
"""Families whose window here is shorter than these texts, or that count distances by themselves."""


@pytest.fixture(scope="module", params=FAMILIES)
def model(request: pytest.FixtureRequest) -> Iterator[LanguageModel]:
    torch.manual_seed(0)
    yield LanguageModel(hf.AutoModelForCausalLM.from_config(FAMILIES[request.param]), word_tokenizer(), request.param)


@torch.inference_mode()
def whole(model: LanguageModel, reply: Reply, vector: torch.Tensor) -> torch.Tensor:
    with model.hooked(writes={LAYER: add(vector)}):
        found = model.model(torch.tensor([reply.ids]), use_cache=False).logits[0].float().log_softmax(-1)
    own = range(reply.start, reply.end)
    return torch.stack([found[place - 1, reply.ids[place]] for place in own]).mean()


def test_each_reply_scores_as_its_whole_text_in_a_steered_pass(model: LanguageModel) -> None:
    writes = torch.stack([torch.zeros(model.hidden), torch.linspace(-1, 1, model.hidden), torch.ones(model.hidden)])
    tree = fits_tree(model, REPLIES, LAYER)
    for way in {tree, False}:
        scores = Branches(model, REPLIES, LAYER, tree=way).scores(writes)
        for row, write in enumerate(writes):
            for column, reply in enumerate(REPLIES):
                assert torch.isclose(scores[row, column], whole(model, reply, write), atol=3e-4), (row, column, way)


def test_one_backward_pass_gives_the_slope_in_every_direction(model: LanguageModel) -> None:
    weights = torch.tensor([1.0, -0.5, -0.5])
    branches = Branches(model, REPLIES, LAYER, tree=fits_tree(model, REPLIES, LAYER))
    value, slope = branches.slope(weights)
    assert abs(value - float(branches.scores(torch.zeros(1, model.hidden))[0] @ weights)) < 1e-5
    random = torch.randn(8, model.hidden, generator=torch.Generator().manual_seed(1))
    small = 1e-4  # the stream of an untrained model is short
    finite = (branches.scores(small * random) - branches.scores(-small * random)) @ weights / (2 * small)
    assert torch.allclose(random @ slope, finite, atol=0.05 * float(finite.abs().max()) + 5e-3)
    assert torch.corrcoef(torch.stack([random @ slope, finite]))[0, 1] > (
        0.9 if float(finite.abs().max()) < 0.1 else 0.999
    )
    assert all(weight.requires_grad and weight.grad is None for weight in model.model.parameters())


def test_which_families_are_laid_out_as_a_tree(model: LanguageModel) -> None:
    assert fits_tree(model, LONG, LAYER) == (model.name not in WITHOUT_TREE)


def test_a_wrong_tree_is_found_in_bfloat16_too() -> None:
    """Untrained models of the families above differ by 0.3 nats a token and more; rounding by a tenth of that."""
    for family in FAMILIES:
        torch.manual_seed(0)
        network = hf.AutoModelForCausalLM.from_config(FAMILIES[family]).to(torch.bfloat16)
        coarse = LanguageModel(network, word_tokenizer(), family)
        assert fits_tree(coarse, LONG, LAYER) == (family not in WITHOUT_TREE), family


def test_a_reply_is_scored_on_its_own_words(model: LanguageModel) -> None:
    turns = [Turn(role="user", content="t5 t9")]
    reply = encode_reply(model, turns, "t30 t8")
    assert reply.ids[reply.start : reply.end] == [30, 8]
    with pytest.raises(TextError, match="has no words"):
        encode_reply(model, turns, "")
    if model.context and model.context < 200:
        with pytest.raises(TooLong):
            encode_reply(model, turns, "t5 " * 200)
