"""What the benchmarks share: medians of interleaved runs, results as JSON, peers in their own environments."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from foreshock.files import write_text
from foreshock.model import LanguageModel

RESULTS = Path(__file__).parent / "results"
PEERS = Path(__file__).parents[1] / ".bench"
ENVIRONMENT = dict(os.environ)
"""For peers: as it was found, since opening a model sets up torch's memory for Foreshock."""


def interleaved(contenders: dict[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each contender over several rounds, one after the other within a round, so that noise hits all alike.

    A contender that gives a number is believed; one that gives 0 is timed from outside.
    """
    found: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, contender in contenders.items():
            begun = time.perf_counter()
            own = contender()
            found[name].append(own or time.perf_counter() - begun)
    return found


def median(values: list[float]) -> float:
    """The middle one."""
    return statistics.median(values)


def peer_python(name: str, requirements: list[str]) -> Path:
    """The interpreter of a peer's own virtual environment, made on first use."""
    folder = PEERS / name
    python = folder / "bin" / "python"
    if not (folder / ".installed").exists():
        Console(stderr=True).print(f"Installing {name} in {folder} …")
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *requirements], check=True)
        (folder / ".installed").touch()
    return python


def for_older_transformers(model: LanguageModel, folder: Path) -> None:
    """The model's files, with the names that transformers 4 knows (the peers pin it)."""
    model.model.save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {"rope_theta": config["rope_parameters"]["rope_theta"], "torch_dtype": config["dtype"]}
    (folder / "config.json").write_text(json.dumps(config))
    tokenizer = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(
        json.dumps(tokenizer | {"tokenizer_class": "PreTrainedTokenizerFast"})
    )


def save(name: str, ratios: dict[str, float], details: dict[str, Any]) -> None:
    """Write `results/NAME.json`: the ratios, what they are made of, and where they were measured."""
    machine = {"processor": platform.processor() or platform.machine(), "python": platform.python_version()}
    versions = {package: version(package) for package in ("foreshock", "torch", "transformers")}
    content = {"ratios": ratios, **details, "machine": machine, "versions": versions}
    write_text(RESULTS / f"{name}.json", json.dumps(content, indent=1) + "\n")


def show(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """Print a table."""
    table = Table(title=title, title_justify="left")
    for k, column in enumerate(columns):
        table.add_column(column, justify="left" if k == 0 else "right")
    for row in rows:
        table.add_row(*row)
    Console(width=110).print(table)
