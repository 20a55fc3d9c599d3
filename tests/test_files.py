from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from foreshock.errors import OutputError
from foreshock.files import check_writable, write_bytes, write_text, written_aside


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(RuntimeError), written_aside(path) as aside:
        aside.write_text("half of the new")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="could not be written"):
        check_writable(tmp_path / "file" / "below")


def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path) -> None:
    program = (
        "import resource, sys; from pathlib import Path; from foreshock.files import write_bytes; "
        "from foreshock.errors import OutputError\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "try: write_bytes(Path(sys.argv[1]), b'x' * 100_000)\n"
        "except OutputError as problem: print(problem); sys.exit(2)"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path / "a")], capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert "file too large" in done.stdout
    assert not list(tmp_path.iterdir())
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 4096


def test_what_is_written_is_whole(tmp_path: Path) -> None:
    write_bytes(tmp_path / "deep" / "b", b"abc")
    assert (tmp_path / "deep" / "b").read_bytes() == b"abc"
    check_writable(tmp_path / "new")
    assert not list((tmp_path / "new").iterdir())
