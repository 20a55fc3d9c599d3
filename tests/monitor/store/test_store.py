"""What is added comes back, can be found, and is forgotten, in both databases."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreshock.errors import StoreError
from foreshock.monitor.store import Conversation, Message, Store
from foreshock.monitor.store.rows import clean
from tests.monitor.store.keeping import NOON, alarm, block, conversation, said


@pytest.fixture
def store(address: str) -> Iterator[Store]:
    with Store.open(address) as opened:
        yield opened


def test_all_comes_back_as_it_was(address: str) -> None:
    whole = Conversation("c1", NOON.astimezone(timezone(timedelta(hours=5))), "planted", "chat.jsonl", surrogate=True)
    first, second, other = block(turn=0, seed=1), block(turn=0, seed=2, tokens=0), block(turn=0, layer=1, seed=3)
    with Store.open(address) as store:
        for record in (whole, said(turn=1), said(turn=0), first, second, other, alarm(hours=1), alarm()):
            store.add(record)
    with Store.open(address) as store:
        kept = store.conversation("c1")
        assert kept is not None and store.lost == 0 and store.trouble is None
        assert kept.conversation == whole and kept.conversation.started.tzinfo is UTC
        assert kept.messages == (said(turn=0), said(turn=1))
        assert kept.alarms == (alarm(), alarm(hours=1))
        assert [each.layer for each in kept.readings] == [1, 3, 3]
        for got, given_ in zip(kept.readings, (other, first, second), strict=True):
            assert got.values.dtype == np.float16 and np.array_equal(got.values, given_.values)
            assert (got.emotions, got.spans, got.turn) == (given_.emotions, given_.spans, given_.turn)
        assert store.conversation("c2") is None


def test_the_same_turn_again_replaces_it(store: Store) -> None:
    for text in ("Where", "Where is", "Where is she?"):
        store.add(said(text=text))
        store.add(replace(conversation(), model=text))
    store.flush()
    kept = store.conversation("c1")
    assert kept is not None and kept.messages == (said(),) and kept.conversation.model == "Where is she?"


def test_the_caller_may_use_the_array_again(store: Store) -> None:
    values = np.ones((4, 2))
    store.add(replace(block(), values=values))
    values[:] = 9
    store.flush()
    kept = store.conversation("c1")
    assert kept is not None and (kept.readings[0].values == 1).all()


def test_numbers_that_databases_lack(store: Store) -> None:
    store.add(replace(block(tokens=2), values=np.array([[1e30, -np.inf], [np.nan, 1e-9]])))
    store.add(replace(alarm(), score=math.inf, p=math.nan))
    store.flush()
    kept = store.conversation("c1")
    assert kept is not None
    assert np.array_equal(kept.readings[0].values, np.array([[65504, -65504], [np.nan, 0]]), equal_nan=True)
    assert kept.alarms[0].score == math.inf and math.isnan(kept.alarms[0].p)


def test_a_message_without_its_conversation_finds_a_place(store: Store) -> None:
    store.add(said("orphan"))
    store.flush()
    kept = store.conversation("orphan")
    assert kept is not None and kept.conversation.model == "unknown" and kept.messages == (said("orphan"),)
    store.add(conversation("orphan"))
    store.flush()
    assert store.conversations() == [conversation("orphan")]


def test_conversations_are_found(store: Store) -> None:
    ids = ["a", "b", "c", "d"]
    for age, id in enumerate(ids):
        store.add(conversation(id, days_ago=age // 2))  # two pairs that started at the same instant
    store.add(said("a", text="100 % of ÄRGER_"))
    store.add(said("b", text="1000 of them"))
    store.add(alarm("c"))
    store.flush()

    def found(**asked: object) -> list[str]:
        return [each.id for each in store.conversations(**asked)]  # type: ignore[arg-type]

    assert found() == ["b", "a", "d", "c"]
    assert found(search="ärger") == ["a"]
    assert found(search="100 %") == ["a"] and found(search="r_") == ["a"] and found(search="%") == ["a"]
    assert found(search="of") == ["b", "a"] and found(search="of", limit=1) == ["b"] and found(search="nobody") == []
    assert found(with_alarm=True) == ["c"] and found(with_alarm=False) == ["b", "a", "d"]
    paged, last = [], None
    while page := store.conversations(limit=1, before=last):
        paged += [each.id for each in page]
        last = page[-1]
    assert paged == ["b", "a", "d", "c"]


def test_alarms_the_latest_first(store: Store) -> None:
    for hours in (0, 2, 1):
        store.add(alarm(hours=hours))
    store.flush()
    assert store.alarms() == [alarm(hours=2), alarm(hours=1), alarm(hours=0)]
    assert store.alarms(since=NOON + timedelta(hours=1)) == [alarm(hours=2), alarm(hours=1)]
    assert store.alarms(limit=1) == [alarm(hours=2)]


def test_forgetting_takes_all_that_belongs_to_it(store: Store) -> None:
    now = datetime.now(UTC)
    for number in range(250):
        store.add(replace(conversation(f"old {number}"), started=now - timedelta(days=31)))
        store.add(said(f"old {number}"))
    store.add(block("old 7"))
    store.add(alarm("old 7"))
    store.add(replace(conversation("new"), started=now - timedelta(days=29)))
    store.add(said("new"))
    assert store.forget(timedelta(days=30)) == 250  # also what was not yet written
    assert [each.id for each in store.conversations()] == ["new"] and store.alarms() == []
    assert store.conversation("old 7") is None
    store.add(conversation("old 7"))
    store.flush()
    kept = store.conversation("old 7")
    assert kept is not None and not kept.messages and not kept.readings
    assert store.forget(timedelta(days=30)) == 0


def test_what_sqlite_forgets_is_gone_from_its_files(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    secret = "the combination is 4711 "
    with Store.open(path) as store:
        store.add(said(text=secret * 50_000))
        store.flush()
        large = sum(each.stat().st_size for each in tmp_path.iterdir())
        assert any(secret.encode() in each.read_bytes() for each in tmp_path.iterdir())
        assert store.forget(timedelta(0)) == 1
        assert not any(secret.encode() in each.read_bytes() for each in tmp_path.iterdir())
        assert sum(each.stat().st_size for each in tmp_path.iterdir()) < large / 5


def test_without_text_no_word_is_kept(address: str) -> None:
    with Store.open(address, keep_text=False) as store:
        for record in (conversation(), said(), block(), alarm()):
            store.add(record)
        store.flush()
        kept = store.conversation("c1")
        assert kept is not None
        assert kept.messages == (said(text=None),) and kept.alarms == (alarm(text=""),)
        assert np.array_equal(kept.readings[0].values, block().values)
        assert store.conversations(search="she") == []


HOSTILE = {
    "nul": ("before\0after", "before\ufffdafter"),
    "lone surrogates": ("\ud800 and \udfff", "\ufffd and \ufffd"),
    "right to left": ("\u202eevil\u202c \u200f\u061c",) * 2,
    "quotes": ("'; DROP TABLE message; -- \" \\ $1 %s :x {}",) * 2,
    "controls": ("\x01\x1b[31m\r\n\x7f\x85\ufeff\uffff",) * 2,
    "a megabyte": ("å" * 2**20,) * 2,
    "empty": ("", ""),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_text(store: Store, kind: str) -> None:
    text, kept_as = HOSTILE[kind]
    id = text[:100] or "empty"
    store.add(Message(id, 0, text, text))
    store.add(replace(alarm(id), rule=text, role=text, text=text))
    store.add(replace(block(id, tokens=1), emotions=(text, "calm")))
    store.add(said("after", text="still written"))
    store.flush()
    kept = store.conversation(id)
    assert kept is not None and kept.messages[0].text == kept.messages[0].role == kept_as
    assert kept.alarms[0].rule == kept.alarms[0].text == kept_as and kept.readings[0].emotions[0] == kept_as
    assert [each.id for each in store.conversations(search=text[:50])] or not text
    assert store.lost == 0 and store.conversation("after") is not None


@given(st.text(st.characters(), max_size=60))
def test_any_text_comes_back_with_its_length(store: Store, text: str) -> None:
    store.add(said("any", text=text))
    store.flush()
    kept = store.conversation("any")
    assert kept is not None and kept.messages[0].text == clean(text) and len(clean(text)) == len(text)


def test_a_record_that_makes_no_sense_is_refused_at_once(store: Store) -> None:
    for wrong, message in (
        (said(""), "1 to 200 characters; this one has 0"),
        (said("x" * 201), "this one has 201"),
        (replace(conversation(), started=datetime(2026, 1, 1)), "has no time zone"),
        (replace(block(), spans=((0, 1),)), r"shape \(4, 2\) were given with 1 spans and 2 emotions"),
        ("hello", "this is a str"),
    ):
        with pytest.raises(StoreError, match=message):
            store.add(wrong)  # type: ignore[arg-type]
    for ask in (
        lambda: store.conversations(limit=0),
        lambda: store.conversations(search="x" * 1001),
        lambda: store.alarms(since=datetime(2026, 1, 1)),
        lambda: store.forget(timedelta(days=-1)),
    ):
        with pytest.raises(StoreError):
            ask()
