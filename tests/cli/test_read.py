"""`foreshock read` as a newcomer runs it: several kinds of input and output, authors, layers, rules, bad lines."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import polars
import pytest
from inspect_ai import Task, eval
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import get_model
from inspect_ai.solver import generate

from foreshock.activations import read_passages
from foreshock.cli.read_input import transcripts
from foreshock.model.planted import Planted, cue
from foreshock.monitor.calibration import calibrate
from foreshock.monitor.rules import Level, Rule
from foreshock.monitor.scores import Score
from foreshock.readings import read
from foreshock.texts import Turn
from foreshock.vectors import EmotionVectors
from foreshock.vectors.fitting import fit_vectors
from tests.cli.test_commands import FORESHOCK, run
from tests.texts.test_inspect_logs import answered

HAPPY, SAD, ANGRY = (cue(word, 0, 1) + " " for word in ("happy", "sad", "angry"))
CHAT = [{"role": "user", "content": HAPPY * 10}, {"role": "assistant", "content": SAD + "w1 w2"}]


@pytest.fixture(scope="module")
def vectors(plant: Planted, plant_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The vectors of a study of the planted model."""
    means = read_passages(plant.model, [plant.model.encode(p.text) for p in plant.passages], [1, 2])
    made_by = {"model": {"name": str(plant_folder), "fingerprint": plant.model.fingerprint}}
    path = tmp_path_factory.mktemp("study") / "vectors.safetensors"
    fit_vectors(plant.passages, means, None, 2, manifest=made_by).save(path)
    return path


