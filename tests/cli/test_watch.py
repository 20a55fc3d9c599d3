"""`foreshock calibrate` and `foreshock watch` as a newcomer runs them, the chat also in a real terminal."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from foreshock.model.planted import Planted, cue
from foreshock.monitor.store import Store
from tests.cli.test_commands import FORESHOCK, run

CALM = " ".join(cue("calm", k % 6, k % 2) for k in range(12))

pytestmark = pytest.mark.slow  # each command opens the model anew


def _talks(path: Path, count: int, seed: int) -> Path:
    random = np.random.default_rng(seed)
    with path.open("w") as file:
        for _ in range(count):
            words = [[f"w{k}" for k in random.integers(0, 120, 30)] for _ in range(2)]
            turns = [
                {"role": role, "content": " ".join(own)} for role, own in zip(("user", "assistant"), words, strict=True)
            ]
            file.write(json.dumps({"messages": turns}) + "\n")
    return path


@pytest.fixture(scope="module")
def studied(plant: Planted, plant_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of the planted model with rules: its vectors, and thresholds that a calm reply passes."""
    folder = tmp_path_factory.mktemp("studied")
    texts = folder / "texts.jsonl"
    texts.write_text("\n".join(p.model_dump_json(exclude_defaults=True) for p in plant.passages))
    run("study", plant_folder, "--texts", texts, "--out", folder, "--dtype", "float32", "--only", "logit-lens")
    done = run("calibrate", folder, _talks(folder / "benign.jsonl", 80, 0), "--rule", "calm", "--rule", "desperate:change", "--alpha", "0.1", "--check", _talks(folder / "later.jsonl", 40, 1), "--dtype", "float32")  # fmt: skip
    assert "At most 0.1 of conversations like these 64" in " ".join(done.stdout.split())
    assert "Of 40 others" in done.stdout and "within the promise" in " ".join(done.stdout.split())
    saved = json.loads((folder / "rules.json").read_text())
    assert [rule["name"] for rule in saved["rules"]] == ["calm", "desperate:change"] and saved["roles"] == ["assistant"]
    return folder


def test_calibrate_says_how_many_conversations_are_needed(studied: Path, tmp_path: Path) -> None:
    few = _talks(tmp_path / "few.jsonl", 10, 2)
    done = run("calibrate", studied, few, "--rule", "calm", "--out", tmp_path / "r.json", code=2)
    assert "at least 24 are needed" in done.stderr and not (tmp_path / "r.json").exists()


def test_calibrate_names_bad_lines_and_takes_the_others(studied: Path, tmp_path: Path) -> None:
    file = _talks(tmp_path / "some.jsonl", 30, 3)
    with file.open("a") as lines:
        lines.write('{oops\n{"messages": [{"role": "user", "content": "w1 w2"}]}\n')
    done = run("calibrate", studied, file, "--rule", "calm", "--out", tmp_path / "r.json", code=2)
    assert "line 31" in done.stderr and "line 32 has no words of assistant" in done.stderr
    assert (tmp_path / "r.json").is_file()


def test_calibrate_learns_a_rule_from_labelled_conversations(studied: Path, tmp_path: Path) -> None:
    random, file = np.random.default_rng(4), tmp_path / "labelled.jsonl"
    with file.open("w") as lines:
        for number in range(24):
            bad = number % 2 == 0
            words = [f"w{k}" for k in random.integers(0, 120, 20)] + ([cue("angry", number % 6, 0)] * 6 if bad else [])
            turns = [{"role": "user", "content": "w1 w2 w3"}, {"role": "assistant", "content": " ".join(words)}]
            lines.write(json.dumps({"messages": turns, "misaligned": bad, "scenario": f"s{number // 2}"}) + "\n")
    run("calibrate", studied, _talks(tmp_path / "b.jsonl", 40, 5), "--learn", file, "--out", tmp_path / "r.json")
    (rule,) = json.loads((tmp_path / "r.json").read_text())["rules"]
    weights = rule["score"]["weights"]
    assert rule["name"] == "learned" and weights["angry"] > 0.5 * max(weights.values()), weights
    done = run("calibrate", studied, tmp_path / "b.jsonl", "--learn", tmp_path / "b.jsonl", code=2)
    assert "`misaligned`" in done.stderr


