"""Found by Inspect from the command line; and one line where Inspect is missing."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from inspect_ai.log import list_eval_logs, read_eval_log

from foreshock.behaviour.rollouts.rates import read_rates

INSPECT = Path(sys.executable).with_name("inspect")


def inspect(*arguments: str | Path, log: Path) -> subprocess.CompletedProcess[str]:
    words = [str(INSPECT), "eval", *map(str, arguments), "--log-dir", str(log), "--display", "plain"]
    return subprocess.run(words, capture_output=True, text=True, env={**os.environ, "COLUMNS": "400"})


def test_the_entry_point_names_the_registry() -> None:
    (found,) = entry_points(group="inspect_ai", name="foreshock")
    assert {"blackmail", "coding", "sycophancy", "harshness", "grader_agreement"} <= set(dir(found.load()))


def test_without_inspect_the_pip_line_is_named() -> None:
    code = (
        "import sys; sys.modules['inspect_ai'] = None\n"
        "from foreshock.behaviour.rollouts.rates import read_rates\n"
        "from foreshock.errors import MissingExtra\n"
        "for ask in (lambda: read_rates('.'), lambda: __import__('foreshock.behaviour.rollouts.registry')):\n"
        "    try:\n        ask()\n"
        "    except MissingExtra as problem:\n        print(problem)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.count("pip install 'foreshock[evals]'") == 2


def test_the_tasks_load_no_torch() -> None:
    code = "import sys; import foreshock.behaviour.rollouts.registry; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_study_that_is_not_there_gives_a_sentence_and_no_traceback(tmp_path: Path) -> None:
    done = inspect("foreshock/blackmail", "--model", "foreshock/study/nowhere", log=tmp_path)
    said = done.stdout + done.stderr
    assert done.returncode and "There is no study at 'study/nowhere'" in said and "Traceback" not in said


@pytest.mark.slow
def test_blackmail_from_the_command_line(embedded_study: Path, tmp_path: Path) -> None:
    arguments = ["foreshock/blackmail", "--model", f"foreshock/{embedded_study}", "--limit", "2", "--max-tokens", "30"]
    done = inspect(*arguments, "-M", "steer=desperate=0.1,calm=-0.05", log=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    (info,) = list_eval_logs(str(tmp_path))
    log = read_eval_log(info)
    assert log.status == "success" and log.eval.task == "foreshock/blackmail"
    for sample in log.samples or []:
        assert sample.metadata["foreshock"]["steering"] == {"desperate": 0.1, "calm": -0.05}
        assert sample.output.usage.output_tokens <= 30 and sample.output.completion
        assert sample.scores["graded"].metadata["graded_by_itself"] is True
    (rate,) = read_rates(tmp_path)[0].rates
    assert dict(rate.steering) == {"calm": -0.05, "desperate": 0.1} and rate.n + rate.unscored == 2


@pytest.mark.slow
def test_seeds_make_a_run_repeatable_and_epochs_different(embedded_study: Path, tmp_path: Path) -> None:
    model = ["--model", f"foreshock/{embedded_study}", "-M", "dtype=float32"]
    for folder in ("one", "two"):
        more = ["--limit", "2", "--epochs", "2", "--max-tokens", "12", "--no-score"]
        done = inspect("foreshock/sycophancy", *model, *more, log=tmp_path / folder)
        assert done.returncode == 0, done.stdout + done.stderr
    told = []
    for folder in ("one", "two"):
        log = read_eval_log(list_eval_logs(str(tmp_path / folder))[0])
        told.append({(sample.id, sample.epoch): sample.output.completion for sample in log.samples or []})
    assert told[0] == told[1] and len(set(told[0].values())) == 4
