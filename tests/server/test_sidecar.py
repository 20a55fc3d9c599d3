"""`POST /v1/readings` gives what `foreshock.readings.read` and `scan` give."""

from __future__ import annotations

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
    assert found["mean"] == pytest.approx({k: float(v) for k, v in offline.mean().items()}, abs=2e-3)
    values = np.array([list(token["readings"].values()) for token in found["tokens"]])
    assert np.allclose(values, offline.values, atol=2e-3)
    assert [turn["turn"] for turn in found["turns"]] == [0, 1, 3]  # numbered as the messages are
    expected = scan(offline, calibration, "c")
    assert [(alarm["rule"], alarm["token"]) for alarm in found["alarms"]] == [(alarm.rule, alarm.token) for alarm in expected] != []  # fmt: skip
    assert found["surrogate"] is True and found["written_by"] == "somebody/else"


def test_the_same_conversation_without_a_name_is_read_again(address: str) -> None:
    first, second = asked(address, messages=TALK), asked(address, messages=TALK)
    assert first["mean"] == pytest.approx(second["mean"], abs=2e-3) and first["conversation"] != second["conversation"]
    assert "tokens" not in first and first["surrogate"] is None


def test_a_name_goes_on_and_only_what_is_new_is_told(address: str) -> None:
    asked(address, messages=TALK[:1], conversation="long")
    found = asked(address, messages=TALK[:2], conversation="long", emotions=["desperate"])
    assert [turn["turn"] for turn in found["turns"]] == [1] and list(found["mean"]) == ["desperate"]
    assert found["conversation"] == "long"


def test_a_text_is_read_too(plant: Planted, vectors: EmotionVectors, served: Served, address: str) -> None:
    (offline,) = read(plant.model, vectors, [plant.model.encode("w1 w2 w3")], layer=served.engine.layer)
    assert asked(address, text="w1 w2 w3")["mean"] == pytest.approx({k: float(v) for k, v in offline.mean().items()}, abs=2e-3)  # fmt: skip


@pytest.mark.parametrize(
    "given",
    [{}, {"text": "w", "messages": TALK}, {"messages": [{"role": "king", "content": "w"}]}, {"messages": [{"role": "user", "content": ""}]},
     {"text": "w", "emotions": ["hangry"]}, {"text": "w", "file": "/etc/passwd"}, {"text": "w1 " * 5000}, {"text": 3}],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_with_a_sentence(address: str, given: dict) -> None:
    answer = httpx.post(f"{address}/v1/readings", json=given)
    assert answer.status_code == 400 and answer.json()["error"]["message"]
