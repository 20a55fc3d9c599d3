"""Opening a database, bringing its tables up to date, and saying in one sentence what is wrong with it."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, Engine, create_engine, event, func, inspect, make_url, select
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from foreshock.errors import MissingExtra, StoreError

VERSION_TABLE = "foreshock_version"
_MIGRATING = 0x466F7265  # "Fore": PostgreSQL's lock, so that two servers starting at once migrate one after the other
_PATIENCE: dict[str, Any] = {"connect_timeout": 5, "keepalives_idle": 10, "tcp_user_timeout": 10_000}
_LOCKED = 5.0  # seconds that SQLite waits for another program's lock
_SQLITE_REASONS = {
    "SQLITE_NOTADB": "is no SQLite database, or a damaged one. Move it aside to begin a new one, or restore a copy.",
    "SQLITE_CORRUPT": "is damaged. Move it aside to begin a new one, or restore a copy; "
    "`sqlite3 FILE .recover` may save what it holds.",
    "SQLITE_FULL": "cannot be written because its disk is full. Make room; what waits is written then.",
    "SQLITE_BUSY": "is locked by another program. Close that program, or wait until it is done.",
    "SQLITE_READONLY": "may not be written. Choose a file and a folder that you may write to.",
    "SQLITE_CANTOPEN": "cannot be opened. Choose a file, in a folder that you may write to.",
}


def connect(url_or_path: str | Path) -> Engine:
    """An engine for a SQLite file or a PostgreSQL address; nothing is opened yet.

    Raises:
        StoreError: neither of the two, or the folder cannot be made.
        MissingExtra: a PostgreSQL address, and psycopg is not installed.
    """
    url = _url(url_or_path)
    if url.get_backend_name() == "sqlite":
        engine = create_engine(url)
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    try:
        return create_engine(url, pool_pre_ping=True, connect_args=_PATIENCE)
    except ImportError:
        raise MissingExtra("A PostgreSQL store needs: pip install 'foreshock[store,postgres]'") from None


def _url(url_or_path: str | Path) -> URL:
    if isinstance(url_or_path, str) and "://" in url_or_path:
        try:
            url = make_url(url_or_path)
        except (ArgumentError, ValueError):
            raise StoreError(
                "The store's address cannot be read. Give a file's path, or postgresql://USER:PASSWORD@HOST:PORT/DATABASE "
                "with special characters of the password in percent form."
            ) from None
        if url.get_backend_name() in ("postgresql", "postgres"):
            return url.set(drivername="postgresql+psycopg")
        if url.get_backend_name() != "sqlite":
            raise StoreError(
                f"A store is a SQLite file or a postgresql:// address, not {url.get_backend_name()}://. Give one of the two."
            )
        url_or_path = url.database or ""
    if str(url_or_path) in ("", ":memory:"):
        raise StoreError("A store needs a file to last; give a path like conversations.db.")
    path = Path(url_or_path).expanduser().absolute()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.touch(mode=0o600)  # what people say to a model is for the owner's eyes
    except (OSError, ValueError) as problem:
        raise StoreError(f"{path} cannot be made ({problem}). Choose a folder that you may write to.") from None
    return URL.create("sqlite", database=str(path))


def writing(engine: Engine) -> Engine:
    """The same engine for transactions that write: in SQLite they wait for their turn at the start, not midway."""
    return engine.execution_options(sqlite_begin="BEGIN IMMEDIATE")


def place(engine: Engine) -> str:
    """How a sentence names the database: the file, or the address without its password."""
    url = engine.url
    if url.get_backend_name() == "sqlite":
        return str(url.database)
    host = url.host or url.query.get("host") or "this machine"
    return f"The PostgreSQL database {url.database} at {host}"


@contextlib.contextmanager
def explained(engine: Engine) -> Iterator[None]:
    """Turn what the database says into a `StoreError` of one sentence."""
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error) as problem:
        raise StoreError(f"{place(engine)} {_reason(problem)}") from problem


def _reason(problem: Exception) -> str:
    original = getattr(problem, "orig", problem)
    if isinstance(original, sqlite3.Error):
        name = getattr(original, "sqlite_errorname", "")
        for start, reason in _SQLITE_REASONS.items():
            if name.startswith(start):
                return reason
        return f"cannot be used ({original}). Check its disk and its folder."
    if getattr(original, "sqlstate", None) == "53100":
        return "cannot be written because its disk is full. Make room; what waits is written then."
    said = str(original).strip().splitlines()
    return (
        f"cannot be used ({said[0] if said else 'no reason given'}). Check that it runs and that the address is right."
    )


def upgrade(engine: Engine) -> None:
    """Bring the tables up to date, all or nothing.

    Raises:
        StoreError: the database is away, damaged, of a newer Foreshock, or belongs to another program.
    """
    config = Config()
    config.set_main_option("script_location", "foreshock.monitor.store:migrations")
    scripts = ScriptDirectory.from_config(config)
    with explained(engine):
        with engine.connect() as connection:
            current = _checked_version(connection, scripts, place(engine))
        if current == scripts.get_current_head():
            return
        if engine.dialect.name == "sqlite":
            _settle_sqlite(engine)
        with writing(engine).begin() as connection:
            if engine.dialect.name == "postgresql":
                connection.execute(select(func.pg_advisory_xact_lock(_MIGRATING)))
            _checked_version(connection, scripts, place(engine))
            config.attributes["connection"] = connection
            command.upgrade(config, "head")


def _checked_version(connection: Connection, scripts: ScriptDirectory, where: str) -> str | None:
    if connection.dialect.name == "postgresql":
        encoding = connection.exec_driver_sql("SHOW server_encoding").scalar_one()
        if encoding != "UTF8":
            raise StoreError(f"{where} has the encoding {encoding}; make one with UTF8, which all messages fit into.")
    tables = inspect(connection).get_table_names()
    if VERSION_TABLE not in tables:
        if tables:
            raise StoreError(
                f"{where} holds tables of another program ({', '.join(sorted(tables)[:3])}). Give the store its own."
            )
        return None
    current = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE}).get_current_revision()
    if current is not None and current not in {each.revision for each in scripts.walk_revisions()}:
        raise StoreError(
            f"{where} was written by a newer Foreshock (version {current} of its tables). "
            "Upgrade Foreshock, or give another file or database."
        )
    return current


def _prepare_sqlite(connection: sqlite3.Connection, _: object) -> None:
    connection.isolation_level = (
        None  # `_begin_sqlite` begins transactions, not Python's module, which knows of data only
    )
    for pragma in (f"busy_timeout={_LOCKED * 1000:.0f}", "foreign_keys=ON", "synchronous=FULL", "secure_delete=ON"):
        connection.execute(f"PRAGMA {pragma}")
    connection.create_function("lower", 1, lambda text: text and str(text).lower(), deterministic=True)  # all alphabets


def _begin_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get("sqlite_begin", "BEGIN"))


def _settle_sqlite(engine: Engine) -> None:
    """Settings that stay in the file, and that cannot be made inside a transaction; the order matters."""
    with contextlib.closing(engine.raw_connection()) as connection:
        connection.cursor().execute("PRAGMA auto_vacuum=INCREMENTAL")
        deadline = time.monotonic() + _LOCKED
        while True:
            try:
                connection.cursor().execute("PRAGMA journal_mode=WAL")
                return
            except sqlite3.OperationalError as problem:  # here alone SQLite gives up at once when another one opens
                if problem.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)


def give_back(engine: Engine) -> None:
    """After a deletion in SQLite: return the room to the disk, and clear the write-ahead log of what was deleted."""
    if engine.dialect.name == "sqlite":
        with contextlib.closing(engine.raw_connection()) as connection:
            # A script, because `execute` would step `incremental_vacuum` once, which frees a single page.
            script = "PRAGMA incremental_vacuum; PRAGMA wal_checkpoint(TRUNCATE);"
            connection.cursor().executescript(script)
