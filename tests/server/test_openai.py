"""The routes as the official client sees them."""

from __future__ import annotations

import httpx
import numpy as np
import openai
import pytest
import torch
from openai import OpenAI

from foreshock.model.planted import Planted, cue
from foreshock.readings import read
from foreshock.server.settings import Served
from foreshock.steering import Steering
from foreshock.texts import Turn
from foreshock.vectors import EmotionVectors

ASKED = [{"role": "user", "content": "w1 w2 w3 w4 w5"}]
DESPERATE = " ".join(cue("desperate", k % 6, k % 2) for k in range(12))


def alone(plant: Planted, most: int, steering: Steering | None = None, words: str = "w1 w2 w3 w4 w5") -> str:
    """The greedy reply of the bare model."""
    prompt = plant.model.encode([Turn(role="user", content=words)], reply=True)
    ids = torch.tensor([prompt.ids])
    with torch.inference_mode(), plant.model.steered(steering or []):
        out = plant.model.model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=most, do_sample=False)
    return str(plant.model.tokenizer.decode(out[0, len(prompt) :], skip_special_tokens=True))


def test_a_chat_gets_the_answer_of_the_bare_model(plant: Planted, client: OpenAI) -> None:
    found = client.chat.completions.create(model="any", messages=ASKED, max_tokens=8, temperature=0)
    assert found.choices[0].message.content == alone(plant, 8)
    assert found.choices[0].finish_reason in ("stop", "length")
    assert (found.usage and found.usage.prompt_tokens == 8 - 0) or found.usage.prompt_tokens > 5
    assert found.usage.total_tokens == found.usage.prompt_tokens + found.usage.completion_tokens
    assert "foreshock" not in found.choices[0].model_dump() and found.choices[0].message.tool_calls is None


def test_a_streamed_chat_is_the_same_reply_and_its_wire_is_plain(client: OpenAI) -> None:
    whole = client.chat.completions.create(model="any", messages=ASKED, max_tokens=8, temperature=0)
    options = {"include_usage": True}
    chunks = list(client.chat.completions.create(model="any", messages=ASKED, max_tokens=8, temperature=0, stream=True, stream_options=options))  # fmt: skip
    said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert said == whole.choices[0].message.content
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].usage == whole.usage and not chunks[-1].choices
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == whole.choices[0].finish_reason
    assert all("foreshock" not in chunk.model_dump() for chunk in chunks)


def test_the_extension_brings_readings_that_equal_those_of_the_finished_transcript(
    plant: Planted, vectors: EmotionVectors, served: Served, client: OpenAI
) -> None:
    extra = {"foreshock": {"readings": ["sad", "calm"]}}
    found = client.chat.completions.create(model="any", messages=ASKED, max_tokens=6, temperature=0, extra_body=extra)
    told = found.choices[0].model_dump()["foreshock"]
    assert told["layer"] == served.engine.layer and told["conversation"]
    turns = [Turn(role="user", content="w1 w2 w3 w4 w5"), Turn(role="assistant", content=found.choices[0].message.content or "")]  # fmt: skip
    (offline,) = read(plant.model, vectors, [plant.model.encode(turns)], layer=served.engine.layer)
    columns = [offline.emotions.index(word) for word in ("sad", "calm")]
    values = np.array([[token["readings"]["sad"], token["readings"]["calm"]] for token in told["tokens"]])
    assert np.allclose(values, offline.values[: len(values), columns], atol=2e-3)
    assert [token["role"] for token in told["tokens"]] == offline.tokens.roles[: len(values)]
    own = [token for token in told["tokens"] if token["own"] and token["role"] == "assistant"]
    assert told["mean"]["sad"] == pytest.approx(np.mean([token["readings"]["sad"] for token in own]), abs=1e-3)


def test_streamed_chunks_carry_the_readings_of_every_token_that_was_run(client: OpenAI) -> None:
    extra = {"foreshock": {"readings": True}}
    whole = client.chat.completions.create(model="any", messages=ASKED, max_tokens=6, temperature=0, extra_body=extra)
    chunks = list(client.chat.completions.create(model="any", messages=ASKED, max_tokens=6, temperature=0, stream=True, extra_body=extra))  # fmt: skip
    parts = [part for chunk in chunks if (part := chunk.model_dump().get("foreshock"))]
    tokens = [token["text"] for part in parts for token in part.get("tokens", [])]
    assert tokens == [token["text"] for token in whole.choices[0].model_dump()["foreshock"]["tokens"]]
    assert parts[-1]["conversation"] and len(parts) > 2


def test_each_request_has_its_own_steering(plant: Planted, vectors: EmotionVectors, client: OpenAI) -> None:
    extra = {"foreshock": {"steer": {"sad": 2.0}}}
    plain = client.chat.completions.create(model="any", messages=ASKED, max_tokens=8, temperature=0)
    found = client.chat.completions.create(model="any", messages=ASKED, max_tokens=8, temperature=0, extra_body=extra)
    assert found.choices[0].message.content == alone(plant, 8, Steering({"sad": 2.0}, vectors))
    assert found.choices[0].message.content != plain.choices[0].message.content


