"""Stories on disk as they come: a JSONL file that only grows, and a manifest beside it that says how far it is."""

from __future__ import annotations

import glob
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from foreshock.errors import OutputError, TextError
from foreshock.files import check_writable, write_text
from foreshock.texts.loading import parse_json_line, parse_row
from foreshock.texts.schema import Passage
from foreshock.texts.writing.casting import Plan

FORMAT = 1


@dataclass(slots=True)
class Tally:
    """How far a run is. Assignments are settled in the order of the plan: each is kept or given up."""

    settled: int = 0
    kept: int = 0
    given_up: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    """Stories that failed a check, by the reason; a later try may have been kept."""


class Ledger:
    """An open run. Use `opened`, which reads what is already there."""

    def __init__(self, path: Path, file: BinaryIO, order: Mapping[str, Any], versions: Mapping[str, str]) -> None:
        self.tally = Tally()
        self._path, self._file = path, file
        self._about = {"format": FORMAT, "order": order, "versions": versions}

    def settle(self, kept: Sequence[Passage], settled: int, dropped: Mapping[str, int]) -> None:
        """Put the kept of the next `settled` assignments on the disk, then say so in the manifest.

        Raises:
            OutputError: the disk is full or gone; what was settled before stays.
        """
        rows = "".join(story.model_dump_json(exclude_defaults=True) + "\n" for story in kept)
        try:
            self._file.write(rows.encode())
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as problem:
            raise OutputError(
                f"{self._path} could not be written ({str(problem.strerror).lower()}). "
                "Make room and run the same command again: it goes on from the last whole batch."
            ) from problem
        self.tally.settled += settled
        self.tally.kept += len(kept)
        self.tally.given_up += settled - len(kept)
        for fault, count in dropped.items():
            self.tally.dropped[fault] = self.tally.dropped.get(fault, 0) + count
        self.write_manifest()

    def write_manifest(self) -> None:
        """What made the file, and how many of its bytes are settled. Raises `OutputError`."""
        state = self._about | {"tally": asdict(self.tally), "bytes": self._file.tell()}
        write_text(manifest_path(self._path), json.dumps(state, ensure_ascii=False, indent=1) + "\n")


def manifest_path(path: Path) -> Path:
    """Where the manifest of the stories in `path` lies."""
    return path.with_name(path.name + ".manifest.json")


@contextmanager
def opened(
    path: Path, plan: Plan, order: Mapping[str, Any], versions: Mapping[str, str], seen: Callable[[Passage], None]
) -> Iterator[Ledger]:
    """Begin the file, or go on with it where it was left; what is behind the last settled batch is cut off.

    Args:
        path: a `.jsonl` file.
        order: every option that decides what is written; another order than the file's is refused.
        versions: of the software, for the manifest.
        seen: called with each story that is already there.

    Raises:
        OutputError: it cannot be written, another run has it open, or it was begun with another order or by hand.
        TextError: a row in it is damaged; the row is named.
    """
    check_writable(path.parent)
    begun = path.exists()
    try:
        file = open(path, "a+b")  # noqa: SIM115 (closed below)
    except OSError as problem:
        raise OutputError(
            f"{path} could not be opened ({str(problem.strerror).lower()}); choose another file."
        ) from None
    with file:
        _lock(file, path)
        for stale in path.parent.glob(f".{glob.escape(manifest_path(path).name)}.*.part"):
            stale.unlink(missing_ok=True)  # of a run that was killed while it wrote the manifest
        ledger = Ledger(path, file, order, versions)
        if begun and (before := _manifest(path, order)):
            ledger.tally = _resumed(path, file, plan, before, seen)
        ledger.write_manifest()
        yield ledger


def _manifest(path: Path, order: Mapping[str, Any]) -> dict[str, Any] | None:
    """The manifest of a run that may be gone on with; None when there is no run."""
    if not path.stat().st_size and not manifest_path(path).exists():
        return None
    try:
        state = json.loads(manifest_path(path).read_text(encoding="utf-8"))
        theirs, known = dict(state["order"]), state["format"] == FORMAT
        Tally(**state["tally"]), int(state["bytes"])
    except FileNotFoundError:
        raise OutputError(
            f"{path} holds something that `foreshock write` did not begin; choose another file."
        ) from None
    except (OSError, ValueError, KeyError, TypeError):
        raise OutputError(f"{manifest_path(path)} is damaged; choose another file, or delete both.") from None
    if not known:
        raise OutputError(f"{path} was begun by another version of Foreshock; choose another file.")
    differing = [name for name in {**theirs, **order} if theirs.get(name) != order.get(name)]
    if differing:
        said = "; ".join(f"{name}: {_brief(theirs.get(name))}, now {_brief(order.get(name))}" for name in differing)
        raise OutputError(f"{path} was begun with other options ({said}); give the same ones, or choose another file.")
    return state


def _brief(value: Any) -> str:
    if isinstance(value, list | tuple) and len(value) > 3:
        return f"{len(value)} ({', '.join(map(str, value[:2]))} …)"
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _resumed(path: Path, file: BinaryIO, plan: Plan, before: dict[str, Any], seen: Callable[[Passage], None]) -> Tally:
    """Read the settled rows along the plan and cut off what follows them: half a line, half a batch."""
    tally, assignments = Tally(**before["tally"]), enumerate(plan, 1)
    place = kept = settled = file.seek(0)
    for line in file:
        if not line.endswith(b"\n") or place + len(line) > before["bytes"]:
            break
        where = f"{path}, line {kept + 1}"
        story = _story(line, where)
        settled = next((number for number, assignment in assignments if assignment.fits(story)), 0)
        if not settled:
            raise TextError(f"{where} is no story of this run in its order; undo the change, or choose another file.")
        seen(story)
        kept, place = kept + 1, place + len(line)
    file.truncate(place)
    file.seek(place)
    if place < before["bytes"]:  # somebody cut the file: its rows say how far it is
        tally.settled, tally.kept, tally.given_up = settled, kept, settled - kept
    return tally


def _story(line: bytes, where: str) -> Passage:
    try:
        return parse_row(Passage, parse_json_line(line.decode(), where), where)
    except UnicodeDecodeError:
        raise TextError(f"{where} is not UTF-8 text; undo the change, or choose another file.") from None


def _lock(file: BinaryIO, path: Path) -> None:
    """Keep a second run out for as long as the file is open; the system lets go when a process is killed."""
    if sys.platform == "win32":
        return
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise OutputError(f"{path} is being written by another run; wait for it, or choose another file.") from None
