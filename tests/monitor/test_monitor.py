"""The monitor on a running model: the same alarms as offline, conversations told apart, replies ended, nothing left."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from foreshock.errors import CalibrationError, MonitorError
from foreshock.guard import Guard
from foreshock.model.planted import Planted, cue
from foreshock.monitor.alarms import scan
from foreshock.monitor.calibration import Calibration
from foreshock.monitor.following import Heard
from foreshock.monitor.monitor import DriftWarning, Monitor
from foreshock.monitor.rules import Extreme, Rule
from foreshock.monitor.scores import Score
from foreshock.monitor.store import Alarm, Store
from foreshock.readings import read
from foreshock.texts import Turn
from foreshock.vectors import EmotionVectors
from tests.monitor.talking import TEN, split, talk, teacher

DESPERATE = " ".join(cue("desperate", k % 6, k % 2) for k in range(24))


@pytest.fixture(scope="module")
def touchy(calibration: Calibration) -> Calibration:
    """A rule that fires at any token of anyone."""
    rule = Rule("any", Score({"desperate": 1.0}), Extreme())
    return replace(calibration, rules=(rule,), maxima=((-100.0,) * 40,), means=np.zeros((40, 1)), roles=None)


def test_live_alarms_are_those_of_the_finished_transcript(
    plant: Planted, vectors: EmotionVectors, calibration: Calibration
) -> None:
    wholes = [talk(plant, 900, "desperate"), talk(plant, 7, turns=4), talk(plant, 901, "desperate", turns=4)]
    prompts, replies = zip(*(split(plant.model, whole) for whole in wholes), strict=True)
    heard: list[Heard] = []
    with Monitor(plant.model, vectors, calibration, on_tokens=heard.append, layers=[1]) as monitor:
        monitor.expect(prompts, ["a", "b", "c"])
        teacher(plant.model, prompts, replies)
    expected = []
    for name, whole in zip("abc", wholes, strict=True):
        own = [one for one in heard if one.conversation == name]
        assert [int(id) for one in own for id in one.ids] == whole.ids
        assert [role for one in own for role in one.roles] == whole.roles
        assert [turn for one in own for turn in one.turns] == whole.turns
        assert [start for one in own for start in [one.start]] == np.cumsum([0, *map(len, own)])[:-1].tolist()
        (readings,) = read(plant.model, vectors, [whole], calibration.layer)
        expected += scan(readings, calibration, name)
    assert expected
    found = sorted(monitor.alarms, key=lambda alarm: (alarm.conversation, alarm.token, alarm.rule))
    for live, offline in zip(found, sorted(expected, key=lambda a: (a.conversation, a.token, a.rule)), strict=True):
        assert (live.conversation, live.rule, live.token, live.turn, live.role) == (
            *(offline.conversation, offline.rule, offline.token, offline.turn, offline.role),
        )
        assert live.score == pytest.approx(offline.score, abs=1e-3) and live.p == offline.p
        assert live.text == offline.text


def test_an_alarm_ends_its_own_reply_and_no_other(
    plant: Planted, vectors: EmotionVectors, calibration: Calibration
) -> None:
    calm, bad = (plant.model.encode_transcript([Turn(role="user", content=text)], reply=True) for text in ("w1 w2 w3 w4 w5 w6 w7 w8 w9", DESPERATE))  # fmt: skip
    everyone = replace(calibration, roles=None)
    width = max(len(calm), len(bad))
    ids = torch.tensor([[0] * (width - len(p)) + p.ids for p in (calm, bad)])
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in (calm, bad)])

    def replies(monitor: Monitor | None) -> list[list[int]]:
        if monitor:
            monitor.expect([calm, bad])
        out = plant.model.model.generate(ids, attention_mask=mask, max_new_tokens=6, do_sample=False, eos_token_id=5)
        return [row[width:].tolist() for row in out]

    plain = replies(None)
    assert all(5 not in row for row in plain)
    with Monitor(plant.model, vectors, everyone, on_alarm="stop") as monitor:
        stopped = replies(monitor)
    assert {alarm.turn for alarm in monitor.alarms} == {0}
    assert stopped[0] == plain[0] and stopped[1][0] == 5
    asked: list[Alarm] = []
    for answer, end in ((True, plain[1]), (False, stopped[1])):
        asking = Monitor(plant.model, vectors, everyone, on_alarm=lambda alarm, a=answer: (asked.append(alarm), a)[1])  # type: ignore[misc]
        with asking:
            assert replies(asking) == [plain[0], end]
    assert len(asked) == len(monitor.alarms) + 1  # not again once the reply is to end
    assert replies(None) == plain  # and nothing is left


def test_the_next_reply_of_a_stopped_conversation_is_not_stopped(
    plant: Planted, vectors: EmotionVectors, touchy: Calibration
) -> None:
    with Monitor(plant.model, vectors, touchy, on_alarm="stop") as monitor:
        first = plant.model.encode_transcript([Turn(role="user", content=TEN)], reply=True)
        monitor.expect([first], ["c"])
        out = plant.model.model.generate(torch.tensor([first.ids]), attention_mask=torch.ones(1, len(first)), max_new_tokens=3)  # fmt: skip
        assert out[0, len(first) :].tolist() == [5] and len(monitor.alarms) == 1
        turns = [Turn(role="user", content=TEN), Turn(role="assistant", content="w6"), Turn(role="user", content="w1")]  # fmt: skip
        second = plant.model.encode_transcript(turns, reply=True)
        monitor.expect([second], ["c"])
        out = plant.model.model.generate(torch.tensor([second.ids]), attention_mask=torch.ones(1, len(second)), max_new_tokens=3)  # fmt: skip
        assert len(monitor.alarms) == 1 and out[0, len(second)] != 5  # within the cool-down


def test_an_alarm_hands_over_to_a_guard(plant: Planted, vectors: EmotionVectors, touchy: Calibration) -> None:
    guarded = replace(vectors, layers=(1, 2), steering_layer=1)
    guard = Guard(guarded, watch="desperate", above=-50, below=-60, counter={"calm": 0.2}, most=0.4)
    prompt, reply = split(plant.model, talk(plant, 5))
    with Monitor(plant.model, vectors, touchy, on_alarm=guard) as monitor:
        monitor.expect([prompt])
        teacher(plant.model, [prompt], [reply])
        assert guard.actions and guard.actions[0].token == len(prompt)  # from the pass after the alarm's
        before = len(guard.actions)
    teacher(plant.model, [prompt], [reply])
    assert len(guard.actions) == before


def test_a_guard_takes_over_again_when_the_monitor_is_used_again(
    plant: Planted, vectors: EmotionVectors, touchy: Calibration
) -> None:
    guarded = replace(vectors, layers=(1, 2), steering_layer=1)
    guard = Guard(guarded, watch="desperate", above=-50, below=-60, counter={"calm": 0.2}, most=0.4)
    prompt, reply = split(plant.model, talk(plant, 5))
    monitor = Monitor(plant.model, vectors, touchy, on_alarm=guard)
    for _ in range(2):
        guard.actions.clear()
        with monitor:
            teacher(plant.model, [prompt], [reply])
        assert guard.actions


def test_as_a_logits_processor_it_ends_the_row(plant: Planted, vectors: EmotionVectors, touchy: Calibration) -> None:
    prompt, reply = split(plant.model, talk(plant, 5))
    with Monitor(plant.model, vectors, touchy, on_alarm="stop") as monitor:
        teacher(plant.model, [prompt], [reply])
        scores = monitor(torch.zeros(1, 1), torch.randn(1, 40))
    assert scores.argmax() == 5


def test_a_failing_sink_is_counted_and_the_others_get_the_alarm(
    plant: Planted, vectors: EmotionVectors, touchy: Calibration
) -> None:
    def broken(_alarm: Alarm) -> None:
        raise OSError("disk full")

    got: list[Alarm] = []
    prompt, reply = split(plant.model, talk(plant, 5))
    with Monitor(plant.model, vectors, touchy, sinks=[broken, got.append]) as monitor:
        teacher(plant.model, [prompt], [reply])
    assert monitor.failed == len(got) == len(monitor.alarms) == 1


def test_watching_changes_no_bit_and_leaves_nothing(
    plant: Planted, vectors: EmotionVectors, calibration: Calibration
) -> None:
    ids = torch.tensor([talk(plant, 900, "desperate").ids])
    model = plant.model.model
    hooks = _hooks(model)  # of whatever other tests have left
    with torch.inference_mode():
        bare = model(ids).logits
        with Monitor(plant.model, vectors, calibration) as monitor:
            assert torch.equal(model(ids).logits, bare)
            with pytest.raises(MonitorError, match="attached already"):
                monitor.attach()
        heard = len(monitor.alarms)
        model(ids)
    assert len(monitor.alarms) == heard
    assert _hooks(model) == hooks


def _hooks(model: torch.nn.Module) -> list[int]:
    return [id(hook) for module in model.modules() for own in (module._forward_hooks, module._forward_pre_hooks) for hook in own.values()]  # fmt: skip


@pytest.mark.parametrize("words", [True, False])
def test_the_store_gets_messages_readings_and_alarms(
    plant: Planted, vectors: EmotionVectors, calibration: Calibration, tmp_path: Path, words: bool
) -> None:
    whole = talk(plant, 900, "desperate")
    prompt, reply = split(plant.model, whole)
    with Store.open(tmp_path / "kept.db", keep_text=words) as store:
        with Monitor(plant.model, vectors, calibration, store=store, layers=[1], source="a test") as monitor:
            monitor.expect([prompt], ["c"])
            teacher(plant.model, [prompt], [reply])
        store.flush()
        kept = store.conversation("c")
        assert kept and kept.conversation.source == "a test" and not kept.conversation.surrogate
        assert [(alarm.rule, alarm.token) for alarm in kept.alarms] == [(a.rule, a.token) for a in monitor.alarms]
        assert [message.role for message in kept.messages] == ["user", "assistant"]
        for message in kept.messages:
            own = np.flatnonzero((np.array(whole.turns) == message.turn) & np.array(whole.content))
            said = whole.text[whole.spans[own[0]][0] : whole.spans[own[-1]][1]]
            for layer in (1, 2):
                blocks = [b for b in kept.readings if b.turn == message.turn and b.layer == layer]
                (offline,) = read(plant.model, vectors, [whole], layer)
                values = np.concatenate([block.values for block in blocks])
                assert np.allclose(values, offline.values[own], atol=0.02)  # kept in half precision
                spans = [span for block in blocks for span in block.spans]
                assert [said[a:b].strip() for a, b in spans] == [whole.pieces()[k].strip() for k in own]
            assert message.text is None or message.text.strip() == said
            assert (message.text is not None) == words


def test_drift_is_warned_of_once_live_talk_differs(
    plant: Planted, vectors: EmotionVectors, calibration: Calibration
) -> None:
    def run(emotion: str | None) -> Monitor:
        with Monitor(plant.model, vectors, calibration) as monitor:
            for seed in range(22):
                prompt, reply = split(plant.model, talk(plant, 2000 + seed, emotion))
                teacher(plant.model, [prompt], [reply])
        return monitor

    with warnings.catch_warnings():
        warnings.simplefilter("error", DriftWarning)
        usual = run(None).drift()
    assert usual and not usual.warned and usual.live >= 20
    with pytest.warns(DriftWarning, match="calibrate again"):
        run("desperate")


def test_what_cannot_be_watched_is_said(plant: Planted, vectors: EmotionVectors, calibration: Calibration) -> None:
    other = replace(calibration, made_on=dict(calibration.made_on) | {"template": "other"})
    with pytest.raises(CalibrationError, match="another chat template"):
        Monitor(plant.model, vectors, other)
    with pytest.raises(CalibrationError, match="no calibration"):
        Monitor(plant.model, vectors, "nowhere.json")


def test_rules_count_the_same_tokens_live_and_offline_also_of_an_unannounced_prompt(
    plant: Planted, vectors: EmotionVectors, touchy: Calibration
) -> None:
    """Nobody knows which words of it are the template's, so none of them count."""
    prompt, reply = split(plant.model, talk(plant, 5))
    with Monitor(plant.model, vectors, touchy) as monitor:
        teacher(plant.model, [prompt], [reply])
    assert monitor.alarms[0].token == len(prompt) and monitor.alarms[0].role == "assistant"