def test_a_desperate_message_raises_an_alarm_that_is_told_kept_and_counted(served: Served, client: OpenAI, address: str) -> None:  # fmt: skip
    messages = [*ASKED, {"role": "assistant", "content": DESPERATE}, {"role": "user", "content": "w9 w8"}]
    extra = {"foreshock": {"conversation": "in trouble"}}
    found = client.chat.completions.create(model="any", messages=messages, max_tokens=3, extra_body=extra)
    alarms = found.choices[0].model_dump()["foreshock"]["alarms"]
    assert {alarm["rule"] for alarm in alarms} >= {"desperate"}
    assert all(alarm["score"] > alarm["threshold"] and alarm["conversation"] == "in trouble" for alarm in alarms)
    assert served.store
    served.store.flush()
    kept = served.store.conversation("in trouble")
    assert kept and [alarm.rule for alarm in kept.alarms] == [alarm["rule"] for alarm in alarms]
    counted = httpx.get(f"{address}/metrics").text
    assert f'foreshock_alarms_total{{rule="desperate"}} {sum(alarm["rule"] == "desperate" for alarm in alarms)}' in counted  # fmt: skip


def test_several_replies_differ_and_the_same_seed_repeats_them(client: OpenAI) -> None:
    asked = {"model": "any", "messages": ASKED, "max_tokens": 8, "n": 3, "seed": 4, "temperature": 1.5}
    first, second = client.chat.completions.create(**asked), client.chat.completions.create(**asked)
    told = [choice.message.content for choice in first.choices]
    assert told == [choice.message.content for choice in second.choices] and len(set(told)) > 1
    assert [choice.index for choice in first.choices] == [0, 1, 2]
    chunks = list(client.chat.completions.create(**asked, stream=True))
    streamed = ["".join(c.choices[0].delta.content or "" for c in chunks if c.choices[0].index == k) for k in range(3)]
    assert streamed == told


def test_log_probabilities_are_the_models(plant: Planted, client: OpenAI) -> None:
    found = client.chat.completions.create(model="any", messages=ASKED, max_tokens=3, temperature=0, logprobs=True, top_logprobs=2)  # fmt: skip
    assert found.choices[0].logprobs and found.choices[0].logprobs.content
    prompt = plant.model.encode([Turn(role="user", content="w1 w2 w3 w4 w5")], reply=True)
    with torch.inference_mode():
        logits = plant.model.model(torch.tensor([prompt.ids])).logits[0, -1].log_softmax(-1)
    first = found.choices[0].logprobs.content[0]
    assert first.logprob == pytest.approx(float(logits.max()), abs=1e-3)
    assert len(first.top_logprobs) == 2 and first.top_logprobs[0].token == first.token


def test_a_text_completion_goes_on_with_the_text(plant: Planted, client: OpenAI) -> None:
    found = client.completions.create(model="any", prompt=["w1 w2 w3", "w4 w5"], max_tokens=4, temperature=0, logprobs=1, stop="w7")  # fmt: skip
    ids = torch.tensor([plant.model.encode("w1 w2 w3").ids])
    out = plant.model.model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=4, do_sample=False)
    bare = str(plant.model.tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True))
    assert found.choices[0].text == bare.partition("w7")[0] and len(found.choices) == 2
    assert found.choices[0].logprobs and found.choices[0].logprobs.text_offset and found.usage
    streamed = client.completions.create(model="any", prompt="w1 w2 w3", max_tokens=4, temperature=0, stop="w7", stream=True)  # fmt: skip
    assert "".join(chunk.choices[0].text for chunk in streamed) == found.choices[0].text


def test_the_model_is_listed(served: Served, client: OpenAI) -> None:
    (model,) = client.models.list().data
    assert model.id == served.engine.model.name == client.models.retrieve(model.id).id
    with pytest.raises(openai.NotFoundError, match="no model"):
        client.models.retrieve("another")


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"extra_body": {"foreshock": {"steer": {"hangry": 0.1}}}}, "no emotion 'hangry'"),
        ({"extra_body": {"foreshock": {"steer": {"calm": 9}}}}, "between -2 and 2"),
        ({"extra_body": {"foreshock": {"readings": ["amazed"]}}}, "amazed"),
        ({"extra_body": {"foreshock": {"colour": 1}}}, "colour"),
        ({"max_tokens": 10**6}, "at most 2,048"),
        ({"n": 99}, "at most 8"),
        ({"temperature": 7}, "temperature"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"logit_bias": {"99999999": 1}}, "logit_bias"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user", "content": "w1 " * 5000}]}, "tokens"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}, "content"),
    ],
)
def test_what_cannot_be_done_is_refused_with_a_sentence(client: OpenAI, given: dict, sentence: str) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(**({"model": "any", "messages": ASKED} | given))
    assert isinstance(refused.value.body, dict) and sentence in refused.value.body["message"]
    streamed = {"model": "any", "messages": ASKED, "stream": True} | given
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(**streamed)


def test_tools_reach_the_template_and_a_call_comes_back_as_one(
    plant: Planted, client: OpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    template = (
        "{% for t in tools or [] %}{{ t['function']['name'] }} {% endfor %}" + plant.model.tokenizer.chat_template
    )
    monkeypatch.setattr(plant.model.tokenizer, "chat_template", template)
    tools = [{"type": "function", "function": {"name": "w20", "parameters": {"type": "object", "properties": {}}}}]
    extra = {"foreshock": {"readings": ["sad"]}}
    found = client.chat.completions.create(model="any", messages=ASKED, max_tokens=4, temperature=0, tools=tools, extra_body=extra)  # fmt: skip
    tokens = found.choices[0].model_dump()["foreshock"]["tokens"]
    assert tokens[0]["text"].strip() == "w20" and not tokens[0]["own"]
    assert [token["text"].strip() for token in tokens if token["own"] and token["role"] == "user"] == ["w1", "w2", "w3", "w4", "w5"]  # fmt: skip
    without = client.chat.completions.create(model="any", messages=ASKED, max_tokens=4, tools=tools, tool_choice="none", extra_body=extra)  # fmt: skip
    assert without.choices[0].model_dump()["foreshock"]["tokens"][0]["text"].strip() != "w20"
