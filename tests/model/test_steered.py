"""Steering reaches the tokens it should, in every family, under a cache, padding and batches; and leaves no trace."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pytest
import torch
import transformers as hf
from hypothesis import given, settings
from hypothesis import strategies as st

from foreshock.errors import SteeringError, TooLong
from foreshock.model import LanguageModel, Tokens
from foreshock.model.generation import generate
from foreshock.model.places import Characters, Span, placed, token_range
from foreshock.model.steered import Write
from foreshock.model.stream import add
from tests.architectures.families import FAMILIES, word_tokenizer

LAYER = 1
PROMPTS = ["t5 t9 t77 t14 t30", "t8 t99", "t61 t12 t40"]


@dataclass
class Fixed:
    """A steering of one vector."""

    size: float
    span: Span = "all"
    layer: int = LAYER

    def writes(self, model: LanguageModel) -> Sequence[Write]:
        vector = self.size * torch.linspace(-1, 1, model.hidden).sin()
        return [Write(self.layer, vector, self.span)] if self.size else []


def made(family: str) -> LanguageModel:
    torch.manual_seed(0)
    return LanguageModel(hf.AutoModelForCausalLM.from_config(FAMILIES[family]), word_tokenizer(), family)


@pytest.fixture(scope="module", params=FAMILIES)
def model(request: pytest.FixtureRequest) -> Iterator[LanguageModel]:
    yield made(request.param)


@pytest.fixture(scope="module")
def llama() -> LanguageModel:
    return made("llama")


@torch.inference_mode()
def logits(model: LanguageModel, ids: list[int], steering: Fixed | None = None) -> torch.Tensor:
    tokens = torch.tensor([ids])
    if steering is None:
        return model.model(tokens, use_cache=False).logits[0]
    with model.steered(steering):
        return model.model(tokens, use_cache=False).logits[0]


@torch.inference_mode()
def greedy_by_hand(model: LanguageModel, ids: list[int], most: int, span: slice, size: float) -> list[int]:
    """Every step a whole pass without a cache, the write masked by hand."""
    ids = list(ids)
    vector = size * torch.linspace(-1, 1, model.hidden).sin()
    for _ in range(most):
        mask = torch.zeros(1, len(ids), 1)
        mask[:, span] = 1
        with model.hooked(writes={LAYER: add(mask * vector)}):
            ids.append(int(model.model(torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
    return ids


@pytest.mark.parametrize(
    ("span", "wanted"),
    [("all", lambda _n: slice(None)), ("prompt", lambda n: slice(0, n)), ("reply", lambda n: slice(n, None)),
     (slice(3, None), lambda _n: slice(3, None)), (slice(1, 3), lambda _n: slice(1, 3)),
     (Characters(3, 6), lambda _n: slice(1, 2))],
)  # fmt: skip
def test_generating_with_a_cache_in_a_padded_batch_steers_the_same_tokens(model: LanguageModel, span, wanted) -> None:
    prompts = [model.encode(text) for text in PROMPTS]
    told = list(generate(model, prompts, 6, steering=Fixed(3.0, span)))
    for prompt, text in zip(prompts, told, strict=True):
        alone = greedy_by_hand(model, prompt.ids, 6, wanted(len(prompt)), 3.0)
        expected = model.tokenizer.decode(alone[len(prompt) :], skip_special_tokens=True).strip()
        # greedy_by_hand does not stop at an end token
        assert text == expected or expected.startswith(text), prompt.text


def test_rows_have_steerings_of_their_own_and_leave_their_neighbours_alone(model: LanguageModel) -> None:
    prompts = [model.encode(text) for text in PROMPTS]
    mixed = list(generate(model, prompts, 6, steering=[Fixed(3.0), Fixed(0.0), Fixed(-2.0, "reply")]))
    alone = [
        next(generate(model, [prompt], 6, steering=own))
        for prompt, own in zip(prompts, [Fixed(3.0), None, Fixed(-2.0, "reply")], strict=True)
    ]
    assert mixed == alone


def test_strength_0_changes_nothing_to_the_bit_and_leaving_restores_the_logits(model: LanguageModel) -> None:
    ids = model.encode(PROMPTS[0]).ids
    before = logits(model, ids)
    assert torch.equal(logits(model, ids, Fixed(0.0)), before)
    assert not torch.equal(logits(model, ids, Fixed(1.0)), before)
    with pytest.raises(RuntimeError, match="stop"), model.steered(Fixed(1.0)):
        raise RuntimeError("stop")
    assert torch.equal(logits(model, ids), before)


def test_tokens_outside_of_the_span_stay_as_they_are_to_the_bit(llama: LanguageModel) -> None:
    ids = llama.encode(PROMPTS[0]).ids
    assert torch.equal(logits(llama, ids, Fixed(3.0, slice(3, None)))[:3], logits(llama, ids)[:3])


@settings(deadline=None, max_examples=25)
@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    chunks=st.lists(st.integers(1, 4), min_size=1, max_size=4),
)
def test_positions_are_absolute_whatever_the_cache_and_the_padding_do(lengths: list[int], chunks: list[int]) -> None:
    model, longest = made("llama"), max(lengths)
    ids = torch.randint(4, 100, (len(lengths), longest))
    mask = torch.tensor([[0] * (longest - n) + [1] * n for n in lengths])
    extra = torch.randint(4, 100, (len(lengths), sum(chunks)))
    with placed(model.anatomy.decoder) as places, torch.inference_mode():
        cache = model.model(ids, attention_mask=mask, use_cache=True).past_key_values
        seen = longest
        for row, n in enumerate(lengths):
            assert places.positions[row].tolist() == list(range(n - longest, n))
            assert places.prompt[row] == n
        for size in chunks:
            part = extra[:, seen - longest : seen - longest + size]
            mask = torch.cat([mask, torch.ones_like(part)], 1)
            cache = model.model(part, attention_mask=mask, past_key_values=cache, use_cache=True).past_key_values
            for row, n in enumerate(lengths):
                first = n + seen - longest
                assert places.positions[row].tolist() == list(range(first, first + size))
                assert places.inside("reply")[row].all()
            seen += size


def test_several_replies_of_one_prompt_share_its_steering(llama: LanguageModel) -> None:
    ids = torch.tensor([llama.encode(PROMPTS[0]).ids] * 2)
    with llama.steered([Fixed(0.0), Fixed(3.0)]):
        out = llama.model.generate(
            ids, attention_mask=torch.ones_like(ids), num_return_sequences=2, do_sample=True, max_new_tokens=4
        )
    assert len(out) == 4


def test_what_cannot_be_steered_is_said(llama: LanguageModel) -> None:
    ids = torch.tensor([[5, 6]] * 3)
    with pytest.raises(SteeringError, match="2 rows are steered"), llama.steered([Fixed(1.0), Fixed(2.0)]):
        llama.model(ids)
    with pytest.raises(SteeringError, match="steering at 9"), llama.steered(Fixed(1.0, layer=9)):
        pass
    with pytest.raises(SteeringError, match="characters needs the prompt"), llama.steered(Fixed(1.0, Characters(0, 3))):
        pass
    with pytest.raises(SteeringError, match="outside of a prompt"):
        token_range(Characters(3, 90), llama.encode("t5 t6"))
    with pytest.raises(SteeringError, match="without steps"):
        token_range(slice(0, 9, 2), None)
    with pytest.raises(SteeringError, match="no span"):
        token_range("answer", None)  # type: ignore[arg-type]


def test_a_prompt_without_room_for_the_reply_is_refused(llama: LanguageModel) -> None:
    prompt: Tokens = llama.encode(" ".join(["t5"] * 120))
    with pytest.raises(TooLong, match="120 tokens and a reply of up to 20"):
        next(generate(llama, [prompt], 20))


def test_without_a_cache_the_reply_is_not_guessed(llama: LanguageModel) -> None:
    prompt = llama.encode(PROMPTS[0])
    ids = torch.tensor([prompt.ids])

    def told(**more: bool) -> list[int]:
        return llama.model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=4, **more)[0].tolist()

    with pytest.raises(SteeringError, match="use a cache"), llama.steered(Fixed(3.0, "reply")):
        told(use_cache=False)
    with llama.steered(Fixed(3.0, "reply")):
        cached = told()
    with llama.steered(Fixed(3.0, "reply"), [prompt]):
        assert told(use_cache=False) == cached  # where the prompt is known, no cache is needed


def test_a_state_of_unknown_length_is_refused() -> None:
    torch.manual_seed(0)
    config = hf.MambaConfig(vocab_size=128, hidden_size=32, num_hidden_layers=4, state_size=4, pad_token_id=0)
    mamba = LanguageModel(hf.AutoModelForCausalLM.from_config(config), word_tokenizer(), "mamba")
    ids = torch.tensor([mamba.encode(PROMPTS[0]).ids])
    with pytest.raises(SteeringError, match="state"), mamba.steered(Fixed(1.0, "reply")):
        mamba.model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=4)


def test_as_many_steerings_as_prompts(llama: LanguageModel) -> None:
    prompts = [llama.encode(text) for text in PROMPTS]
    with pytest.raises(SteeringError, match="2 steerings and 3 prompts"):
        next(generate(llama, prompts, 4, steering=[Fixed(1.0), Fixed(2.0)]))
