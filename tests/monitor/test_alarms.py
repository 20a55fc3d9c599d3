"""From readings to alarms: streaming equals offline, thresholds keep their rate, alarms reach their sinks."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from scipy.stats import binomtest

from foreshock.errors import CalibrationError, UnknownEmotion
from foreshock.model.planted import EMOTIONS, Planted
from foreshock.monitor.alarms import Tracker, line, scan
from foreshock.monitor.calibration import Calibration, calibrate, needed, threshold
from foreshock.monitor.checking import check
from foreshock.monitor.drift import drift
from foreshock.monitor.hand_over import guard_for
from foreshock.monitor.rules import NOTHING, Change, Extreme, Level, Rule, parse_rule, peak
from foreshock.monitor.scores import Score, learned
from foreshock.monitor.sinks import JsonLines, Terminal
from foreshock.monitor.store import Alarm
from foreshock.monitor.watching import Block, Watch
from foreshock.monitor.webhook import HEADER, Webhook, genuine
from foreshock.readings import Readings, read
from foreshock.vectors import EmotionVectors
from tests.monitor.talking import RULES, talk


def test_streaming_readings_are_those_of_the_finished_text(plant: Planted, vectors: EmotionVectors) -> None:
    """A padded batch that goes on with a cache, token by token, at two layers."""
    texts = [talk(plant, 1), talk(plant, 2)]
    blocks: list[Block] = []
    longest = max(len(text) for text in texts)
    ids = torch.zeros(2, longest, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, text in enumerate(texts):
        ids[row, longest - len(text) :], mask[row, longest - len(text) :] = torch.tensor(text.ids), 1
    with torch.inference_mode(), Watch(plant.model, vectors, [1, 2]).on(blocks.extend):
        out = plant.model.model.generate(ids, attention_mask=mask, max_new_tokens=6, min_new_tokens=6, do_sample=False)
    for row, text in enumerate(texts):
        own = [block for block in blocks if block.row == row]
        seen = [int(k) for block in own for k in block.ids]
        assert seen == [*text.ids, *out[row, longest:].tolist()][: len(seen)] and len(seen) == len(text) + 5
        assert [block.start for block in own] == [0, *range(len(text), len(text) + 5)]
        whole = replace(text, ids=seen, spans=[(0, 0)] * len(seen), roles=["a"] * len(seen), turns=[0] * len(seen), content=[True] * len(seen))  # fmt: skip
        for k, layer in enumerate((1, 2)):
            (offline,) = read(plant.model, vectors, [whole], layer)
            assert np.allclose(np.concatenate([block.values[:, k] for block in own]), offline.values, atol=1e-4)


def test_benign_conversations_keep_the_false_alarm_rate(benign: list[Readings], calibration: Calibration) -> None:
    fresh = benign[200:]
    raised = sum(bool(scan(readings, calibration)) for readings in fresh)
    # Within the spread of one calibration's own rate (see the docstring of `calibration`).
    assert binomtest(raised, len(fresh), 0.05, alternative="greater").pvalue > 0.001


def test_over_many_calibrations_the_rate_is_at_most_alpha() -> None:
    """Exchangeable statistics of two rules, heavy tails included: the marginal rate of any alarm."""
    random, alpha, any_alarm, tries = np.random.default_rng(0), 0.1, 0, 4000
    for _ in range(tries):
        drawn = random.standard_t(2, (2, 61))
        limits = [threshold(sorted(own[:60]), alpha, 2) for own in drawn]
        any_alarm += any(own[60] > limit for own, limit in zip(drawn, limits, strict=True))
    assert binomtest(any_alarm, tries, alpha, alternative="greater").pvalue > 0.001
    assert any_alarm / tries > 0.05  # and not by never alarming


def test_too_few_conversations_are_refused_with_the_number_needed(
    plant: Planted, vectors: EmotionVectors, benign: list[Readings]
) -> None:
    assert needed(0.01, 1) == 99 and needed(0.05, 2) == 39
    with pytest.raises(CalibrationError, match="at least 99 are needed"):
        threshold([0.0] * 98, 0.01, 1)
    assert threshold(list(range(99)), 0.01, 1) == 98
    with pytest.raises(CalibrationError, match="at least 249 are needed"):
        calibrate(RULES, benign[:100], 0.01, plant.model, vectors)


def test_an_emotion_in_the_assistants_words_raises_an_alarm_there(
    plant: Planted, vectors: EmotionVectors, calibration: Calibration
) -> None:
    (readings,) = read(plant.model, vectors, [talk(plant, 900, "desperate")])
    alarms = scan(readings, calibration, "c1")
    assert alarms and {alarm.rule for alarm in alarms} <= {"desperate", "rise"}
    for alarm in alarms:
        assert alarm.role == "assistant" and alarm.turn == 1 and alarm.score > alarm.threshold
        assert alarm.p <= 0.05 and alarm.text in readings.tokens.text and alarm.conversation == "c1"
    assert len({(alarm.rule, alarm.token) for alarm in alarms}) == len(alarms) <= 4


def test_fed_in_pieces_the_alarms_are_the_same(
    plant: Planted, vectors: EmotionVectors, calibration: Calibration
) -> None:
    (readings,) = read(plant.model, vectors, [talk(plant, 901, "desperate", turns=4)])
    whole = [(alarm.rule, alarm.token, alarm.score) for alarm in scan(readings, calibration)]
    tracker, tokens, found = Tracker(calibration, ""), readings.tokens, []
    for start in range(0, len(tokens), 7):
        part = slice(start, start + 7)
        found += tracker.feed(
            start, readings.values[part], readings.emotions, tokens.content[part], tokens.roles[part], tokens.turns[part], str
        )  # fmt: skip
    assert [(alarm.rule, alarm.token, alarm.score) for alarm in found] == whole != []


def test_a_rule_that_fired_is_silent_until_it_fell(calibration: Calibration) -> None:
    tracker = Tracker(replace(calibration, rules=calibration.rules[:1], maxima=calibration.maxima[:1], roles=None), "", cool_down=2)  # fmt: skip
    high = 50.0 * np.eye(8)[EMOTIONS.index("desperate")]
    values = np.array([high] * 20 + [-high] * 20 + [high] * 20)
    count = len(values)
    alarms = tracker.feed(8, values, EMOTIONS, [True] * count, ["assistant"] * count, [0] * count, str)
    assert len(alarms) == 2 and alarms[1].token > 8 + 40


def test_detectors_do_what_they_say() -> None:
    step = Level(8).begin()
    assert [step(1.0), step(3.0)] == [NOTHING, 2.0]
    change = Change(drift=0.5).begin()
    assert [change(x) for x in (0.0, 1.5, 1.5, -9.0)] == [0.0, 1.0, 2.0, 0.0]
    assert peak(Rule("x", Score({"calm": 1}), Extreme()), np.array([1.0, 5.0, 2.0])) == 5.0
    assert peak(Rule("x", Score({"calm": 1}), Level(8)), np.array([1.0])) == NOTHING


@dataclass(frozen=True)
class Streak:
    """A detector of a user's own: how many tokens in a row stand above a level."""

    level: float = 1.0

    def begin(self) -> Callable[[float], float]:
        run = 0

        def step(score: float) -> float:
            nonlocal run
            run = run + 1 if score > self.level else 0
            return float(run)

        return step


