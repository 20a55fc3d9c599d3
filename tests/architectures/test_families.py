"""Every supported family: what is read and written is what the model itself does."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
import transformers as hf
from hypothesis import given
from hypothesis import strategies as st

from foreshock.activations import read_passages
from foreshock.errors import NotADecoder
from foreshock.model import LanguageModel, Site
from foreshock.model.batches import pad
from foreshock.model.proofs import TOLERANCE, difference, prove
from foreshock.model.stream import add
from tests.architectures.families import FAMILIES, VOCABULARY, word_tokenizer

TEXTS = [[5, 9, 77, 14, 30, 8, 99, 61, 12, 40, 41], [7, 7, 8], [120], [33, 21, 64, 90, 15, 16, 17]]


@pytest.fixture(scope="module", params=FAMILIES)
def model(request: pytest.FixtureRequest) -> Iterator[LanguageModel]:
    torch.manual_seed(0)
    yield LanguageModel(hf.AutoModelForCausalLM.from_config(FAMILIES[request.param]), word_tokenizer(), request.param)


def own_hidden_states(model: LanguageModel, ids: list[int]) -> list[torch.Tensor]:
    with torch.inference_mode():
        return list(model.model(torch.tensor([ids]), output_hidden_states=True).hidden_states)


def logits(model: LanguageModel) -> torch.Tensor:
    with torch.inference_mode():
        return model.model(torch.tensor([TEXTS[0]])).logits


def test_reads_equal_the_models_own_hidden_states(model: LanguageModel) -> None:
    own = own_hidden_states(model, TEXTS[0])
    batch = pad(TEXTS, [0], 0, model.device)
    ours = model.residuals(batch, range(-1, model.layers))
    for layer in range(-1, model.layers - 1):
        assert torch.equal(ours[layer], own[layer + 1])


def test_stopping_early_changes_nothing_and_runs_nothing_above(model: LanguageModel) -> None:
    batch = pad(TEXTS, [0], 0, model.device)
    ran = []
    handle = model.anatomy.layers[2].register_forward_hook(lambda *_: ran.append(2))
    try:
        early = model.residuals(batch, [1])[1]
        assert not ran
        assert torch.equal(early, model.residuals(batch, [1, 3])[1])
        assert ran
    finally:
        handle.remove()


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 1, 0, 2], [2, 0]])
def test_padding_batching_and_order_change_nothing(model: LanguageModel, order: list[int]) -> None:
    together = model.residuals(pad(TEXTS, order, 0, model.device), [0, 3])
    for place, row in enumerate(order):
        own = own_hidden_states(model, TEXTS[row])[1][0]
        assert difference(together[0][place, : len(own)], own) <= TOLERANCE[torch.float32]
        alone = model.residuals(pad(TEXTS, [row], 0, model.device), [3])[3][0]
        assert difference(together[3][place, : len(own)], alone) <= TOLERANCE[torch.float32]


def test_adding_a_vector_shows_up_as_exactly_that_addition(model: LanguageModel) -> None:
    vector = torch.linspace(-1, 1, model.hidden)
    ids = torch.tensor([TEXTS[0]])
    seen: dict[str, torch.Tensor] = {}
    reads = {
        Site(1, "before"): lambda hidden: seen.update(before=hidden.clone()),
        Site(1, "after"): lambda hidden: seen.update(after=hidden.clone()),
        Site(2): lambda hidden: seen.update(above=hidden.clone()),
    }
    model.run(ids, reads, {1: add(vector, 0.5)})
    plain = model.residuals(pad(TEXTS, [0], 0, model.device), [1, 2])
    assert torch.equal(seen["before"], plain[1])
    assert torch.equal(seen["after"], plain[1] + 0.5 * vector)
    assert not torch.allclose(seen["above"], plain[2])


def test_each_row_of_a_batch_takes_its_own_vector(model: LanguageModel) -> None:
    ids = torch.tensor([TEXTS[0], TEXTS[0]])
    vectors = torch.stack([torch.zeros(model.hidden), torch.ones(model.hidden)])[:, None]
    with torch.inference_mode(), model.hooked(writes={1: add(vectors)}):
        both = model.model(ids).logits
    with torch.inference_mode(), model.hooked(writes={1: add(torch.ones(model.hidden))}):
        steered = logits(model)
    assert torch.allclose(both[0], logits(model)[0], atol=1e-5)
    assert torch.allclose(both[1], steered[0], atol=1e-5)


def test_strength_0_is_a_no_op_to_the_bit_and_leaving_restores(model: LanguageModel) -> None:
    plain = logits(model)
    hooks = [dict(layer._forward_hooks) for layer in model.anatomy.layers]
    vector = torch.ones(model.hidden)
    with model.hooked(writes={2: add(vector, 0.0)}):
        assert torch.equal(logits(model), plain)
    with pytest.raises(KeyError), model.hooked(writes={2: add(vector, 20.0)}):
        assert not torch.equal(logits(model), plain)
        raise KeyError
    assert torch.equal(logits(model), plain)
    assert hooks == [dict(layer._forward_hooks) for layer in model.anatomy.layers]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_conformance_suite_passes(family: str, dtype: torch.dtype) -> None:
    torch.manual_seed(1)
    network = hf.AutoModelForCausalLM.from_config(FAMILIES[family]).to(dtype)
    proofs = list(prove(LanguageModel(network, word_tokenizer(), family)))
    assert {"blocks", "final norm", "unembedding", "reading", "batching, padding"} <= {proof.part for proof in proofs}


def test_passage_means_equal_means_by_hand(model: LanguageModel) -> None:
    texts = [model.encode(" ".join(f"t{k}" for k in ids)) for ids in TEXTS]
    means = read_passages(model, texts, [1], skip=2)
    for row, ids in enumerate(TEXTS):
        counted = own_hidden_states(model, ids)[2][0][min(2, len(ids) - 1) :]
        assert torch.allclose(torch.from_numpy(means.values[row, 0]), counted.mean(0), atol=1e-5)
        assert means.tokens[row] == len(counted)


@given(budget=st.integers(1, 60), order=st.permutations(range(4)))
def test_neither_budget_nor_order_moves_a_mean(budget: int, order: list[int]) -> None:
    torch.manual_seed(0)
    model = LanguageModel(hf.AutoModelForCausalLM.from_config(FAMILIES["llama"]), word_tokenizer())
    texts = [model.encode(" ".join(f"t{k % VOCABULARY}" for k in ids)) for ids in TEXTS]
    whole = read_passages(model, texts, [0, 3])
    other = read_passages(model, [texts[k] for k in order], [0, 3], budget=budget)
    assert abs(other.values - whole.values[order]).max() < 1e-5
    assert abs(other.moments.mean_norm - whole.moments.mean_norm).max() < 1e-5


def test_a_model_that_is_no_plain_stack_is_refused() -> None:
    torch.manual_seed(0)
    network = hf.AutoModelForCausalLM.from_config(FAMILIES["llama"])
    network.model.layers = torch.nn.ModuleList(list(network.model.layers)[:3])
    with pytest.raises(NotADecoder, match="4 blocks"):
        LanguageModel(network, word_tokenizer())


def test_an_encoder_decoder_is_refused() -> None:
    config = hf.T5Config(vocab_size=64, d_model=16, d_ff=16, num_layers=2, num_heads=2, d_kv=8)
    with pytest.raises(NotADecoder, match="decoder-only"):
        LanguageModel(hf.T5ForConditionalGeneration(config), word_tokenizer())


def test_an_encoder_is_refused() -> None:
    config = hf.BertConfig(
        vocab_size=64, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16
    )
    with pytest.raises(NotADecoder):
        LanguageModel(hf.BertModel(config), word_tokenizer())


def test_logits_of_the_last_block_are_the_models_own(model: LanguageModel) -> None:
    batch = pad(TEXTS, [0], 0, model.device)
    last = model.residuals(batch, [model.layers - 1])[model.layers - 1]
    assert torch.allclose(model.logits(last)[0], logits(model)[0].float(), atol=1e-5)
    assert torch.equal(logits(model), logits(model))
