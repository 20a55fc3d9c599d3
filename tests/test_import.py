"""Importing costs nothing: no torch until something needs it."""

from __future__ import annotations

import subprocess
import sys

import foreshock


def loaded_by(program: str) -> set[str]:
    code = f"import sys; {program}; print(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_import_foreshock_loads_no_torch() -> None:
    assert not {"torch", "transformers", "numpy", "sklearn"} & loaded_by("import foreshock")


def test_the_command_line_loads_no_torch() -> None:
    assert not {"torch", "transformers", "numpy", "polars", "altair"} & loaded_by("import foreshock.cli")


def test_the_report_loads_no_torch() -> None:
    assert not {"torch", "transformers"} & loaded_by("import foreshock.report.folder")


def test_every_public_name_is_there() -> None:
    for name in foreshock.__all__:
        assert getattr(foreshock, name).__name__
    assert set(foreshock.__all__) == set(foreshock._HOME) == set(dir(foreshock))