def test_a_users_own_detector_calibrates_saves_and_loads(
    plant: Planted, vectors: EmotionVectors, benign: list[Readings], tmp_path: Path
) -> None:
    own = calibrate([Rule("streak", Score({"desperate": 1}), Streak())], benign[:60], 0.1, plant.model, vectors)
    own.save(tmp_path / "rules.json")
    again = Calibration.load(tmp_path / "rules.json", [Streak])
    assert again.thresholds == own.thresholds and np.allclose(again.means, own.means)
    with pytest.raises(CalibrationError, match="Streak"):
        Calibration.load(tmp_path / "rules.json")
    (tmp_path / "torn.json").write_text((tmp_path / "rules.json").read_text()[:80])
    with pytest.raises(CalibrationError, match="damaged"):
        Calibration.load(tmp_path / "torn.json", [Streak])


def test_rules_of_other_vectors_are_refused(plant: Planted, vectors: EmotionVectors, calibration: Calibration) -> None:
    calibration.check(plant.model, vectors)
    with pytest.raises(CalibrationError, match="another set of vectors"):
        calibration.check(plant.model, replace(vectors, directions=-vectors.directions))
    with pytest.raises(UnknownEmotion):
        Score({"clam": 1})


def test_a_learned_score_tells_the_turns_apart(plant: Planted, vectors: EmotionVectors, benign: list[Readings]) -> None:
    bad = list(read(plant.model, vectors, [talk(plant, 2000 + seed, "desperate") for seed in range(30)]))
    turns = [readings.values[readings.counted()].mean(0) for readings in (*benign[:30], *bad)]
    labels = np.array([False] * 30 + [True] * 30)
    score = learned(np.stack(turns), labels, [str(k) for k in range(60)], EMOTIONS)
    assert max(score.weights, key=lambda word: score.weights[word]) == "desperate"
    with pytest.raises(CalibrationError, match="at least 5 of each"):
        learned(np.stack(turns), labels, ["one"] * 60, EMOTIONS)


