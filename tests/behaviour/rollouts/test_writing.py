"""Rows of one batch have lengths, temperatures, seeds, stops and steerings of their own, and match themselves alone."""

from __future__ import annotations

import pytest
import torch
import transformers as hf

from foreshock.behaviour.rollouts.writing import Request, write
from foreshock.model import LanguageModel
from foreshock.model.generation import generate
from foreshock.model.steered import Write
from tests.architectures.families import FAMILIES, word_tokenizer

PROMPTS = ["t5 t9 t77 t14 t30", "t8 t99", "t61 t12 t40", "t20 t21 t22"]


@pytest.fixture(scope="module")
def llama() -> LanguageModel:
    torch.manual_seed(0)
    return LanguageModel(hf.AutoModelForCausalLM.from_config(FAMILIES["llama"]), word_tokenizer(), "llama")


def steer(model: LanguageModel, size: float) -> list[Write]:
    return [Write(1, size * torch.linspace(-1, 1, model.hidden).sin(), "all")]


def asked(model: LanguageModel) -> list[Request]:
    prompts = [model.encode(text) for text in PROMPTS]
    return [
        Request(prompts[0], [], 8),
        Request(prompts[1], steer(model, 3.0), 5),
        Request(prompts[2], steer(model, -2.0), 8, temperature=1.0, seed=3),
        Request(prompts[3], [], 6, temperature=0.5, top_p=0.5, seed=4),
    ]


def test_each_row_of_a_batch_is_what_it_is_alone(llama: LanguageModel) -> None:
    together = write(llama, asked(llama))
    assert together == [write(llama, [request])[0] for request in asked(llama)]
    assert [len(reply.ids) for reply in together] == [8, 5, 8, 6] and not any(reply.finished for reply in together)


def test_greedy_replies_are_those_of_generate_and_steering_changes_them(llama: LanguageModel) -> None:
    prompts = [llama.encode(text) for text in PROMPTS]
    plain = [reply.text for reply in write(llama, [Request(prompt, [], 8) for prompt in prompts])]
    assert plain == list(generate(llama, prompts, 8))
    steered = [reply.text for reply in write(llama, [Request(prompt, steer(llama, 3.0), 8) for prompt in prompts])]
    assert all(one != other for one, other in zip(plain, steered, strict=True))


def test_sampling_has_the_models_own_chances(llama: LanguageModel) -> None:
    prompt = llama.encode(PROMPTS[0])
    with torch.inference_mode():
        chances = llama.model(torch.tensor([prompt.ids])).logits[0, -1].float().div(0.2).softmax(-1)
    drawn = write(llama, [Request(prompt, [], 1, temperature=0.2, top_p=1.0, seed=k) for k in range(1000)])
    counts = torch.bincount(torch.tensor([reply.ids[0] for reply in drawn]), minlength=len(chances)) / 1000
    likeliest = int(chances.argmax())
    assert counts[likeliest] == pytest.approx(float(chances[likeliest]), abs=4 * (0.25 / 1000) ** 0.5)
    assert float((counts - chances).abs().sum() / 2) < 0.2
    narrow = write(llama, [Request(prompt, [], 1, temperature=0.2, top_p=1e-6, seed=k) for k in range(50)])
    assert {reply.ids[0] for reply in narrow} == {likeliest}


def test_a_seed_gives_the_same_reply_and_another_seed_another(llama: LanguageModel) -> None:
    prompt = llama.encode(PROMPTS[0])
    texts = [write(llama, [Request(prompt, [], 12, temperature=1.0, seed=seed)])[0].text for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


def test_putting_only_the_likeliest_tokens_in_order_draws_the_same(
    llama: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompt = llama.encode(PROMPTS[0])
    requests = [Request(prompt, [], 8, temperature=0.1, top_p=p, seed=k) for k in range(20) for p in (0.5, 1.0)]
    all_sorted = write(llama, requests)
    for count in (2, 40):
        monkeypatch.setattr("foreshock.behaviour.rollouts.writing.SORTED", count)
        assert write(llama, requests[::2]) + write(llama, requests[1::2]) == all_sorted[::2] + all_sorted[1::2]


def test_a_reply_ends_before_its_stop_string_or_at_the_end_mark(llama: LanguageModel) -> None:
    prompt = llama.encode(PROMPTS[0])
    words = write(llama, [Request(prompt, [], 8)])[0].text.split()
    stop = next(word for word in words[2:] if word not in words[:2])
    cut, other = write(llama, [Request(prompt, [], 8, stops=(stop,)), Request(llama.encode(PROMPTS[1]), [], 8)])
    assert cut.finished and cut.text == " ".join(words[: words.index(stop)]) and not other.finished
    assert len(cut.ids) == words.index(stop) + 1
    eos = llama.model.generation_config.eos_token_id
    try:
        llama.model.generation_config.eos_token_id = llama.tokenizer.convert_tokens_to_ids(stop)
        ended = write(llama, [Request(prompt, [], 8)])[0]
    finally:
        llama.model.generation_config.eos_token_id = eos
    assert ended.finished and len(ended.ids) == words.index(stop) + 1
