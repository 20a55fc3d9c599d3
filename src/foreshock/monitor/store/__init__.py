"""Conversations, readings and alarms, kept in SQLite or PostgreSQL.

    from foreshock.monitor.store import Message, Store
    with Store.open("conversations.db") as store:
        store.add(Message("c1", turn=0, role="user", text="Where is she?"))

The records need no extra; `Store` needs `pip install 'foreshock[store]'`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from foreshock.errors import MissingExtra
from foreshock.monitor.store.records import Alarm, Conversation, Kept, Message, ReadingBlock, Record

if TYPE_CHECKING:
    from foreshock.monitor.store.store import Store

__all__ = ["Alarm", "Conversation", "Kept", "Message", "ReadingBlock", "Record", "Store"]


def __getattr__(name: str) -> Any:
    if name != "Store":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        import alembic  # noqa: F401
        import sqlalchemy  # noqa: F401
    except ImportError:
        raise MissingExtra("Keeping conversations needs: pip install 'foreshock[store]'") from None
    from foreshock.monitor.store.store import Store

    return Store
