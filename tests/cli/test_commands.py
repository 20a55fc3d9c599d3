"""The commands as a newcomer runs them: real processes, real files, one sentence for every mistake."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from foreshock.model.planted import Planted

FORESHOCK = [sys.executable, "-c", "from foreshock.cli import main; main()"]


def run(
    *args: str | Path, stdin: str | bytes | None = None, code: int = 0, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    data = stdin.encode() if isinstance(stdin, str) else stdin
    done = subprocess.run([*FORESHOCK, *map(str, args)], input=data, capture_output=True, cwd=cwd, stdin=None if data is not None else subprocess.DEVNULL)  # fmt: skip
    shown = subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())
    assert shown.returncode == code, shown.stderr
    assert "Traceback" not in shown.stderr
    return shown


@pytest.fixture(scope="module")
def texts(plant: Planted, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("texts") / "own.jsonl"
    path.write_text("\n".join(p.model_dump_json(exclude_defaults=True) for p in plant.passages))
    return path


@pytest.fixture(scope="module")
def folder(plant_folder: Path, texts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("out")
    done = run(
        "study",
        plant_folder,
        "--texts",
        texts,
        "--out",
        folder,
        "--dtype",
        "float32",
        "--only",
        "separability,logit-lens",
    )
    assert "holds" in done.stdout and str(folder / "report.html") in done.stdout
    return folder


def test_study_leaves_vectors_findings_page_and_pictures(folder: Path) -> None:
    assert {"vectors.safetensors", "findings.json", "report.html", "charts"} <= {path.name for path in folder.iterdir()}
    assert not list(folder.rglob("*.part"))


def test_card_puts_studies_side_by_side(folder: Path) -> None:
    done = run("card", folder, folder / "findings.json")
    assert done.stdout.count("foreshock | ") == 2 and "holds" in done.stdout
    rows = json.loads(run("card", folder, "--json").stdout)
    assert {"id", "claim", "published", "models"} <= set(rows[0]) and rows[0]["models"][0]["verdict"] == "holds"
    assert "no findings file" in run("card", folder / "charts" / "none.json", code=2).stderr


def test_study_runs_single_experiments(plant_folder: Path, texts: Path, tmp_path: Path) -> None:
    run("study", plant_folder, "--texts", texts, "--out", tmp_path, "--dtype", "float32", "--only", "reliability")
    found = json.loads((tmp_path / "findings.json").read_text())
    assert [f["id"] for f in found["findings"]] == ["split-half"]
    assert found["findings"][0]["experiment"] == "reliability" and found["summary"].startswith("foreshock | ")


def test_doctor_prints_the_proof(plant_folder: Path) -> None:
    done = run("doctor", plant_folder, "--dtype", "float32")
    assert done.stdout.count("✓") == 9 and "can be read and steered" in done.stdout


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["study", "--emotions", "happpy"], "did you mean happy"),
        (["study", "--layers", "x"], "--layers 'x' cannot be read"),
        (["study", "--texts", "none.jsonl"], "does not exist"),
        (["study", "--only", "tarot"], "no experiment 'tarot'"),
        (["study", "/no/model"], "no model at /no/model"),
        (["study", "--norms", "none.csv"], "no ratings file"),
        (["read", "some text", "--vectors", "none.safetensors"], "no vectors file none.safetensors"),
        (["read", "some text"], "run `foreshock study` first"),
        (["read", "none.jsonl"], "no file none.jsonl"),
        (["doctor", "none.gguf"], "no file none.gguf"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_2(args: list[str], said: str, tmp_path: Path) -> None:
    done = run(*args, code=2, cwd=tmp_path)
    assert said in done.stderr and done.stderr.startswith("Error: ") and not done.stdout


def test_an_unwritable_folder_is_said_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "could not be written" in run("study", "--out", tmp_path / "file" / "deep", code=2).stderr


@pytest.mark.slow
def test_a_full_disk_is_one_sentence_and_leaves_nothing_half_written(
    plant_folder: Path, texts: Path, tmp_path: Path
) -> None:
    command = [*FORESHOCK, "study", plant_folder, "--texts", texts, "--out", tmp_path, "--only", "reliability"]
    no_room = ["sh", "-c", 'ulimit -f 40 && exec "$@"', "sh"]  # a file that grows beyond 20 kB fails to be written
    done = subprocess.run([*no_room, *command], capture_output=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 2 and b"could not be written" in done.stderr and b"Traceback" not in done.stderr
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    run(*command[3:], "--dtype", "float32")  # with room again the same words finish


def test_the_reference_of_commands_is_current(tmp_path: Path) -> None:
    """`make docs` writes docs/cli.md from the commands' own help."""
    written = tmp_path / "cli.md"
    command = [
        "foreshock.cli",
        "utils",
        "docs",
        "--name",
        "foreshock",
        "--title",
        "The command line",
        "--output",
        written,
    ]
    subprocess.run([sys.executable, "-m", "typer", *command], check=True, capture_output=True)
    kept = Path(__file__).parents[2] / "docs" / "cli.md"
    assert written.read_text() == kept.read_text(), "run `make docs`"


def test_help_version_and_completion() -> None:
    assert all(command in run("--help").stdout for command in ("study", "read", "card", "doctor"))
    assert "Example" in run("study", "--help").stdout
    assert run("--version").stdout.startswith("foreshock 0.")


@pytest.mark.parametrize(("asked", "option"), [(("study",), "--workers"), (("serve", "nowhere"), "--replicas")])
def test_a_number_of_workers_without_ray_is_not_passed_over(asked: tuple[str, ...], option: str) -> None:
    assert f"{option} 2 is for work on Ray; give --ray" in run(*asked, option, "2", code=2).stderr


@pytest.mark.slow
def test_a_port_in_use_is_told_before_a_ray_is_started(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = run("serve", folder, "--ray", "local", "--store", "none", "--port", port, code=2)
    assert f"127.0.0.1 port {port} cannot be listened on (address already in use)" in done.stderr