@pytest.fixture(scope="module")
def rules(plant: Planted, vectors: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One rule about anger, at layer 1."""
    loaded = EmotionVectors.load(vectors)
    words = [" ".join(f"w{(seed * 7 + k * 3) % 120}" for k in range(20)) for seed in range(60)]
    talks = [[Turn(role="user", content=word), Turn(role="assistant", content=word)] for word in words]
    benign = read(plant.model, loaded, [plant.model.encode(talk) for talk in talks], 1)
    path = tmp_path_factory.mktemp("rules") / "rules.json"
    calibrate([Rule("anger", Score({"angry": 1.0}), Level(4))], benign, 0.1, plant.model, loaded).save(path)
    return path


def read_it(
    vectors: Path, *args: str | Path, stdin: str | bytes | None = None, code: int = 0
) -> subprocess.CompletedProcess[str]:
    return run("read", *args, "--vectors", vectors, "--dtype", "float32", stdin=stdin, code=code)


def lines(path: Path, *rows: dict) -> Path:
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


@pytest.mark.slow
def test_one_json_object_a_line(vectors: Path, tmp_path: Path) -> None:
    file = lines(tmp_path / "chats.jsonl", {"text": ANGRY * 12, "id": "a"}, {"messages": CHAT})
    text, talk = [json.loads(line) for line in read_it(vectors, file, "--json", "--tokens").stdout.splitlines()]
    assert max(text["mean"], key=text["mean"].get) == "angry" and text["id"] == "a" and text["layer"] == 2
    assert len(text["tokens"]) == len(text["values"]) == 12 and len(text["values"][0]) == len(text["mean"]) == 8
    assert [turn["role"] for turn in talk["turns"]] == ["user", "assistant"]
    assert set(talk["roles"]) == {"user", "assistant"} and "alarms" not in talk


def test_bad_lines_are_named_the_others_are_read_and_the_exit_code_is_2(vectors: Path) -> None:
    bad = b'{"text": "w5 w1"}\n{oops\n{"text": ""}\n[]\n{"text": "\\ud83d"}\n{"messages": [{"role": "user"}]}\n' \
          b'\xff\n{"messages": [{"role": "boss\\u001b[31m", "content": "w1"}]}\nplain w1 words\n'  # fmt: skip
    done = read_it(vectors, "-", "--json", stdin=bad, code=2)
    assert len(done.stdout.splitlines()) == 2
    for number in (2, 3, 4, 5, 6, 7, 8):
        assert f"line {number}" in done.stderr
    assert "\x1b" not in done.stderr


def test_json_holds_no_character_that_a_terminal_acts_on(vectors: Path) -> None:
    text = f"{HAPPY} \x1b[31m \x9b31m \u202e w1 é"
    done = read_it(vectors, "-", "--json", "--tokens", stdin=json.dumps({"text": text}))
    assert not any(letter in done.stdout for letter in "\x1b\x9b\u202e")
    assert "".join(json.loads(done.stdout)["tokens"]).count("\x9b") <= 1


def test_a_tinted_text_without_control_characters(vectors: Path) -> None:
    done = read_it(vectors, HAPPY + "w1 \x1b[31m w2", "--emotion", "calm")
    assert "tinted by calm" in done.stdout and "\x1b" not in done.stdout and "author not stated" in done.stdout


@pytest.mark.slow
def test_another_model_and_an_empty_source_are_refused(vectors: Path, tmp_path: Path) -> None:
    done = run("read", "w1 w2", "--vectors", vectors, "--model", "SmolLM2-135M-Instruct", code=2)
    assert "These vectors were made on" in done.stderr
    (tmp_path / "empty.jsonl").write_text("\n")
    assert "holds no text" in run("read", tmp_path / "empty.jsonl", code=2).stderr


@pytest.mark.slow
def test_every_output_says_that_a_surrogate_read(vectors: Path, plant_folder: Path, tmp_path: Path) -> None:
    file = lines(tmp_path / "a.jsonl", {"messages": CHAT, "model": "gpt-9"}, {"text": HAPPY}, {"text": SAD, "model": plant_folder.name})  # fmt: skip
    other, unknown, own = [json.loads(line) for line in read_it(vectors, file, "--json").stdout.splitlines()]
    assert (other["written_by"], other["surrogate"]) == ("gpt-9", True)
    assert (unknown["written_by"], unknown["surrogate"]) == (None, None)
    assert own["surrogate"] is False and own["read_by"] == str(plant_folder)
    shown = read_it(vectors, file, "--written-by", "claude-9").stdout
    shown = " ".join(shown.split())
    assert shown.count("a surrogate") == 2 and "written by gpt-9" in shown and "written by claude-9" in shown
    read_it(vectors, file, "--out", tmp_path / "a.html")
    page = (tmp_path / "a.html").read_text()
    assert "written by gpt-9, read by" in page and "a surrogate reader" in page and "author not stated" in page


@pytest.mark.slow
def test_layers_smoothing_and_parquet(vectors: Path, tmp_path: Path) -> None:
    messages = [CHAT[0], {"role": "assistant", "content": ""}, CHAT[1]]
    file = lines(tmp_path / "a.jsonl", {"messages": messages, "model": "gpt-9", "id": 7}, {"text": ANGRY * 12})
    args = (file, "--layer", "1,2", "--smooth", "4", "--json", "--tokens", "--out", tmp_path / "a.parquet")
    done = read_it(vectors, *args)
    talk, text = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one["layer"] for one in talk["readings"]] == [1, 2]
    assert [turn["turn"] for turn in talk["readings"][0]["turns"]] == [0, 2], "an empty message keeps its number"
    frame = polars.read_parquet(tmp_path / "a.parquet")
    assert frame.columns[:13] == ["source", "id", "read_by", "written_by", "surrogate", "layer", "token", "text", "start", "end", "role", "turn", "own_words"]  # fmt: skip
    assert len(frame) == 2 * (len(talk["tokens"]) + len(text["tokens"]))
    assert set(frame["id"]) == {"7", None} and set(frame["surrogate"]) == {True, None} and "2 texts read" in done.stderr
    at_2 = frame.filter(id="7", layer=2)
    assert at_2["text"].to_list() == talk["tokens"] and at_2["turn"].to_list() == talk["token_turns"]
    assert at_2["happy"].to_list() == pytest.approx([row[talk["emotions"].index("happy")] for row in talk["readings"][1]["values"]], abs=1e-3)  # fmt: skip
    raw = json.loads(read_it(vectors, file, "--layer", "2", "--json", "--tokens").stdout.splitlines()[0])
    assert raw["mean"] == talk["readings"][1]["mean"] and raw["values"] != talk["readings"][1]["values"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jsonl", "a.parquet"]


@pytest.mark.slow
def test_rules_raise_alarms_at_their_own_layer(vectors: Path, rules: Path, tmp_path: Path) -> None:
    calm = {"messages": [{"role": "user", "content": "w3 w1 w7 w4 " * 5}]}
    file = lines(tmp_path / "a.jsonl", {"messages": [*CHAT, {"role": "assistant", "content": ANGRY * 9}]}, calm)
    args = (file, "--rules", rules)
    talk, quiet = [json.loads(line) for line in read_it(vectors, *args, "--json").stdout.splitlines()]
    assert talk["layer"] == 2 and talk["alarm_layer"] == 1 and quiet["alarms"] == []
    (alarm,) = talk["alarms"]
    assert (alarm["rule"], alarm["turn"], alarm["role"]) == ("anger", 2, "assistant") and alarm["p"] <= 0.1
    smoothed = read_it(vectors, *args, "--json", "--smooth", "16").stdout
    assert json.loads(smoothed.splitlines()[0])["alarms"] == [alarm], "rules look at readings as they are"
    assert read_it(vectors, *args).stdout.count("⚠ anger") == 1
    assert "⚠ anger" in read_it(vectors, *args, "--out", tmp_path / "a.html").stdout
    assert "1 alarm, by rules that look at layer 1" in (tmp_path / "a.html").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["parquet", "html"])
def test_files_hold_what_could_be_read_or_are_not_written(vectors: Path, tmp_path: Path, kind: str) -> None:
    out = tmp_path / f"a.{kind}"
    done = read_it(vectors, "-", "--out", out, stdin='{"text": "w1 w2"}\n{oops\n', code=2)
    assert "line 2 is not JSON" in done.stderr and "1 text read" in done.stderr and out.is_file()
    if kind == "html":
        assert "line 2 is not JSON" in out.read_text()
    out.unlink()
    assert "was not written" in read_it(vectors, "-", "--out", out, stdin="{oops\n", code=2).stderr
    assert not list(tmp_path.iterdir())


def test_an_object_in_a_json_file_is_read(vectors: Path, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"messages": CHAT}, indent=1))
    assert "tinted by" in read_it(vectors, tmp_path / "a.json").stdout
    (tmp_path / "b.json").write_text("[1]")
    assert "neither an Inspect log nor" in read_it(vectors, tmp_path / "b.json", code=2).stderr


@pytest.mark.slow
def test_an_inspect_log_is_read_with_its_author(vectors: Path, tmp_path: Path) -> None:
    model = get_model("mockllm/model", custom_outputs=[answered(SAD * 5)])
    task = Task(dataset=MemoryDataset([Sample(id="one", input=HAPPY * 5)]), solver=[generate()])
    (log,) = eval(task, model=model, log_dir=str(tmp_path), display="none")
    for source in (tmp_path, log.location):
        found = json.loads(read_it(vectors, source, "--json").stdout)
        assert found["source"].endswith(".eval, sample one, epoch 1")
        assert (found["written_by"], found["surrogate"]) == ("mockllm/model", True)
        assert [max(turn["mean"], key=turn["mean"].get) for turn in found["turns"]] == ["happy", "sad"]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["w1", "--layer", "x"], "--layer 'x' cannot be read"),
        (["w1", "--layer", "7"], "have no layer 7"),
        (["w1", "--out", "a.docx"], "neither a .parquet nor an .html"),
        (["w1", "--rules", "none.json"], "no calibration none.json"),
        (["logs.eval"], "no file logs.eval"),
        (["."], "holds no Inspect logs"),
        (["w1", "--emotion", "happpy"], "did you mean happy"),
    ],
)
def test_a_mistake_is_one_sentence(
    vectors: Path, args: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = read_it(vectors, *args, code=2)
    assert said in done.stderr and done.stderr.startswith("Error: ") and not done.stdout


@pytest.mark.slow
def test_a_full_disk_leaves_nothing_half_written(vectors: Path, tmp_path: Path) -> None:
    file = lines(tmp_path / "a.jsonl", *[{"text": HAPPY * 100}] * 20)
    command = [*FORESHOCK, "read", file, "--vectors", vectors, "--out", tmp_path / "out" / "a.parquet"]
    no_room = ["sh", "-c", 'ulimit -f 8 && exec "$@"', "sh"]  # a file that grows beyond 4 kB fails to be written
    done = subprocess.run([*no_room, *command], capture_output=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 2 and b"could not be written" in done.stderr and b"Traceback" not in done.stderr
    assert not list((tmp_path / "out").iterdir())


def test_a_text_longer_than_a_file_name_may_be_is_a_text() -> None:
    (found,) = transcripts("word " * 80)
    assert not isinstance(found, Exception) and found.document == ("word " * 80)
