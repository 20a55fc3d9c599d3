"""The command line: one file a command. Nothing heavy is imported until a command runs."""

from __future__ import annotations

import os
import sys

import typer

from foreshock.cli import (
    behave,
    bench,
    calibrate,
    card,
    compare,
    doctor,
    export,
    read,
    serve,
    steer,
    study,
    sweep,
    watch,
    write,
)
from foreshock.errors import ForeshockError

app = typer.Typer(
    name="foreshock",
    help="Find a language model's emotion vectors, prove what they do, watch them while it runs.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(study.study)
app.command()(read.read)
app.command()(calibrate.calibrate)
app.command()(watch.watch)
app.command()(serve.serve)
app.command()(steer.steer)
app.command()(behave.behave)
app.add_typer(bench.app, name="bench")
app.command()(sweep.sweep)
app.command()(write.write)
app.command()(compare.compare)
app.command()(export.export)
app.command()(card.card)
app.command()(doctor.doctor)


@app.callback(invoke_without_command=True)
def _root(version: bool = typer.Option(False, "--version", help="Print the version and stop.", is_eager=True)) -> None:
    if version:
        from importlib.metadata import version as installed

        typer.echo(f"foreshock {installed('foreshock')}")
        raise typer.Exit


def main() -> None:
    """Run the command line: a user's mistake prints one message and exits with 2, an interruption with 130."""
    # The libraries' own progress bars and notices would break ours up, and OpenMP's threads spin ten times as long as they
    # need to, which slows down whoever shares the machine (docs/deploy.md); a user's setting wins.
    for name, value in {
        "TQDM_DISABLE": "1",
        "TRANSFORMERS_VERBOSITY": "error",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "GOMP_SPINCOUNT": "30000",
    }.items():
        os.environ.setdefault(name, value)
    try:
        app()
    except ForeshockError as problem:
        typer.secho("Error: ", fg="red", bold=True, nl=False, err=True)
        typer.echo(str(problem), err=True)
        sys.exit(2)
    except KeyboardInterrupt:
        typer.echo("Interrupted. What was finished is kept; run the same command again to go on.", err=True)
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
