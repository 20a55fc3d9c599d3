"""Writing files so that a reader never sees half of one: aside, flushed to disk, then renamed."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from foreshock.errors import OutputError


@contextlib.contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it takes `path`'s place, else it is removed.

    Raises:
        OutputError: the folder cannot be written, or the disk is full.
    """
    path = Path(path)
    aside: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        os.close(handle)
        aside = Path(name)
        yield aside
        with open(aside, "rb+") as written:
            os.fsync(written.fileno())
        aside.chmod(0o644)
        aside.replace(path)
    except OSError as problem:
        reason = problem.strerror or str(problem)
        raise OutputError(
            f"{path} could not be written ({reason.lower()}). "
            "Choose a folder you may write to, with room on its disk; nothing half-written was left."
        ) from problem
    finally:
        if aside is not None:
            aside.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8. Raises `OutputError` as `written_aside` does."""
    with written_aside(path) as aside:
        aside.write_text(text, encoding="utf-8")


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data`. Raises `OutputError` as `written_aside` does."""
    with written_aside(path) as aside:
        aside.write_bytes(data)


def check_writable(folder: Path) -> None:
    """Make `folder` and prove that it can be written to, before hours of work depend on it."""
    probe = Path(folder) / ".foreshock-probe"
    write_text(probe, "")
    probe.unlink(missing_ok=True)
