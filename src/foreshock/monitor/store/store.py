"""The store: adds without waiting, finds, forgets."""

from __future__ import annotations

import atexit
import contextlib
import functools
import itertools
import secrets
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from sqlalchemy import Engine, delete, exists, extract, func, literal_column, select, tuple_

from foreshock.errors import StoreError
from foreshock.monitor.store import database, rows, tables
from foreshock.monitor.store.records import Alarm, Conversation, Kept, Message, Outline, Record
from foreshock.monitor.store.saving import commit
from foreshock.monitor.store.writer import Writer

BOUND = 64 * 2**20
"""Bytes that may wait to be written: hours of alarms and words, minutes of readings at full speed."""
_SEARCH_LENGTH = 1000
_FIRST_WORDS = 200  # characters
_AT_ONCE = 100  # conversations forgotten in one transaction, so that the writer is not locked out for long


class Store:
    """Conversations, messages, readings and alarms in a SQLite file or a PostgreSQL database.

    `add` hands a record to a thread that commits twice a second; so a process that is killed loses at most the last
    second. While the database is away, records wait in memory up to a bound; `lost` counts those that found no room,
    and `trouble` says what is wrong. All methods may be called from any thread.
    """

    def __init__(self, engine: Engine, keep_text: bool, bound: int) -> None:
        self._engine, self._keep_text = engine, keep_text
        self._writer = Writer(functools.partial(commit, engine), bound)
        # Keys grow in the order of adding, and no other process makes the same.
        self._prefix = f"{time.time_ns():016x}-{secrets.token_hex(4)}"
        self._numbers = itertools.count()
        atexit.register(self._close_quietly)

    @classmethod
    def open(cls, url_or_path: str | Path, keep_text: bool = True, bound: int = BOUND) -> Self:
        """Open a SQLite file (made if missing, with its folder) or a `postgresql://` address, tables brought up to date.

        Args:
            url_or_path: where.
            keep_text: False keeps turns, roles, readings and alarms without any words of the messages.
            bound: bytes that may wait to be written.

        Raises:
            StoreError: the database cannot be reached or written, is damaged, of a newer Foreshock or another program's.
            MissingExtra: a PostgreSQL address, and psycopg is not installed.
        """
        engine = database.connect(url_or_path)
        try:
            database.upgrade(engine)
        except BaseException:
            engine.dispose()
            raise
        return cls(engine, keep_text, bound)

    @property
    def lost(self) -> int:
        """Records that were not kept: no room while the database was away, refused by it, or added after closing."""
        return self._writer.lost

    @property
    def trouble(self) -> str | None:
        """Why writing fails at present, None if it does not."""
        return self._writer.trouble

    def add(self, record: Record) -> None:
        """Keep a record soon; never waits for the database. Raises `StoreError` only for a record that makes no sense."""
        self._writer.add(rows.packed(record, f"{self._prefix}-{next(self._numbers):012x}", self._keep_text))

    def flush(self, timeout: float = 10) -> None:
        """Wait until all that was added is committed. Raises `StoreError` if that fails; the records go on waiting."""
        self._writer.flush(timeout)

    def conversations(
        self,
        search: str | None = None,
        with_alarm: bool | None = None,
        limit: int = 50,
        before: Conversation | None = None,
    ) -> list[Conversation]:
        """Conversations, the latest started first.

        Args:
            search: words that stand in a message, whatever their case.
            with_alarm: True for those with an alarm, False for those without.
            before: the last conversation of the page before.

        Raises:
            StoreError: the database cannot be read, `limit` is below 1, or `search` has over 1,000 characters.
        """
        table = tables.conversation
        query = select(table).order_by(table.c.started.desc(), table.c.id.desc()).limit(_checked(limit))
        if search:
            if len(search) > _SEARCH_LENGTH:
                raise StoreError(f"A search has at most {_SEARCH_LENGTH:,} characters; this one has {len(search):,}.")
            spoken = tables.message.c.text.icontains(rows.clean(search), autoescape=True)
            query = query.where(exists().where(tables.message.c.conversation == table.c.id, spoken))
        if with_alarm is not None:
            alarmed = exists().where(tables.alarm.c.conversation == table.c.id)
            query = query.where(alarmed if with_alarm else ~alarmed)
        if before is not None:
            query = query.where(tuple_(table.c.started, table.c.id) < tuple_(before.started, before.id))
        with database.explained(self._engine), self._engine.connect() as connection:
            return [Conversation(**row) for row in connection.execute(query).mappings()]

    def conversation(self, id: str) -> Kept | None:
        """All that is kept of a conversation, None if nothing is. Raises `StoreError` if it cannot be read."""
        id = rows.clean(id)
        message, reading, alarm = tables.message, tables.reading, tables.alarm
        parts = (
            select(message).where(message.c.conversation == id).order_by(message.c.turn),
            select(reading)
            .where(reading.c.conversation == id)
            .order_by(reading.c.turn, reading.c.layer, reading.c.key),
            select(alarm).where(alarm.c.conversation == id).order_by(alarm.c.at, alarm.c.key),
        )
        whole = select(tables.conversation).where(tables.conversation.c.id == id)
        with database.explained(self._engine), self._engine.connect() as connection:
            found = connection.execute(whole).mappings().first()
            if found is None:
                return None
            messages, readings, alarms = (connection.execute(part).mappings().all() for part in parts)
        return Kept(
            Conversation(**found),
            tuple(Message(**row) for row in messages),
            tuple(rows.readings(row) for row in readings),
            tuple(rows.alarm(row) for row in alarms),
        )

    def about(self, id: str) -> Conversation | None:
        """What is known of a conversation as a whole, without its messages. Raises `StoreError` if it cannot be read."""
        query = select(tables.conversation).where(tables.conversation.c.id == rows.clean(id))
        with database.explained(self._engine), self._engine.connect() as connection:
            found = connection.execute(query).mappings().first()
        return None if found is None else Conversation(**found)

    def count(self) -> int:
        """Conversations that are kept. Raises `StoreError` if they cannot be counted."""
        with database.explained(self._engine), self._engine.connect() as connection:
            return connection.execute(select(func.count()).select_from(tables.conversation)).scalar_one()

    def outlines(self, ids: Sequence[str]) -> dict[str, Outline]:
        """How each of some conversations begins, and how many alarms it has. Raises `StoreError` if they cannot be read."""
        message, alarm = tables.message, tables.alarm
        spoken = message.c.conversation.in_(ids) & (message.c.role != "system")
        opening = select(message.c.conversation, func.min(message.c.turn).label("turn")).where(spoken)
        first = opening.group_by(message.c.conversation).subquery()
        words = select(message.c.conversation, func.substr(message.c.text, 1, _FIRST_WORDS)).join(
            first, (message.c.conversation == first.c.conversation) & (message.c.turn == first.c.turn)
        )
        raised = select(alarm.c.conversation, func.count()).where(alarm.c.conversation.in_(ids))
        with database.explained(self._engine), self._engine.connect() as connection:
            said = {row[0]: row[1] for row in connection.execute(words)}
            counts = {row[0]: row[1] for row in connection.execute(raised.group_by(alarm.c.conversation))}
        return {id: Outline(said.get(id), counts.get(id, 0)) for id in ids}

    def alarms_by_hour(self, since: datetime) -> list[tuple[datetime, str, int]]:
        """Beginning of an hour of UTC, rule, number of its alarms at or after `since`; the earliest first.

        Raises:
            StoreError: they cannot be read, or `since` has no time zone.
        """
        table = tables.alarm
        at = extract("epoch", table.c.at)
        hour = (at - at % literal_column("3600")).label("hour")
        query = select(hour, table.c.rule, func.count()).where(table.c.at >= rows.instant(since))
        query = query.group_by("hour", table.c.rule).order_by("hour", table.c.rule)
        with database.explained(self._engine), self._engine.connect() as connection:
            found = connection.execute(query).all()
        return [(datetime.fromtimestamp(int(begun), UTC), rule, number) for begun, rule, number in found]

    def alarms(self, since: datetime | None = None, limit: int = 50) -> list[Alarm]:
        """Alarms at or after `since`, the latest first. Raises `StoreError` if they cannot be read."""
        table = tables.alarm
        query = select(table).order_by(table.c.at.desc(), table.c.key.desc()).limit(_checked(limit))
        if since is not None:
            query = query.where(table.c.at >= rows.instant(since))
        with database.explained(self._engine), self._engine.connect() as connection:
            return [rows.alarm(row) for row in connection.execute(query).mappings()]

    def forget(self, older_than: timedelta) -> int:
        """Delete the conversations that started longer ago, with all that belongs to them; returns how many.

        What waits is written first. In SQLite the deleted words are overwritten, and the room goes back to the disk.

        Raises:
            StoreError: the database cannot be written, or `older_than` is negative or over 1,000 years.
        """
        if not timedelta(0) <= older_than <= timedelta(days=365_000):
            raise StoreError(f"An age to forget at is between 0 and 1,000 years; {older_than} is not.")
        self.flush()
        table, forgotten = tables.conversation, 0
        old = select(table.c.id).where(table.c.started < datetime.now(UTC) - older_than).limit(_AT_ONCE)
        with database.explained(self._engine):
            while True:
                with database.writing(self._engine).begin() as connection:
                    ids = connection.scalars(old).all()
                    connection.execute(delete(table).where(table.c.id.in_(ids)))
                forgotten += len(ids)
                if len(ids) < _AT_ONCE:
                    break
            database.give_back(self._engine)
        return forgotten

    def close(self, timeout: float = 10) -> None:
        """Write what waits and let go of the database. Raises `StoreError` if records had to be given up."""
        atexit.unregister(self._close_quietly)
        left = self._writer.close(timeout)
        self._engine.dispose()
        if left:
            raise StoreError(f"{left:,} records were lost at closing. {self.trouble or 'The database did not answer.'}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, problem: object, trace: TracebackType | None) -> None:
        # Never in the place of an error that is already on its way.
        self.close() if kind is None else self._close_quietly()

    def _close_quietly(self) -> None:
        with contextlib.suppress(StoreError):
            self.close()


def _checked(limit: int) -> int:
    if limit < 1:
        raise StoreError(f"A limit is at least 1; {limit} was given.")
    return limit
