"""`foreshock bench`: measurements on what a user's own model does."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import unquote, urlsplit

import typer

from foreshock.cli.options import Device, Dtype, DtypeOption, StudyName, found_vectors, short_name
from foreshock.errors import StudyError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from inspect_ai import Task
    from inspect_ai.log import EvalLog

app = typer.Typer(help="Measurements on what a model itself does.", no_args_is_help=True, rich_markup_mode="markdown")
TASKS = ("coding", "blackmail", "sycophancy", "harshness")


@app.callback()
def _root() -> None:
    """Makes a group of one command."""


@app.command("early-warning")
def early_warning(
    model: StudyName = "embedded",
    tasks: Annotated[
        str, typer.Option(help=f"Comma-separated rollout tasks of: {', '.join(TASKS)}.")
    ] = "blackmail,sycophancy,harshness",
    epochs: Annotated[int, typer.Option(help="Replies to each situation.", min=1)] = 4,
    limit: Annotated[
        int | None, typer.Option(help="Only the first situations of each task.", min=1, show_default=False)
    ] = None,
    grader: Annotated[
        str | None,
        typer.Option(
            help="The model that judges, as Inspect names it, e.g. openai/gpt-5; left out: the model itself.",
            show_default=False,
        ),
    ] = None,
    trust_model_code: Annotated[
        bool,
        typer.Option(
            "--trust-model-code",
            help="Run the code that the model writes on this machine, with your rights, instead of in Docker.",
        ),
    ] = False,
    logs: Annotated[
        list[Path] | None,
        typer.Option(help="Finished Inspect logs, or folders of them, in place of new runs.", show_default=False),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for the results; left out: bench/MODEL/early-warning.", show_default=False),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of every random choice.", min=0)] = 0,
    dtype: DtypeOption = Dtype.auto,
    device: Device = None,
) -> None:
    """Let a model act in rollout tasks, and measure what warns of what it does: before it writes, and as it writes.

    Tasks whose log lies finished in the results' folder are not run again.

    Examples: `foreshock bench early-warning embedded --grader openai/gpt-5` ·
    `foreshock bench early-warning study/qwen --logs logs`
    """
    from rich.console import Console

    from foreshock.behaviour.rollouts import needs_inspect
    from foreshock.files import check_writable

    names = _names(tasks)
    path = found_vectors(model)
    folder = out or Path("bench") / _short(path) / "early-warning"
    check_writable(folder)
    needs_inspect()
    console = Console(stderr=True)

    from foreshock.behaviour.rollouts.subject import opened
    from foreshock.report.card import summary_line
    from foreshock.report.folder import write_study
    from foreshock.study.on_policy import measure, replies_of
    from foreshock.study.running import Study

    with console.status("Opening the model …"):
        subject = opened(str(path), None, dtype.value, device)
    if not logs:
        setting = {"limit": limit, "epochs": epochs, "grader": grader, "seed": seed}
        logs = [_finished(name, folder / "logs", setting) or _run(name, path, folder / "logs", setting, trust_model_code, dtype, device) for name in names]  # fmt: skip
    replies = replies_of(logs)
    with console.status("Reading the replies …"):
        findings = measure(subject.model, subject.vectors, replies, seed)
    page = write_study(Study(subject.vectors, findings, [], {}, {}), folder)
    _table(findings)
    typer.echo(summary_line(subject.model.name, [f.verdict for f in findings]))
    typer.echo(f"Report: {page.resolve()}")


def _names(tasks: str) -> list[str]:
    names = list(dict.fromkeys(name.strip() for name in tasks.split(",")))
    for name in names:
        if name not in TASKS:
            raise StudyError(f"There is no rollout task {name!r}; there are: {', '.join(TASKS)}.")
    return names


def _short(vectors: Path) -> str:
    return vectors.resolve().parent.name if vectors.name == "vectors.safetensors" else short_name(str(vectors))


def _finished(name: str, folder: Path, setting: dict[str, Any]) -> Path | None:
    """The log of a task that was run with this setting and ended well."""
    from foreshock.behaviour.rollouts.rates import finished_logs, task_of

    if not folder.is_dir():
        return None
    found = [log for log in finished_logs([folder]) if task_of(log) == name and (log.eval.metadata or {}) == setting]
    return _path(found[-1].location) if found else None


def _run(
    name: str, vectors: Path, folder: Path, setting: dict[str, Any], trust: bool, dtype: Dtype, device: str | None
) -> Path:
    """Run a task; its log. What was set stands in the log's metadata."""
    from inspect_ai import eval

    log: EvalLog
    (log,) = eval(
        _task(name, setting["seed"], trust),
        model=f"foreshock/{vectors}",
        model_args={"dtype": dtype.value, **({"device": device} if device else {})},
        model_roles={"grader": setting["grader"]} if setting["grader"] else None,
        log_dir=str(folder),
        limit=setting["limit"],
        epochs=setting["epochs"],
        metadata=setting,
        display="rich" if sys.stdout.isatty() else "none",
    )
    if log.status != "success":
        raise StudyError(f"The task {name} did not end well ({log.error.message if log.error else log.status}).")
    return _path(log.location)


def _path(location: str) -> Path:
    """Inspect gives a path, or a `file:` address."""
    return Path(unquote(urlsplit(location).path))


def _task(name: str, seed: int, trust: bool) -> Task:
    from foreshock.behaviour.rollouts import registry

    if name == "coding":
        return registry.coding("local" if trust else "docker", trust_model_code=trust, seed=seed)
    return getattr(registry, name)(seed=seed)


def _table(findings: Sequence[Any]) -> None:
    """A row for each task and place, a column for each warner."""
    from rich.console import Console
    from rich.table import Table

    from foreshock.report.page import figure, plain
    from foreshock.study.on_policy import PLACES

    warners = list(dict.fromkeys(row["warner"] for finding in findings for row in finding.table))
    table = Table(title="AUROC (½ is chance)", title_justify="left", header_style="bold", box=None, pad_edge=False)
    for column in ("", *warners, "verdict"):
        table.add_column(column)
    claims = [plain(finding.claim).removeprefix("Emotion readings warn of ") for finding in findings]
    for claim, finding in zip(claims, findings, strict=True):
        cells = {r["warner"]: f"{figure(r['AUROC'])} [{figure(r['from'])}, {figure(r['to'])}]" for r in finding.table}
        table.add_row(claim, *(cells.get(name, "–") for name in warners), finding.verdict)
    console = Console()
    console.print(table)
    for claim, finding in zip(claims, findings, strict=True):
        if claim.endswith(PLACES[-1]):  # what is said of a task is the same at every place
            console.print(
                f"{claim.partition(':')[0]}: {' '.join(finding.notes)}", style="dim", highlight=False, markup=False
            )
