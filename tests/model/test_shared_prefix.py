"""Prompts that share their beginning give what they give when run whole, one by one; in every family."""

from __future__ import annotations

import pytest
import torch
import transformers as hf

from foreshock.model import LanguageModel, shared_prefix
from foreshock.model.planted import Planted
from foreshock.model.shared_prefix import next_token_logits, shares_prefix
from tests.architectures.families import FAMILIES, word_tokenizer

PREFIX = [5, 9, 77, 14, 30, 8, 99, 61, 12, 40, 41]
ENDINGS = [[7, 7, 8], [120], [33, 21, 64, 90, 15, 16, 17], [7, 7, 9, 4], [7, 7, 8, 3]]
PROMPTS = [PREFIX + ending for ending in ENDINGS]
TOKENS = [3, 50, 7]


def network(family: str, dtype: torch.dtype = torch.float32) -> LanguageModel:
    torch.manual_seed(0)
    return LanguageModel(hf.AutoModelForCausalLM.from_config(FAMILIES[family]).to(dtype), word_tokenizer(), family)


@torch.inference_mode()
def one_by_one(model: LanguageModel, prompts: list[list[int]]) -> torch.Tensor:
    return torch.stack([model.model(torch.tensor([ids]), use_cache=False).logits[0, -1] for ids in prompts])


@pytest.mark.parametrize("family", FAMILIES)
def test_shared_and_whole_give_the_models_own_logits(family: str) -> None:
    model = network(family)
    own = one_by_one(model, PROMPTS)
    assert torch.allclose(next_token_logits(model, PROMPTS), own, atol=1e-5)
    assert torch.allclose(next_token_logits(model, PROMPTS, share=False), own, atol=1e-5)
    assert torch.allclose(next_token_logits(model, PROMPTS, TOKENS), own[:, TOKENS], atol=1e-5)
    assert shares_prefix(model, PROMPTS)


def test_the_planted_model_gives_the_same(plant: Planted) -> None:
    texts = [f"w1 w2 happy~0~1 w3 sad~{topic}~0 w{topic}" for topic in range(5)] + ["w1 w2 happy~0~1 w9"]
    prompts = [plant.model.encode(text).ids for text in texts]
    assert torch.allclose(next_token_logits(plant.model, prompts), one_by_one(plant.model, prompts), atol=1e-5)


def test_small_batches_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    model = network("llama")
    together = next_token_logits(model, PROMPTS)
    monkeypatch.setattr(shared_prefix, "BUDGET", 30)
    assert torch.allclose(next_token_logits(model, PROMPTS), together, atol=1e-5)


def test_chosen_tokens_are_not_rounded_to_the_models_dtype() -> None:
    model = network("llama", torch.bfloat16)
    coarse, fine = next_token_logits(model, PROMPTS)[:, TOKENS], next_token_logits(model, PROMPTS, TOKENS)
    assert torch.allclose(coarse, fine, rtol=2**-7)
    assert torch.equal(coarse, coarse.bfloat16().float()) and not torch.equal(fine, fine.bfloat16().float())


@pytest.mark.parametrize("prompts", [[PREFIX], [[5], [6]], [PREFIX, PREFIX], [PREFIX, PREFIX[:4]]])
def test_prompts_that_share_all_or_nothing(prompts: list[list[int]]) -> None:
    model = network("gpt2")
    assert torch.allclose(next_token_logits(model, prompts), one_by_one(model, prompts), atol=1e-5)


def test_no_prompts_give_no_logits() -> None:
    assert next_token_logits(network("llama"), [], TOKENS).shape == (0, 3)


def test_a_cache_that_cannot_be_repeated_or_goes_wrong_is_found_by_trying(monkeypatch: pytest.MonkeyPatch) -> None:
    model = network("llama")
    with torch.no_grad():
        model.anatomy.unembedding.weight.mul_(50)  # type: ignore[operator, union-attr]
    assert shares_prefix(model, PROMPTS)
    monkeypatch.setattr(shared_prefix, "_cache", lambda *_: None)  # what came before is lost
    assert not shares_prefix(model, PROMPTS)
    monkeypatch.setattr(shared_prefix, "_cache", lambda *_: object())
    assert not shares_prefix(model, PROMPTS)


def test_the_hooks_are_gone_afterwards() -> None:
    model = network("llama")
    next_token_logits(model, PROMPTS, TOKENS)
    assert not model.anatomy.unembedding._forward_hooks and not model.anatomy.unembedding._forward_pre_hooks
