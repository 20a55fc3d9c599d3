"""The database goes away, fills up or is locked: nobody waits, what is lost is counted, what waits is written later."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import event

from foreshock.errors import StoreError
from foreshock.monitor.store import Store
from foreshock.monitor.store.rows import packed
from foreshock.monitor.store.saving import commit
from tests.monitor.store.cluster import Cluster
from tests.monitor.store.keeping import alarm, block, conversation, said


def turns(store: Store, id: str = "c1") -> list[int]:
    kept = store.conversation(id)
    return [each.turn for each in kept.messages] if kept else []


def test_a_server_that_dies_and_comes_back_loses_nothing_within_the_bound(cluster: Cluster) -> None:
    with Store.open(cluster.database()) as store:
        store.add(said(turn=0))
        store.add(block())
        store.flush()
        cluster.stop()
        try:
            for turn in range(1, 100):
                store.add(said(turn=turn))
            store.add(alarm())
            with pytest.raises(StoreError, match="The PostgreSQL database .* cannot be used"):
                store.flush()
            with pytest.raises(StoreError, match="cannot be used"):
                store.conversations()
            assert store.trouble is not None and "cannot be used" in store.trouble
        finally:
            cluster.start()
        store.flush()
        kept = store.conversation("c1")
        assert turns(store) == list(range(100)) and kept is not None
        assert len(kept.readings) == len(kept.alarms) == 1
        assert store.lost == 0 and store.trouble is None


def test_beyond_the_bound_is_counted_and_alarms_outlive_readings(cluster: Cluster) -> None:
    with Store.open(cluster.database(), bound=400_000) as store:
        cluster.stop()
        try:
            for turn in range(100):
                store.add(block(turn=turn, tokens=1000))
            lost = store.lost
            assert 0 < lost < 100
            store.add(alarm())
            store.add(said(text="x" * 150_000))
            assert store.lost == lost
            store.add(said(turn=1, text="x" * 400_000))  # alone more than all the room
            assert store.lost == lost + 1
        finally:
            cluster.start()
        store.flush()
        kept = store.conversation("c1")
        assert kept is not None and len(kept.readings) == 100 - lost and len(kept.alarms) == 1
        assert [each.turn for each in kept.readings] == list(range(100 - lost))  # the beginning, without gaps
        store.add(block(turn=100, tokens=1000))  # there is room again
        store.flush()
        assert store.lost == lost + 1


def test_closing_while_the_server_is_away_says_what_is_lost(cluster: Cluster) -> None:
    store, other = Store.open(cluster.database()), Store.open(cluster.database())
    cluster.stop()
    try:
        for turn in range(3):
            store.add(said(turn=turn))
        with pytest.raises(StoreError, match="3 records were lost at closing. The PostgreSQL database"):
            store.close()
        assert store.lost == 3
        store.close()  # again does nothing
        store.add(said(turn=3))
        assert store.lost == 4
        with pytest.raises(KeyError), other:
            other.add(said())
            raise KeyError  # an error on its way is not replaced
        assert other.lost == 1
    finally:
        cluster.start()


def test_adding_waits_for_no_lock(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with Store.open(path) as store:
        holder = sqlite3.connect(path, isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")  # held by this very thread: an add that waited for it would never end
        for turn in range(500):
            store.add(said(turn=turn))
        assert turns(store) == []  # and reading waits for no writer
        holder.execute("ROLLBACK")
        holder.close()
        store.flush(timeout=30)
        assert turns(store) == list(range(500)) and store.lost == 0


def test_a_lock_that_stays_is_named(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with Store.open(path) as store, contextlib.closing(sqlite3.connect(path, isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        store.add(said())
        with pytest.raises(StoreError, match=f"{path} is locked by another program"):
            store.flush(timeout=30)
        holder.execute("ROLLBACK")
        store.flush(timeout=30)
        assert turns(store) == [0]


def test_sqlite_s_own_full_is_named_and_passes(tmp_path: Path) -> None:
    pages = [100]
    with Store.open(tmp_path / "store.db") as store:

        @event.listens_for(store._engine, "checkout")
        def bounded(connection: sqlite3.Connection, *_: object) -> None:
            connection.execute(f"PRAGMA max_page_count={pages[0]}")

        fill_and_free(store, lambda: pages.__setitem__(0, 100_000))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MB, which only root may make."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting is not allowed here; SQLite's own bound is tested above")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk_is_named_and_passes(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * 2_500_000)
    with Store.open(small_disk / "store.db") as store:
        fill_and_free(store, ballast.unlink)


def fill_and_free(store: Store, free: object) -> None:
    store.add(said())
    store.flush()
    store.add(said(turn=1, text="x" * 600_000))
    store.add(said(turn=2))
    with pytest.raises(StoreError, match="store.db cannot be written because its disk is full. Make room"):
        store.flush()
    assert turns(store) == [0]  # what was there can be read
    store.add(said(turn=3))
    free()  # type: ignore[operator]
    store.flush()
    assert turns(store) == [0, 1, 2, 3] and store.lost == 0


def test_what_the_database_refuses_takes_nothing_else_with_it(address: str) -> None:
    with Store.open(address) as store:
        for turn in range(20):
            store.add(said(turn=turn))
            if turn % 7 == 0:
                store.add(replace(alarm(), token=2**70))
        store.add(conversation())
        store.flush()
        assert turns(store) == list(range(20)) and store.lost == 3 and store.alarms() == []


def test_a_commit_whose_answer_was_lost_may_be_repeated(address: str) -> None:
    records = (conversation(), said(), block(), alarm())
    batch = [packed(record, f"key {number}", keep_text=True) for number, record in enumerate(records)]
    with Store.open(address) as store:
        for _ in range(2):
            assert commit(store._engine, batch) == 0
        kept = store.conversation("c1")
        assert kept is not None and kept.conversation == conversation()
        assert (len(kept.messages), len(kept.readings), len(kept.alarms)) == (1, 1, 1)


def test_many_threads_may_add(address: str) -> None:
    def add(number: int) -> None:
        for turn in range(200):
            store.add(said(f"c{number}", turn=turn))

    with Store.open(address) as store:
        threads = [threading.Thread(target=add, args=(number,)) for number in range(8)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        store.flush(timeout=60)
        assert store.lost == 0
        for number in range(8):
            assert turns(store, f"c{number}") == list(range(200))