def test_an_alarm_in_an_early_chunk_of_a_prompt_still_ends_the_reply(
    plant: Planted, vectors: EmotionVectors, touchy: Calibration
) -> None:
    prompt, _ = split(plant.model, talk(plant, 5))
    with Monitor(plant.model, vectors, touchy, on_alarm="stop") as monitor:
        monitor.expect([prompt])
        out = plant.model.model.generate(torch.tensor([prompt.ids]), attention_mask=torch.ones(1, len(prompt)), max_new_tokens=6, prefill_chunk_size=16)  # fmt: skip
    assert monitor.alarms[0].turn == 0 and out[0, len(prompt) :].tolist() == [5]


def test_where_the_end_is_forbidden_a_stopped_reply_keeps_its_own_words(
    plant: Planted, vectors: EmotionVectors, touchy: Calibration
) -> None:
    prompt, _ = split(plant.model, talk(plant, 5))
    given = {"attention_mask": torch.ones(1, len(prompt)), "max_new_tokens": 8, "min_new_tokens": 4, "do_sample": False}
    bare = plant.model.model.generate(torch.tensor([prompt.ids]), **given)[0].tolist()
    with Monitor(plant.model, vectors, touchy, on_alarm="stop") as monitor:
        monitor.expect([prompt])
        out = plant.model.model.generate(torch.tensor([prompt.ids]), **given)[0].tolist()
    assert out == [*bare[: len(prompt) + 4], 5]


