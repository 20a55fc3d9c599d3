"""Where alarms and conversations go: files, a webhook, a store. Options and openings that several commands share."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from foreshock.errors import OutputError

if TYPE_CHECKING:
    from foreshock.monitor.calibration import Calibration
    from foreshock.monitor.store import Store

SECRET = "FORESHOCK_WEBHOOK_SECRET"  # the name of a variable, not its value

Rules = Annotated[
    Path | None,
    typer.Option(help="Rules of `foreshock calibrate`; left out: rules.json beside the vectors.", show_default=False),
]
Alarms = Annotated[Path | None, typer.Option(help="Also add every alarm to this JSONL file.", show_default=False)]
WebhookTo = Annotated[
    str | None,
    typer.Option(help=f"Also post every alarm here, signed with the secret in {SECRET}.", show_default=False),
]
Words = Annotated[bool, typer.Option("--text/--no-text", help="Whether the store keeps words.")]


def rules_file(rules: Path | None, vectors: Path) -> Path | None:
    """The file that is named, else the one beside the vectors, where there is one."""
    beside = vectors.parent / "rules.json"
    return rules or (beside if beside.is_file() else None)


def found_rules(rules: Path | None, vectors: Path) -> Calibration | None:
    """The rules that are named, else those beside the vectors, else none."""
    from foreshock.monitor.calibration import Calibration

    path = rules_file(rules, vectors)
    return Calibration.load(path) if path else None


def check_webhook(webhook: str | None) -> None:
    """Raises `OutputError` where a webhook is to be signed and there is no secret."""
    if webhook and not os.environ.get(SECRET):
        raise OutputError(f"A webhook signs what it posts; set {SECRET} to a secret that its receiver knows too.")


def opened_store(url: str | None, words: bool, stack: contextlib.ExitStack) -> Store | None:
    """The store, closed with the stack."""
    if url is None:
        return None
    from foreshock.monitor.store import Store

    return stack.enter_context(Store.open(url, keep_text=words))


def sinks(alarms: Path | None, webhook: str | None, stack: contextlib.ExitStack) -> Iterator:
    """Where alarms go besides, closed with the stack."""
    from foreshock.monitor.sinks import JsonLines
    from foreshock.monitor.webhook import Webhook

    if alarms:
        yield JsonLines(alarms)
    if webhook:
        yield stack.enter_context(Webhook(webhook, os.environ[SECRET]))
