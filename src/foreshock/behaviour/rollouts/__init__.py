"""Rollouts: Inspect AI tasks, and a provider that runs a study's model in them, steered and read.

    inspect eval foreshock/blackmail --model foreshock/study/embedded-full -M steer=desperate=0.05

Inspect finds provider and tasks through the entry point in pyproject.toml (see `registry`); `rates` turns its logs
into rates with intervals.
"""

from __future__ import annotations

from importlib.util import find_spec

from foreshock.errors import MissingExtra


def needs_inspect() -> None:
    """Raises `MissingExtra` where Inspect AI is not installed."""
    if find_spec("inspect_ai") is None:
        raise MissingExtra("Rollouts run in Inspect AI, which is not installed: pip install 'foreshock[evals]'")