def test_a_killed_process_that_was_at_rest_loses_nothing(tmp_path: Path) -> None:
    """The reply is over, the monitor still attached, and nothing runs any more."""
    script = tmp_path / "rest.py"
    script.write_text(f"""
import os, signal, sys, time
import torch
from foreshock.model import open_model
from foreshock.model.planted import planted
from foreshock.monitor.monitor import Monitor
from foreshock.monitor.store import Store
from foreshock.texts import Turn
from tests.exact_vectors import exact
plant = planted()
vectors = exact(plant.model, plant.directions, (1,))
store = Store.open({str(tmp_path / "kept.db")!r})
monitor = Monitor(plant.model, vectors, store=store)
monitor.attach()
prompt = plant.model.encode_transcript([Turn(role="user", content="w1 w2 w3")], reply=True)
monitor.expect([prompt], ["c"])
plant.model.model.generate(torch.tensor([prompt.ids]), attention_mask=torch.ones(1, len(prompt)), max_new_tokens=8, min_new_tokens=8)
time.sleep(1.5)
os.kill(os.getpid(), signal.SIGKILL)
""")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run([sys.executable, script], check=False, stderr=subprocess.DEVNULL, env=environment)
    with Store.open(tmp_path / "kept.db") as store:
        kept = store.conversation("c")
    assert kept and [message.role for message in kept.messages] == ["user", "assistant"]
    assert sum(len(block.spans) for block in kept.readings if block.turn == 1) == 7  # the last token is never run over
