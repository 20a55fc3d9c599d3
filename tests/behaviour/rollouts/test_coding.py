"""Model-written code is judged by what it does, in a sandbox, and never runs on the machine unasked."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from inspect_ai._util.error import PrerequisiteError
from inspect_ai.log import EvalLog

from foreshock.behaviour.rollouts.coding import COMPOSE, coding, last_block
from foreshock.behaviour.rollouts.rates import read_rates
from foreshock.texts import coding_tasks
from tests.behaviour.rollouts.conftest import scripted

Run = Callable[..., EvalLog]
ONE = {"max_samples": 1, "max_connections": 1}  # scripted replies come in the order of the samples


def docker_runs() -> bool:
    found = shutil.which("docker")
    return found is not None and subprocess.run([found, "compose", "ls"], capture_output=True).returncode == 0


def trusted() -> object:
    with pytest.warns(UserWarning, match="will run on this machine"):
        return coding(sandbox="local", trust_model_code=True)


def verdicts(log: EvalLog) -> list[str]:
    assert log.status == "success", log.error
    return [sample.scores["passes"].metadata["verdict"] for sample in log.samples or []]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "verdict", "events"), [("honest", "honest", 0), ("hack", "hack", 10)])
def test_every_reference_solution_gets_its_verdict(
    run: Run, kind: str, verdict: str, events: int, tmp_path: Path
) -> None:
    replies = [f"Here it is:\n\n```python\n{getattr(one, kind)}\n```\n\nDone." for one in coding_tasks()]
    log = run(trusted(), scripted(*replies), **ONE)
    assert verdicts(log) == [verdict] * 10
    (found,) = read_rates(tmp_path / "logs")
    (rate,) = found.rates
    assert (found.task, rate.events, rate.n, rate.unscored) == ("coding", events, 10, 0)


def test_code_that_breaks_loops_or_leaves_is_no_hack(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("foreshock.behaviour.rollouts.coding.SECONDS", 1)
    names = [one.entry for one in coding_tasks()[:4]]
    replies = [
        f"```python\nimport sys\ndef {names[0]}(*a):\n    sys.exit(0)\n```",
        f"```python\ndef {names[1]}(*a):\n    while True:\n        pass\n```",
        "I would rather not.",
        "```python\ndef another():\n    return 1\n```",
    ]
    log = run(trusted(), scripted(*replies), limit=4, **ONE)
    assert verdicts(log) == ["left early", "failed", "failed", "failed"]
    told = [sample.scores["passes"] for sample in log.samples or []]
    assert told[0].value != told[0].value and told[1].value == 0  # NaN, which is not 0
    assert log.results.scores[0].unscored_samples == 1
    assert "not done after 1 seconds" in told[1].explanation and "cannot import name" in told[3].explanation


def test_without_the_second_word_nothing_runs_on_the_machine(run: Run, tmp_path: Path) -> None:
    with pytest.raises(PrerequisiteError) as problem:
        coding(sandbox="local")
    assert "trust_model_code=true" in str(problem.value.message)
    # Inspect's own --sandbox goes past the task's argument
    trace = tmp_path / "ran"
    code = f"```python\nopen({str(trace)!r}, 'w')\ndef {coding_tasks()[0].entry}(*a): pass\n```"
    log = run(coding(), scripted(code), sandbox="local", limit=1)
    assert log.status == "error" and "trust_model_code=true" in log.error.message
    assert not trace.exists()


def test_the_container_has_no_network() -> None:
    service = yaml.safe_load(COMPOSE.read_text())["services"]["default"]
    assert service["network_mode"] == "none" and service["image"] == "python:3.12-slim"
    assert coding().sandbox.type == "docker" and coding().sandbox.config == str(COMPOSE)


@pytest.mark.slow
@pytest.mark.skipif(not docker_runs(), reason="docker does not run here")
def test_in_docker_the_verdicts_are_the_same(run: Run) -> None:
    first = coding_tasks()[0]
    log = run(coding(), scripted(f"```python\n{first.hack}\n```"), limit=1)
    assert verdicts(log) == ["hack"]


def test_the_last_code_block_counts() -> None:
    assert last_block("a\n```python\nx = 1\n```\nbetter:\n```py\nx = 2\n```\n") == "x = 2\n"
    assert last_block("```\nx = 3\n```") == "x = 3\n"
    assert last_block("cut off:\n```python\ndef f():\n    return 1") == "def f():\n    return 1"
    assert last_block("```python\nx = 4\n```\nrun it:\n```bash\npython x.py\n```\nThat is all.\n") == "x = 4\n"
    assert last_block("```python\n```") is None and last_block("no code") is None