def test_watch_reads_a_chat_from_standard_input_and_keeps_it(studied: Path, tmp_path: Path) -> None:
    database, alarms = tmp_path / "kept.db", tmp_path / "alarms.jsonl"
    talk = f"{CALM}\n/tint calm\n/steer nonsense=1\n/new\nw1 w2 \x1b[31m w3\n"
    done = run("watch", studied, "--rules", studied / "rules.json", "--store", database, "--alarms", alarms, "--most", "40", "--dtype", "float32", "--steer", "calm=3", stdin=talk)  # fmt: skip
    shown = " ".join(done.stdout.split())
    assert "⚠ calm" in shown and "no emotion 'nonsense'" in shown
    assert "\x1b[31m w3" not in done.stdout
    told = [json.loads(line) for line in alarms.read_text().splitlines()]
    assert told and {one["rule"] for one in told} == {"calm"} and {one["role"] for one in told} == {"assistant"}
    with Store.open(database) as store:
        kept = [store.conversation(one.id) for one in store.conversations()]
    assert len(kept) == 2 and all(one and [m.role for m in one.messages] == ["user", "assistant"] for one in kept)
    assert sum(len(one.alarms) for one in kept if one) == len(told)


def test_watch_without_words_keeps_none(studied: Path, tmp_path: Path) -> None:
    database = tmp_path / "kept.db"
    run("watch", studied, "--store", database, "--no-text", "--most", "5", stdin="w1 w2 w3\n")
    with Store.open(database) as store:
        (one,) = store.conversations()
        kept = store.conversation(one.id)
    assert kept and kept.readings and all(message.text is None for message in kept.messages)
    assert b"w1 w2" not in database.read_bytes()


def test_watch_says_what_is_wrong_before_the_model_is_opened(studied: Path, tmp_path: Path) -> None:
    for options, said in (
        (["--steer", "calm=much"], "--steer 'calm=much' cannot be read"),
        (["--rules", tmp_path / "none.json"], "There is no calibration"),
        (["--emotion", "blissfull"], "did you mean blissful"),
        (["--webhook", "https://example.org"], "FORESHOCK_WEBHOOK_SECRET"),
        (["--store", "mysql://here"], "not mysql://"),
    ):
        assert said in run("watch", studied, *options, stdin="", code=2).stderr


def test_watch_in_a_terminal_asks_at_an_alarm(studied: Path) -> None:
    """A pseudo-terminal: the reply is tinted, the alarm waits for an answer, Ctrl-D ends the chat."""
    own, theirs = pty.openpty()
    command = [*FORESHOCK, "watch", str(studied), "--on-alarm", "ask", "--steer", "calm=3", "--most", "60", "--dtype", "float32"]  # fmt: skip
    environment = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor", "COLUMNS": "100"}
    child = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=subprocess.DEVNULL, env=environment, start_new_session=True)  # fmt: skip
    os.close(theirs)
    try:
        until(own, "you ›")
        os.write(own, b"w1 w2 w3\n")
        shown = until(own, "Let the reply go on?")
        assert "\x1b[30;48;2;" in shown and "⚠ calm" in shown
        os.write(own, b"n\n")
        shown = until(own, "you ›")
        assert "tinted by" in shown
        os.write(own, b"\x04")
        assert "alarm" in until(own, "alarm")
        assert child.wait(60) == 0
    finally:
        child.kill()
        os.close(own)


def until(terminal: int, words: str, seconds: float = 90) -> str:
    """What comes until the words do."""
    shown, deadline = b"", time.monotonic() + seconds
    while words not in shown.decode(errors="replace"):
        assert time.monotonic() < deadline, shown.decode(errors="replace")
        if select.select([terminal], [], [], 0.5)[0]:
            shown += os.read(terminal, 65536)
    return shown.decode(errors="replace")
