"""The four tables, as they are after the newest migration."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    TypeDecorator,
)


class Utc(TypeDecorator[datetime]):
    """An instant: kept in UTC, given back with its time zone, which SQLite has no place for."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """To UTC."""
        return value and value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """To UTC, with the zone said."""
        return value and (value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC))


metadata = MetaData()


def _of_conversation(primary: bool = False) -> Column[str]:
    parent = ForeignKey("conversation.id", ondelete="CASCADE")
    return Column("conversation", Text, parent, primary_key=primary, nullable=False)


conversation = Table(
    "conversation",
    metadata,
    Column("id", Text, primary_key=True),
    Column("started", Utc, nullable=False),
    Column("model", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("surrogate", Boolean, nullable=False),
    Index("conversation_started", "started", "id"),
)
message = Table(
    "message",
    metadata,
    _of_conversation(primary=True),
    Column("turn", Integer, primary_key=True, autoincrement=False),
    Column("role", Text, nullable=False),
    Column("text", Text),
)
reading = Table(
    "reading",
    metadata,
    Column("key", Text, primary_key=True),  # grows with the order of adding; a repeated write is known by it
    _of_conversation(),
    Column("turn", Integer, nullable=False),
    Column("layer", Integer, nullable=False),
    Column("emotions", Text, nullable=False),  # a JSON list
    Column("values", LargeBinary, nullable=False),  # little-endian float16[token, emotion]
    Column("spans", LargeBinary, nullable=False),  # little-endian int32[token, 2]
    Index("reading_turn", "conversation", "turn", "layer", "key"),
)
alarm = Table(
    "alarm",
    metadata,
    Column("key", Text, primary_key=True),
    _of_conversation(),
    Column("rule", Text, nullable=False),
    Column("score", Double),  # NULL is NaN, which SQLite does not have
    Column("threshold", Double),
    Column("p", Double),
    Column("token", BigInteger, nullable=False),
    Column("turn", Integer, nullable=False),
    Column("role", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("at", Utc, nullable=False),
    Index("alarm_at", "at", "key"),
    Index("alarm_conversation", "conversation"),
)
