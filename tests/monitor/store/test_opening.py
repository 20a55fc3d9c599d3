"""Opening: migrations, strangers' databases, newer ones, damaged files, wrong addresses."""

from __future__ import annotations

import sqlite3
import stat
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, event

from foreshock.errors import StoreError
from foreshock.monitor.store import Store, database, tables
from tests.monitor.store.cluster import Cluster
from tests.monitor.store.keeping import conversation, said


def execute(address: str, statement: str) -> None:
    if "://" in address:
        with psycopg.connect(address) as connection:
            connection.execute(statement.encode())
    else:
        with sqlite3.connect(address) as connection:
            connection.execute(statement)
        connection.close()


def filled(path: Path) -> Path:
    with Store.open(path) as store:
        for number in range(200):
            store.add(said(f"c{number}", text="word " * 200))
    return path


def test_the_migrations_make_the_tables_that_the_code_knows(address: str) -> None:
    Store.open(address).close()
    engine = database.connect(address)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": database.VERSION_TABLE})
        assert compare_metadata(context, tables.metadata) == []
    engine.dispose()


def test_several_processes_may_open_a_new_database_at_once(address: str) -> None:
    program = (
        "import sys; from foreshock.monitor.store import Message, Store\n"
        "with Store.open(sys.argv[1]) as store: store.add(Message(sys.argv[2], 0, 'user', 'hello'))"
    )
    started = [subprocess.Popen([sys.executable, "-c", program, address, f"c{number}"]) for number in range(4)]
    assert [each.wait(timeout=60) for each in started] == [0] * 4
    with Store.open(address) as store:
        assert {each.id for each in store.conversations()} == {"c0", "c1", "c2", "c3"}


@pytest.mark.parametrize("seed", range(5))
def test_several_threads_may_open_a_new_database_at_the_same_moment(address: str, seed: int) -> None:
    together = threading.Barrier(6)

    def opened() -> None:
        together.wait()
        Store.open(address).close()

    with ThreadPoolExecutor(6) as pool:
        for each in [pool.submit(opened) for _ in range(6)]:
            each.result()


def test_an_interrupted_migration_leaves_nothing_behind(address: str) -> None:
    def interrupt(connection: object, cursor: object, statement: str, *_: object) -> None:
        if "CREATE TABLE alarm" in statement:
            raise KeyboardInterrupt

    event.listen(Engine, "before_cursor_execute", interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            Store.open(address)
    finally:
        event.remove(Engine, "before_cursor_execute", interrupt)
    with Store.open(address) as store:
        assert store.alarms() == []


def test_a_newer_database_is_refused_and_left_alone(address: str) -> None:
    with Store.open(address) as store:
        store.add(conversation())
    execute(address, f"UPDATE {database.VERSION_TABLE} SET version_num = '9999'")
    with pytest.raises(StoreError, match=r"was written by a newer Foreshock \(version 9999 .*Upgrade Foreshock"):
        Store.open(address)
    execute(address, f"UPDATE {database.VERSION_TABLE} SET version_num = '0001'")
    with Store.open(address) as store:
        assert store.conversations() == [conversation()]


def test_another_program_s_database_is_refused_and_left_alone(cluster: Cluster, tmp_path: Path) -> None:
    path = tmp_path / "bookmarks.db"
    for address in (str(path), cluster.database()):
        execute(address, "CREATE TABLE bookmarks (id INTEGER)")
        before = path.read_bytes()
        with pytest.raises(StoreError, match=r"holds tables of another program \(bookmarks\)"):
            Store.open(address)
        assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1


def test_a_database_that_cannot_hold_all_letters_is_refused(cluster: Cluster) -> None:
    address = cluster.database("ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    with pytest.raises(StoreError, match="has the encoding LATIN1; make one with UTF8"):
        Store.open(address)


@pytest.mark.parametrize("left", [50, 1000, 0.5, 0.97])
def test_a_truncated_file_is_named_damaged(tmp_path: Path, left: float) -> None:
    path = filled(tmp_path / "store.db")
    data = path.read_bytes()
    path.write_bytes(data[: int(left if left > 1 else left * len(data))])
    with pytest.raises(StoreError, match=f"{path} is (damaged|no SQLite database, or a damaged one). Move it aside"):
        Store.open(path)


def test_a_file_with_a_torn_page_is_named_damaged_when_it_is_read(tmp_path: Path) -> None:
    path = filled(tmp_path / "store.db")
    data = bytearray(path.read_bytes())
    for page in range(12 * 4096, len(data), 4096):  # the tables' own descriptions stay whole
        data[page : page + 100] = b"\xa5" * 100
    path.write_bytes(data)
    with Store.open(path) as store, pytest.raises(StoreError, match="is damaged. Move it aside"):
        store.conversations(search="word")
        for number in range(200):
            store.conversation(f"c{number}")


def test_a_text_file_is_no_store_and_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("dear diary, " * 100)
    with pytest.raises(StoreError, match="is no SQLite database"):
        Store.open(path)
    assert path.read_text() == "dear diary, " * 100


def test_an_empty_file_becomes_a_store_and_a_new_one_is_private(tmp_path: Path) -> None:
    (tmp_path / "empty.db").touch()
    Store.open(tmp_path / "empty.db").close()
    Store.open(f"sqlite:///{tmp_path}/new.db").close()
    assert stat.S_IMODE((tmp_path / "new.db").stat().st_mode) == 0o600
    assert database.connect(tmp_path / "new.db").connect().exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"


def test_wrong_addresses(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for address, message in {
        str(tmp_path): "cannot be opened",
        str(tmp_path / "file" / "store.db"): "cannot be made",
        "nul\0.db": "cannot be made",
        "": "needs a file",
        ":memory:": "needs a file",
        "sqlite://": "needs a file",
        "mysql://host/db": "not mysql://",
        "postgresql://user:s3cret@host:port/db": "address cannot be read",
        f"postgresql://user:s3cret@/db?host={tmp_path}": f"database db at {tmp_path} cannot be used",
        cluster.url("nowhere"): "database nowhere .* cannot be used .*does not exist",
    }.items():
        with pytest.raises(StoreError, match=message) as raised:
            Store.open(address)
        assert "s3cret" not in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize(("package", "extra"), [("sqlalchemy", "store"), ("psycopg", "store,postgres")])
def test_a_missing_extra_is_named(package: str, extra: str) -> None:
    program = f"""
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == {package!r}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Missing())
from foreshock.monitor.store import Message
from foreshock.errors import MissingExtra
try:
    from foreshock.monitor.store import Store
    Store.open("postgresql://host/db")
except MissingExtra as missing:
    print(missing)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert f"pip install 'foreshock[{extra}]'" in done.stdout, done.stderr
