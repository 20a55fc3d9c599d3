"""`POST /v1/readings` gives what `foreshock.readings.read` and `scan` give."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest

from foreshock.model.planted import Planted, cue
from foreshock.monitor.alarms import scan
from foreshock.monitor.calibration import Calibration
from foreshock.readings import read
from foreshock.server.settings import Served
from foreshock.texts import Turn
from foreshock.vectors import EmotionVectors

DESPERATE = " ".join(cue("desperate", k % 6, k % 2) for k in range(12))
TALK = [
    {"role": "user", "content": "w1 w2 w3"},
    {"role": "assistant", "content": f"w4 {DESPERATE} w5"},
    {"role": "user", "content": ""},
    {"role": "user", "content": "w7 w8"},
]


def asked(address: str, **given: object) -> dict:
    answer = httpx.post(f"{address}/v1/readings", json=given, timeout=60)
    assert answer.is_success, answer.text
    return dict(answer.json())


def test_means_tokens_and_alarms_are_those_of_reading_offline(
    plant: Planted, vectors: EmotionVectors, calibration: Calibration, served: Served, address: str
) -> None:
    turns = [Turn(**message) for message in TALK if message["content"]]
    (offline,) = read(plant.model, vectors, [plant.model.encode(turns)], layer=served.engine.layer)
    found = asked(address, messages=TALK, tokens=True, model="somebody/else")
    assert found["mean"] == pytest.approx({k: float(v) for k, v in offline.mean().items()}, abs=1e-3)
    values = np.array([list(token["readings"].values()) for token in found["tokens"]])
    assert np.allclose(values, offline.values, atol=1e-3)
    assert [turn["turn"] for turn in found["turns"]] == [0, 1, 3]  # numbered as the messages are
    expected = scan(offline, calibration, "c")
    assert [(alarm["rule"], alarm["token"]) for alarm in found["alarms"]] == [(alarm.rule, alarm.token) for alarm in expected] != []  # fmt: skip
    assert found["surrogate"] is True and found["written_by"] == "somebody/else"


def test_the_same_conversation_without_a_name_is_read_again(address: str) -> None:
    first, second = asked(address, messages=TALK), asked(address, messages=TALK)
    assert first["mean"] == pytest.approx(second["mean"], abs=1e-3) and first["conversation"] != second["conversation"]
    assert "tokens" not in first and first["surrogate"] is None


def test_long_conversations_read_together_are_read_as_each_alone_at_any_layer(
    plant: Planted, vectors: EmotionVectors, address: str, served: Served
) -> None:
    """They share passes, and are cut into pieces that fit."""
    talks = [
        [{"role": role, "content": f"{f'w{k} w2 w3 w4 ' * 45}{DESPERATE}"} for role in ("user", "assistant")]
        for k in range(4)
    ]
    read_here = served.engine.monitor.layers
    layers = [read_here[k % len(read_here)] for k in range(len(talks))]
    with ThreadPoolExecutor() as pool:
        found = list(pool.map(lambda talk, layer: asked(address, messages=talk, layer=layer), talks, layers))
    for talk, layer, own in zip(talks, layers, found, strict=True):
        tokens = plant.model.encode([Turn(**turn) for turn in talk])
        (offline,) = read(plant.model, vectors, [tokens], layer=layer)
        assert own["layer"] == layer and own["mean"] == pytest.approx(offline.mean(), abs=1e-3)
        for turn, (number, role, mean) in zip(own["turns"], offline.by_turn(), strict=True):
            assert (turn["turn"], turn["role"]) == (number, role) and turn["mean"] == pytest.approx(mean, abs=1e-3)


def test_a_surrogate_reader_is_said_by_the_rule_of_the_command_line(address: str, served: Served) -> None:
    name = served.engine.model.name
    written = {f"hf/{name}": False, name.upper(): False, "somebody/else": True, "foreshock/somewhere": True, " ": None}
    assert {author: asked(address, text="w1 w2", model=author)["surrogate"] for author in written} == written


def test_a_name_goes_on_and_only_what_is_new_is_told(address: str) -> None:
    asked(address, messages=TALK[:1], conversation="long")
    found = asked(address, messages=TALK[:2], conversation="long", emotions=["desperate"])
    assert [turn["turn"] for turn in found["turns"]] == [1] and list(found["mean"]) == ["desperate"]
    assert found["conversation"] == "long"


def test_a_text_is_read_too(plant: Planted, vectors: EmotionVectors, served: Served, address: str) -> None:
    (offline,) = read(plant.model, vectors, [plant.model.encode("w1 w2 w3")], layer=served.engine.layer)
    assert asked(address, text="w1 w2 w3")["mean"] == pytest.approx({k: float(v) for k, v in offline.mean().items()}, abs=1e-3)  # fmt: skip


@pytest.mark.parametrize(
    "given",
    [{}, {"text": "w", "messages": TALK}, {"messages": [{"role": "king", "content": "w"}]}, {"messages": [{"role": "user", "content": ""}]},
     {"text": "w", "emotions": ["hangry"]}, {"text": "w", "file": "/etc/passwd"}, {"text": "w1 " * 5000}, {"text": 3},
     {"text": "w1", "layer": 77}, {"text": "w1", "model": "m" * 201}, {"text": "\ud800"}, {"text": "w1", "model": "\ud800"},
     {"text": "w1", "conversation": "\ud800"}, {"messages": [{"role": "user", "content": "\ud800"}]}],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_with_a_sentence(address: str, given: dict) -> None:
    sent = json.dumps(given).encode()  # half a character is sent as its escape
    answer = httpx.post(f"{address}/v1/readings", content=sent, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400 and answer.json()["error"]["message"]


def test_the_store_knows_that_another_model_wrote_it(address: str, served: Served) -> None:
    asked(address, text="w1 w2", model="somebody/else", conversation="foreign")
    assert served.store
    served.store.flush()
    kept = served.store.conversation("foreign")
    assert kept and kept.conversation.surrogate and kept.conversation.source == "readings"


def test_a_text_may_fill_the_whole_context(address: str, served: Served) -> None:
    most = served.engine.model.context
    assert most and asked(address, text="w1 " * most)["mean"]
    assert httpx.post(f"{address}/v1/readings", json={"text": "w1 " * (most + 1)}).status_code == 400
