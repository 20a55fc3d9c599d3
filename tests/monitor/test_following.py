"""Conversations told apart and gone on with, whatever loop runs the model: every token heard once, in its place."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import DynamicCache

from foreshock.errors import MonitorError
from foreshock.model.planted import Planted
from foreshock.monitor.following import Heard
from foreshock.monitor.monitor import Monitor
from foreshock.readings import read
from foreshock.texts import Turn
from foreshock.vectors import EmotionVectors
from tests.monitor.talking import TEN, split, talk, teacher


def test_the_next_turn_goes_on_with_the_conversation_and_is_heard_once(plant: Planted, vectors: EmotionVectors) -> None:
    heard: list[Heard] = []
    whole = talk(plant, 3, turns=4)
    first = replace(whole, **{n: getattr(whole, n)[: whole.turns.index(2)] for n in ("ids", "spans", "roles", "turns", "content")})  # fmt: skip
    with Monitor(plant.model, vectors, on_tokens=heard.append):
        for part in (first, whole):
            prompt, reply = split(plant.model, part)
            teacher(plant.model, [prompt], [reply])
    assert len({one.conversation for one in heard}) == 1
    assert [int(id) for one in heard for id in one.ids] == whole.ids
    roles = [role for one in heard for role in one.roles]
    assert set(roles) == {"prompt", "assistant"}
    assert [turn for one in heard for turn in one.turns][-1] == 3


def test_a_named_conversation_goes_on_although_its_tokens_have_changed(plant: Planted, vectors: EmotionVectors) -> None:
    """Templates leave out reasoning; then turns are counted."""
    heard: list[Heard] = []
    before = [Turn(role="user", content="w1 w2 w3 w4")]
    after = [*before, Turn(role="assistant", content="w5"), Turn(role="user", content="w9 w8")]
    prompts = [plant.model.encode_transcript(turns, reply=True) for turns in (before, after)]
    with Monitor(plant.model, vectors, on_tokens=heard.append) as monitor:
        for prompt, reply in zip(prompts, (["w7", "w5"], ["w3"]), strict=True):
            monitor.expect([prompt], ["chat"])
            teacher(plant.model, [prompt], [plant.model.tokenizer.convert_tokens_to_ids(reply)])
    assert {one.conversation for one in heard} == {"chat"}
    said = [(turn, piece.strip()) for one in heard for turn, piece, own in zip(one.turns, one.pieces, one.content, strict=True) if own]  # fmt: skip
    expected = [(0, "w1"), (0, "w2"), (0, "w3"), (0, "w4"), (1, "w7"), (1, "w5"), (2, "w9"), (2, "w8"), (3, "w3")]
    assert said == expected


def test_samples_of_one_prompt_are_conversations_of_their_own(plant: Planted, vectors: EmotionVectors) -> None:
    prompt, reply = split(plant.model, talk(plant, 5))
    heard: list[Heard] = []
    with Monitor(plant.model, vectors, on_tokens=heard.append) as monitor:
        monitor.expect([prompt, prompt], ["a", "a"])
        teacher(plant.model, [prompt, prompt], [reply, [*reply[:3], 5]])
        teacher(plant.model, [prompt], [reply[:2]])
    by_name = {name: sum(len(o) for o in heard if o.conversation == name) for name in {o.conversation for o in heard}}
    assert by_name["a"] == len(prompt) + len(reply) and by_name["a-2"] == len(prompt) + 4  # nothing of the filling
    assert sorted(by_name.values())[0] == len(prompt) + 2


@pytest.mark.parametrize("cache", [True, False])
def test_generation_with_and_without_a_cache_is_heard_alike(
    plant: Planted, vectors: EmotionVectors, cache: bool
) -> None:
    prompt, _ = split(plant.model, talk(plant, 5))
    heard: list[Heard] = []
    ids = torch.tensor([prompt.ids, prompt.ids])
    with torch.inference_mode(), Monitor(plant.model, vectors, on_tokens=heard.append):
        out = plant.model.model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=5,
            min_new_tokens=5,
            do_sample=False,
            use_cache=cache,
        )
    assert [len(one) for one in heard] == [len(prompt)] * 2 + [1] * 8
    assert len({one.conversation for one in heard}) == 2
    for row in (0, 1):
        assert [int(id) for one in heard if one.row == row for id in one.ids] == out[row, :-1].tolist()


def test_embeddings_without_token_ids_are_read_all_the_same(plant: Planted, vectors: EmotionVectors) -> None:
    ids = torch.tensor([talk(plant, 5).ids])
    heard: list[Heard] = []
    with torch.inference_mode(), Monitor(plant.model, vectors, on_tokens=heard.append):
        plant.model.model(inputs_embeds=plant.model.model.get_input_embeddings()(ids))
    assert [len(one) for one in heard] == [ids.shape[1]] and set(heard[0].pieces) == {""}


@torch.inference_mode()
def test_a_prompt_in_chunks_and_a_turn_on_the_old_cache_are_one_conversation(
    plant: Planted, vectors: EmotionVectors
) -> None:
    whole = talk(plant, 3, turns=4)
    heard: list[Heard] = []
    ids, cache, cuts = torch.tensor([whole.ids]), None, [0, 5, 20, 21, 22, len(whole)]
    with Monitor(plant.model, vectors, on_tokens=heard.append, layers=[2]) as monitor:
        monitor.expect([whole], ["c"])
        for first, last in itertools.pairwise(cuts):
            cache = plant.model.model(ids[:, first:last], past_key_values=cache, use_cache=True).past_key_values
    assert {one.conversation for one in heard} == {"c"}
    assert [role for one in heard for role in one.roles] == whole.roles
    (offline,) = read(plant.model, vectors, [whole], 2)
    assert np.allclose(np.concatenate([one.values[:, 0] for one in heard]), offline.values, atol=1e-4)


def test_names_that_cannot_be_kept_are_refused(plant: Planted, vectors: EmotionVectors) -> None:
    prompt, _ = split(plant.model, talk(plant, 5))
    monitor = Monitor(plant.model, vectors)
    for names in (["a", "b"], [""], ["x" * 191]):
        with pytest.raises(MonitorError, match="name"):
            monitor.expect([prompt], names)


@torch.inference_mode()
def test_chats_with_caches_of_their_own_are_told_apart(plant: Planted, vectors: EmotionVectors) -> None:
    """Run in turn, token by token, each on its own cache."""
    wholes = [talk(plant, 31), talk(plant, 32)]
    prompts, replies = zip(*(split(plant.model, whole) for whole in wholes), strict=True)
    heard: list[Heard] = []
    caches = [DynamicCache(), DynamicCache()]
    with Monitor(plant.model, vectors, on_tokens=heard.append) as monitor:
        for name, prompt, cache in zip("ab", prompts, caches, strict=True):
            monitor.expect([prompt], [name])
            plant.model.model(torch.tensor([prompt.ids]), past_key_values=cache, use_cache=True)
        for k in range(max(map(len, replies))):
            for reply, cache in zip(replies, caches, strict=True):
                if k < len(reply):
                    plant.model.model(torch.tensor([[reply[k]]]), past_key_values=cache, use_cache=True)
    for name, whole in zip("ab", wholes, strict=True):
        assert [int(id) for one in heard if one.conversation == name for id in one.ids] == whole.ids


def test_two_names_are_two_conversations_whatever_they_say(plant: Planted, vectors: EmotionVectors) -> None:
    prompt, reply = split(plant.model, talk(plant, 5))
    heard: list[Heard] = []
    with Monitor(plant.model, vectors, on_tokens=heard.append) as monitor:
        for name, own in (("alice", []), ("bob", reply)):
            monitor.expect([prompt], [name])
            teacher(plant.model, [prompt], [own])
        teacher(plant.model, [prompt], [reply])  # nor does an unnamed one go on with them
    length = {name: sum(len(o) for o in heard if o.conversation == name) for name in {o.conversation for o in heard}}
    assert length["alice"] == len(prompt) and length["bob"] == len(prompt) + len(reply) and len(length) == 3


def test_the_message_after_an_empty_reply_is_heard(plant: Planted, vectors: EmotionVectors) -> None:
    first = [Turn(role="user", content=TEN)]
    heard: list[Heard] = []
    with Monitor(plant.model, vectors, on_tokens=heard.append) as monitor:
        for turns in (first, [*first, Turn(role="user", content="w90 w91 w92")]):
            prompt = plant.model.encode_transcript(turns, reply=True)
            monitor.expect([prompt], ["c"])
            teacher(plant.model, [prompt], [[5]])
    said = "".join(piece for one in heard for piece in one.pieces)
    assert {one.conversation for one in heard} == {"c"} and "w90 w91 w92" in said and said.count("w10") == 1


def test_a_static_cache_is_followed(plant: Planted, vectors: EmotionVectors) -> None:
    prompt, _ = split(plant.model, talk(plant, 5))
    heard: list[Heard] = []
    with torch.inference_mode(), Monitor(plant.model, vectors, on_tokens=heard.append):
        out = plant.model.model.generate(torch.tensor([prompt.ids]), attention_mask=torch.ones(1, len(prompt)), max_new_tokens=5, min_new_tokens=5, do_sample=False, cache_implementation="static")  # fmt: skip
    assert [int(id) for one in heard for id in one.ids] == out[0, :-1].tolist()
