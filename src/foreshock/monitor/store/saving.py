"""Writing rows: a batch in one transaction, what the database refuses found by halving."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Engine
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DataError, IntegrityError

from foreshock.errors import StoreError
from foreshock.monitor.store import database, tables
from foreshock.monitor.store.rows import Row

_REPLACED = ("conversation", "message")
"""Adding one of these again replaces it; a reading or an alarm met again is a write repeated after a lost connection."""


def save(connection: Connection, rows: Iterable[Row]) -> None:
    """Write `rows`. Doing it again changes nothing, so that a commit whose answer was lost may be repeated."""
    insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    by_table: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        by_table[row.table].append(row.values)
    # A message whose conversation was lost or forgotten must still find a place, and be forgotten again some day.
    orphans = {each["conversation"] for name, given in by_table.items() if name != "conversation" for each in given}
    unknown = {"started": datetime.now(UTC), "model": "unknown", "source": "unknown", "surrogate": False}
    for table in tables.metadata.sorted_tables:  # parents first
        statement = insert(table)
        if table.name in _REPLACED:
            fresh = {each.name: statement.excluded[each.name] for each in table.c if not each.primary_key}
            statement = statement.on_conflict_do_update(index_elements=list(table.primary_key), set_=fresh)
        else:
            statement = statement.on_conflict_do_nothing()
        if by_table[table.name]:
            connection.execute(statement, by_table[table.name])
        if table is tables.conversation and orphans:
            parents = [{"id": each, **unknown} for each in sorted(orphans)]
            connection.execute(insert(tables.conversation).on_conflict_do_nothing(), parents)


def commit(engine: Engine, batch: Sequence[Row]) -> int:
    """Write `batch`; returns how many rows the database refuses for what they hold.

    Raises:
        StoreError: the database is away, full, locked or damaged; the batch may be given again.
    """
    try:
        with database.explained(engine), database.writing(engine).begin() as connection:
            save(connection, batch)
        return 0
    except StoreError as problem:
        if not isinstance(problem.__cause__, DataError | IntegrityError):
            raise
    except OverflowError:  # a number that SQLite's module cannot take
        pass
    if len(batch) == 1:
        return 1
    half = len(batch) // 2
    return commit(engine, batch[:half]) + commit(engine, batch[half:])
