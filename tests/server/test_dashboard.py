"""The dashboard's JSON: what it tells of a store's conversations, of the running server and of the study."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import httpx
import numpy as np
import pytest

from foreshock.emotions import catalogue
from foreshock.model.planted import Planted
from foreshock.monitor.store import Alarm, Message
from foreshock.server.dashboard import _claims, _map
from foreshock.server.settings import Served
from foreshock.server.showing import place
from foreshock.vectors import EmotionVectors
from tests.monitor.store.keeping import NOON
from tests.server.hostile import EMOTIONS, IDS, SCRIPT, WORDS, fill
from tests.server.serving import made, serving


@pytest.fixture(scope="module")
def api(served: Served, address: str) -> Iterator[httpx.Client]:
    assert served.store
    fill(served.store)
    with httpx.Client(base_url=f"{address}/api", timeout=30) as client:
        yield client


def test_the_status_tells_what_is_served(served: Served, api: httpx.Client) -> None:
    status = api.get("/status").json()
    rules = served.engine.monitor.rules
    assert rules and status["layer"] == rules.layer and status["emotions"] == list(served.engine.monitor.emotions)
    assert status["store"] and status["words"] and (status["running"], status["waiting"]) == (0, 0)
    assert [rule["name"] for rule in status["rules"]] == [rule.name for rule in rules.rules]
    told = dict(zip([rule["name"] for rule in status["rules"]], status["rules"], strict=True))["desperate"]
    rule = next(rule for rule in rules.rules if rule.name == "desperate")
    assert told["detector"].startswith("level/") and told["emotions"] == list(rule.score.weights)
    if told["reading"] is not None:
        (weight,) = rule.score.weights.values()
        back = (told["reading"] * weight - rule.score.mean) / rule.score.spread
        assert back == pytest.approx(told["threshold"])


def test_hostile_conversations_are_listed_searched_filtered_and_paged(api: httpx.Client) -> None:
    listed = api.get("/conversations").json()
    assert [own["id"] for own in listed["conversations"]] == IDS[::-1] and listed["next"] is None
    first = listed["conversations"][0]
    assert (first["alarms"], first["model"], first["source"]) == (1, SCRIPT, "test")
    assert first["first"] == "".join(WORDS).replace("\0", "\ufffd")[:200]
    assert [own["id"] for own in api.get("/conversations", params={"alarm": True}).json()["conversations"]] == IDS[2:]
    assert len(api.get("/conversations", params={"alarm": False}).json()["conversations"]) == 2
    assert len(api.get("/conversations", params={"search": "RIGHT TO"}).json()["conversations"]) == 3
    assert api.get("/conversations", params={"search": "nobody said this"}).json()["conversations"] == []
    paged, after = [], None
    for _ in IDS:
        page = api.get("/conversations", params={"limit": 1} | ({"after": after} if after else {})).json()
        paged += [own["id"] for own in page["conversations"]]
        after = page["next"]
    assert paged == IDS[::-1] and after is None
    gone = api.get("/conversations", params={"after": "nobody"})
    assert gone.status_code == 404 and "begin the list again" in gone.json()["error"]["message"]
    assert api.get("/conversations", params={"limit": 0}).status_code == 400


@pytest.mark.parametrize("id", IDS)
def test_a_conversation_comes_back_word_for_word(api: httpx.Client, id: str) -> None:
    kept = api.get(f"/conversations/{quote(id, safe='')}").json()
    assert kept["id"] == id and kept["layers"] == [2] and kept["all_emotions"] == list(EMOTIONS)
    clean = [word.replace("\0", "\ufffd") for word in WORDS]
    assert [message["text"] for message in kept["messages"]] == ["".join(clean), "".join(["I", *clean, "I"])]
    first = kept["readings"][0]
    assert ["".join(clean)[a:b] for a, b in first["spans"]] == clean
    assert kept["emotions"][0] == "sad" and np.shape(first["values"]) == (len(WORDS), len(kept["emotions"]))
    for alarm in kept["alarms"]:
        assert (alarm["turn"], alarm["place"], alarm["rule"]) == (1, 3, "desperate<b>")
    assert len(kept["alarms"]) == (id == IDS[-1])


def test_the_emotions_asked_for_are_told_in_their_order(api: httpx.Client) -> None:
    path = f"/conversations/{quote(IDS[0], safe='')}"
    every = api.get(path).json()
    two = api.get(path, params={"emotions": "calm, afraid"}).json()
    assert two["emotions"] == ["calm", "afraid"]
    column = every["emotions"].index("afraid")
    assert [row[1] for row in two["readings"][1]["values"]] == [row[column] for row in every["readings"][1]["values"]]
    wrong = api.get(path, params={"emotions": "hungryish"})
    assert wrong.status_code == 400 and "no emotion" in wrong.json()["error"]["message"]
    assert api.get(path, params={"emotions": "bored"}).status_code == 400
    assert api.get("/conversations/nobody").status_code == 404


def test_the_overview_counts_what_the_store_and_the_server_saw(served: Served, api: httpx.Client, address: str) -> None:
    before = api.get("/overview").json()
    assert before["by_rule"]["desperate<b>"] == 1 and sum(hour["count"] for hour in before["alarms"]) == 1
    assert len(before["alarms"]) == 24 and before["conversations"] == 3 and before["lost"] == 0
    asked = {"model": "any", "messages": [{"role": "user", "content": "w1 w2 w3"}], "max_tokens": 4}
    assert httpx.post(f"{address}/v1/chat/completions", json=asked, timeout=60).is_success
    after = api.get("/overview").json()
    assert {own["emotion"] for own in after["highest"]} == set(served.engine.monitor.emotions)
    means = [own["mean"] for own in after["highest"]]
    assert means == sorted(means, reverse=True)
    assert after["latency"]["first_token_p50"] > 0 and sum(after["requests"].values()) == 1 and after["drift"] is None


def test_without_a_store_only_the_conversations_are_missing(plant: Planted, vectors: EmotionVectors) -> None:
    with serving(made(plant.model, vectors)) as address:
        for path in ("", "/x"):
            answer = httpx.get(f"{address}/api/conversations{path}")
            assert answer.status_code == 404
            said = "This server keeps no conversations; start it with --store."
            assert answer.json()["error"]["message"] == said
        found = httpx.get(f"{address}/api/overview").json()
        assert found["conversations"] is None and found["by_rule"] == {} and len(found["alarms"]) == 24
        status = httpx.get(f"{address}/api/status").json()
        assert not status["store"] and status["rules"] == [] and status["alpha"] is None


def test_the_model_has_a_map_whose_first_axis_rises_with_valence(vectors: EmotionVectors, api: httpx.Client) -> None:
    model = api.get("/model").json()
    assert model["claims"] == [] and "foreshock study" in model["note"]
    assert [own["emotion"] for own in model["map"]] == list(vectors.emotions)
    xy = np.array([[own["x"], own["y"]] for own in model["map"]])
    directions = vectors.at(vectors.reading_layer)
    centred = directions - directions.mean(0)
    largest = np.linalg.svd(centred, compute_uv=False)[:2]
    assert np.linalg.norm(xy, axis=0) == pytest.approx(largest, rel=1e-3)
    known = [k for k, own in enumerate(model["map"]) if own["valence"] is not None]
    assert np.corrcoef(xy[known, 0], [model["map"][k]["valence"] for k in known])[0, 1] >= 0
    assert all(own["cluster"] == catalogue()[own["emotion"]].cluster for own in model["map"])
    assert len(_map(vectors)) == len(vectors)


def test_claims_come_from_the_study_and_damage_is_said(tmp_path: Path) -> None:
    finding = {"id": "x", "claim": SCRIPT, "estimate": 0.9, "interval": [0.8, None], "published": None, "verdict": "holds", "statistic": "AUROC"}  # fmt: skip
    card = {"schema": 2, "manifest": {"model": {"name": "m"}}, "findings": [finding]}
    file = tmp_path / "findings.json"
    file.write_text(json.dumps(card))
    (claim,), note = _claims(tmp_path)
    assert note is None and claim.claim == SCRIPT and claim.value == 0.9 and claim.interval == (0.8, None)
    for damaged in ("", "[]", json.dumps(card)[:-9], json.dumps(card | {"findings": [{"id": 1}]}), json.dumps(card | {"manifest": 3})):  # fmt: skip
        file.write_text(damaged)
        found, note = _claims(tmp_path)
        assert found == [] and note and "findings.json" in note
    assert _claims(tmp_path / "nowhere")[0] == [] and _claims(None)[0] == []


def test_an_alarm_is_placed_by_the_words_it_quotes() -> None:
    text = "no way out no way out"
    spans = [(0, 2), (2, 6), (6, 10), (10, 13), (13, 17), (17, 21)]

    def placed(quoted: str, token: int, words: str | None = text) -> int | None:
        alarm = Alarm("c", "r", 1, 0, 0.1, token, 0, "user", quoted, NOON)
        return place(alarm, Message("c", 0, "user", words), spans)

    assert placed("<|im_start|>user\nno way", 4) == 1
    assert placed("out no way", 9) == 4
    assert placed("way out", 2) == 2 and placed("way out", 9) == 5  # said twice: the nearer to its number
    assert placed("", 2) is None and placed("way", 2, None) is None and placed("elsewhere!", 2) is None
