"""Records for the tests."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np

from foreshock.monitor.store import Alarm, Conversation, Message, ReadingBlock

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)


def conversation(id: str = "c1", days_ago: float = 0) -> Conversation:
    return Conversation(id, NOON - timedelta(days=days_ago), "planted", "test")


def block(id: str = "c1", turn: int = 0, layer: int = 3, tokens: int = 4, seed: int = 0) -> ReadingBlock:
    values = np.random.default_rng(seed).normal(size=(tokens, 2)).astype(np.float16)
    spans = tuple((2 * token, 2 * token + 2) for token in range(tokens))
    return ReadingBlock(id, turn, layer, ("afraid", "calm"), values, spans)


def alarm(id: str = "c1", hours: float = 0, text: str = "she is gone") -> Alarm:
    return Alarm(id, "desperate", 4.5, 3.25, 0.01, 17, 1, "assistant", text, NOON + timedelta(hours=hours))


def said(id: str = "c1", turn: int = 0, text: str | None = "Where is she?") -> Message:
    return Message(id, turn, "user", text)