def test_drift_warns_of_other_traffic_and_not_of_the_same(
    plant: Planted, vectors: EmotionVectors, benign: list[Readings], calibration: Calibration
) -> None:
    def means(texts: list[Readings]) -> list[np.ndarray]:
        found = []
        for readings in texts:
            tracker, tokens = Tracker(calibration, ""), readings.tokens
            tracker.feed(0, readings.values, readings.emotions, tokens.content, tokens.roles, tokens.turns, str)
            assert tracker.means is not None
            found.append(tracker.means)
        return found

    same, other = drift(calibration, means(benign[200:260])), drift(calibration, means(list(read(plant.model, vectors, [talk(plant, 3000 + k, "desperate") for k in range(30)]))))  # fmt: skip
    assert same is not None and not same.warned
    assert other is not None and other.warned and other.statistic > 0.5
    assert drift(calibration, means(benign[:19])) is None


@pytest.fixture
def receiver() -> Iterator[tuple[HTTPServer, list[tuple[str, bytes]]]]:
    """A web server that fails twice, then takes what it gets."""
    got: list[tuple[str, bytes]] = []
    failures = iter([503, 500])

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status = next(failures, 200)
            if status == 200:
                got.append((self.headers[HEADER], body))
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server, got
    server.shutdown()
    thread.join()
    server.server_close()


def test_alarms_reach_a_file_and_a_webhook_that_fails_at_first(
    plant: Planted, vectors: EmotionVectors, calibration: Calibration, receiver: tuple, tmp_path: Path
) -> None:
    server, got = receiver
    (readings,) = read(plant.model, vectors, [talk(plant, 902, "desperate")])
    alarms = scan(readings, calibration, "c2")
    file = JsonLines(tmp_path / "alarms.jsonl")
    with Webhook(f"http://127.0.0.1:{server.server_port}/", "a secret of some length") as webhook:
        for alarm in alarms:
            file(alarm)
            webhook(alarm)
    assert webhook.lost == 0 and len(got) == len(alarms) >= 1
    lines = [json.loads(line) for line in (tmp_path / "alarms.jsonl").read_text().splitlines()]
    for (header, body), kept in zip(got, lines, strict=True):
        assert genuine("a secret of some length", header, body) and not genuine("another", header, body)
        assert json.loads(body) == kept and kept["conversation"] == "c2"


@pytest.mark.parametrize(
    ("words", "weights", "detector"),
    [
        ("afraid", {"afraid": 1}, Level()),
        ("desperate, calm=-1:level/32", {"desperate": 1, "calm": -1}, Level(32)),
        ("on edge=0.5:change/1", {"on edge": 0.5}, Change(1.0)),
        ("hostile:extreme", {"hostile": 1}, Extreme()),
    ],
)
def test_a_rule_in_words(words: str, weights: dict[str, float], detector: object) -> None:
    rule = parse_rule(words)
    assert rule.name == words and rule.score.weights == weights and rule.detector == detector


@pytest.mark.parametrize(
    "words", ["desperate=much", "desperate:sometimes", "desperate:level/x", "", "desperate:level/0"]
)
def test_words_that_make_no_rule_are_refused(words: str) -> None:
    with pytest.raises((CalibrationError, UnknownEmotion)):
        parse_rule(words)


def test_the_promise_is_checked_on_other_conversations(
    plant: Planted, vectors: EmotionVectors, benign: list[Readings], calibration: Calibration
) -> None:
    fair = check(calibration, benign[200:])
    assert fair and fair.kept and fair.conversations == 200 and fair.interval[0] <= fair.rate <= fair.interval[1]
    bad = read(plant.model, vectors, [talk(plant, seed, "desperate") for seed in range(20)])
    broken = check(calibration, bad)
    assert broken and not broken.kept and broken.rate > 0.5
    assert check(calibration, []) is None


def test_a_guard_acts_where_the_rule_fires(vectors: EmotionVectors, calibration: Calibration) -> None:
    steerable = replace(vectors, steering_layer=1)
    guard = guard_for(calibration, steerable, {"calm": 0.1}, rule=1)
    score = calibration.rules[1].score
    assert guard.watch == score.weights and guard.read_at == calibration.layer
    assert guard.above == pytest.approx((score.mean + 2 * score.spread) / 2)  # a change has no level: two deviations
    level = guard_for(calibration, steerable, {"calm": 0.1})
    at = np.zeros((1, len(EMOTIONS)))
    at[0, EMOTIONS.index("desperate")] = level.above
    assert calibration.rules[0].score.of(at, EMOTIONS)[0] == pytest.approx(calibration.thresholds[0])
    assert level.below < level.above and level.window == 4


def test_an_alarm_is_json_and_harmless_in_a_terminal() -> None:
    alarm = Alarm("\x1b[2Jc", "r", 1.0, NOTHING, 0.5, 3, 1, "assistant", "a\x1b]0;b", datetime.now(UTC))
    assert json.loads(line(alarm), parse_constant=pytest.fail)["threshold"] is None
    shown = io.StringIO()
    Terminal(Console(file=shown))(alarm)
    assert "\x1b" not in shown.getvalue()
