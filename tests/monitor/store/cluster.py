"""A throw-away PostgreSQL server on a socket in a temporary folder."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import subprocess
import tempfile
from pathlib import Path

import psycopg

CI = bool(os.environ.get("CI") or os.environ.get("FORESHOCK_CI"))


def binaries() -> Path | None:
    """Debian's folder of the newest version, or where `initdb` is found."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    found = str(debian[-1]) if debian else shutil.which("initdb")
    return Path(found).parent if found else None


class Cluster:
    """Made on entering, removed on leaving; `stop` is the server's sudden end, not a tidy one."""

    def __init__(self, bin: Path) -> None:
        self._bin = bin
        # PostgreSQL does not run as root; pytest's own folders are closed to other users.
        self._user = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
        self._folder = Path(tempfile.mkdtemp(prefix="foreshock-pg-"))
        if self._user:
            shutil.chown(self._folder, "postgres", "postgres")

    def __enter__(self) -> Cluster:
        options = ["-A", "trust", "-U", "postgres", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"]
        self._run("initdb", "-D", f"{self._folder}/data", *options)
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(subprocess.CalledProcessError):
            self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _run(self, program: str, *arguments: str) -> None:
        # A server that inherits a pipe would keep it open, so its output goes to a file.
        with open(self._folder / "log", "ab") as log:
            command = [*self._user, str(self._bin / program), *arguments]
            subprocess.run(command, check=True, stdout=log, stderr=log, cwd="/")

    def start(self) -> None:
        server = f"-c listen_addresses='' -k {self._folder} -c fsync=off"
        self._run(
            "pg_ctl", "-D", f"{self._folder}/data", "-l", f"{self._folder}/server.log", "-w", "-o", server, "start"
        )

    def stop(self) -> None:
        self._run("pg_ctl", "-D", f"{self._folder}/data", "-m", "immediate", "-w", "stop")

    def url(self, database: str) -> str:
        return f"postgresql://postgres@/{database}?host={self._folder}"

    def database(self, options: str = "") -> str:
        """The address of a new, empty database."""
        name = f"db_{secrets.token_hex(6)}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} {options}".encode())
        return self.url(name)
