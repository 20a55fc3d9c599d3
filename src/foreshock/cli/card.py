"""`foreshock card`: the findings of one or several studies, side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def card(
    studies: Annotated[list[Path], typer.Argument(help="Studies' folders, or their findings.json files.")],
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object: claim, then model, estimate, verdict.")
    ] = False,
) -> None:
    """Put the replication cards of several models side by side.

    Example: `foreshock card study/embedded study/qwen`
    """
    import json

    from rich.console import Console
    from rich.table import Table

    from foreshock.report.card import load_card
    from foreshock.report.page import figure, interval, plain

    cards = [load_card(path) for path in studies]
    claims = {key: finding for one in reversed(cards) for key, finding in one.findings.items()}
    ordered = sorted(claims, key=lambda key: min(list(one.findings).index(key) for one in cards if key in one.findings))
    if as_json:
        wanted = ("estimate", "interval", "verdict")
        rows = [
            {"id": key, "claim": claims[key]["claim"], "published": claims[key]["published"]}
            | {"models": [{"model": one.model} | {k: one.findings[key][k] for k in wanted} for one in cards if key in one.findings]}
            for key in ordered
        ]  # fmt: skip
        typer.echo(json.dumps(rows, ensure_ascii=False, indent=1))
        return
    mark = {
        "holds": "[green]✓ holds[/]",
        "does not hold": "[red]✗ does not hold[/]",
        "cannot tell": "[yellow]? cannot tell[/]",
    }
    table = Table(header_style="bold", box=None, pad_edge=False)
    for column in ("claim", "published", *(one.model for one in cards)):
        table.add_column(column, overflow="fold")
    for key in ordered:
        cells = []
        for one in cards:
            found = one.findings.get(key)
            cells.append(
                f"{figure(found['estimate'])} {interval(found['interval'])}\n{mark[found['verdict']]}" if found else "–"
            )
        table.add_row(plain(claims[key]["claim"]), claims[key]["published"] or "–", *cells)
    console = Console()
    console.print(table)
    for one in cards:
        console.print(one.summary, highlight=False, soft_wrap=True)
