"""Conversations, messages, readings, alarms."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def _of_conversation() -> sa.Column[str]:
    parent = sa.ForeignKey("conversation.id", ondelete="CASCADE")
    return sa.Column("conversation", sa.Text, parent, nullable=False)


def upgrade() -> None:
    """Make the four tables."""
    instant = sa.DateTime(timezone=True)
    op.create_table(
        "conversation",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("started", instant, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("surrogate", sa.Boolean, nullable=False),
    )
    op.create_table(
        "message",
        _of_conversation(),
        sa.Column("turn", sa.Integer, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("text", sa.Text),
        sa.PrimaryKeyConstraint("conversation", "turn"),
    )
    op.create_table(
        "reading",
        sa.Column("key", sa.Text, primary_key=True),
        _of_conversation(),
        sa.Column("turn", sa.Integer, nullable=False),
        sa.Column("layer", sa.Integer, nullable=False),
        sa.Column("emotions", sa.Text, nullable=False),
        sa.Column("values", sa.LargeBinary, nullable=False),
        sa.Column("spans", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "alarm",
        sa.Column("key", sa.Text, primary_key=True),
        _of_conversation(),
        sa.Column("rule", sa.Text, nullable=False),
        sa.Column("score", sa.Double),
        sa.Column("threshold", sa.Double),
        sa.Column("p", sa.Double),
        sa.Column("token", sa.BigInteger, nullable=False),
        sa.Column("turn", sa.Integer, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("at", instant, nullable=False),
    )
    op.create_index("conversation_started", "conversation", ["started", "id"])
    op.create_index("reading_turn", "reading", ["conversation", "turn", "layer", "key"])
    op.create_index("alarm_at", "alarm", ["at", "key"])
    op.create_index("alarm_conversation", "alarm", ["conversation"])
