"""Transcripts whose words would be scripts, and names that would be paths."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np

from foreshock.monitor.store import Alarm, Conversation, Message, ReadingBlock, Store

EMOTIONS = ("afraid", "angry", "calm", "desperate", "happy", "loving", "proud", "sad")
SCRIPT = "<script>alert(1)</script><img src=x onerror=alert(2)></script><svg/onload=alert(3)>"
WORDS = [SCRIPT, "</script>", "\x01\x1b[31m\x7f", "\u202eright to left", "\U0001f6f8\u0301", "{{7*7}}${7*7}", "javascript:alert(4)", "\0"]  # fmt: skip
IDS = ["<img src=x onerror=alert(5)>", "a/../b?c#d%2e\n", "\u202e\U0001f6f8" * 100]


def say(
    store: Store, id: str, turn: int, role: str, pieces: list[str], alarm: int | None = None, seed: int = 0
) -> None:
    """A turn with readings of its tokens at layer 2, in two blocks; an alarm at one of them."""
    text = "".join(pieces)
    ends = np.cumsum([len(piece) for piece in pieces]).tolist()
    spans = tuple((end - len(piece), end) for end, piece in zip(ends, pieces, strict=True))
    values = np.random.default_rng(seed + turn).normal(size=(len(pieces), len(EMOTIONS)))
    values[:, EMOTIONS.index("sad")] += 2
    store.add(Message(id, turn, role, text))
    half = len(pieces) // 2
    for part in (slice(0, half), slice(half, None)):
        store.add(ReadingBlock(id, turn, 2, EMOTIONS, values[part], spans[part]))
    if alarm is not None:
        quote = f"<|{role}|>{text[: ends[alarm]]}"[-120:]
        store.add(Alarm(id, "desperate<b>", 9.5, 5.25, 0.02, alarm + 5, turn, role, quote, datetime.now(UTC)))


def fill(store: Store) -> None:
    """Conversations named by `IDS`, the last of them with an alarm."""
    for k, id in enumerate(IDS):
        store.add(Conversation(id, datetime(2026, 11, 20 + k, tzinfo=UTC), SCRIPT, "test"))
        say(store, id, 0, "user", WORDS)
        say(store, id, 1, SCRIPT, ["I", *WORDS, "I"], alarm=3 if id == IDS[-1] else None)
    store.flush()
