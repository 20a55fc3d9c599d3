"""What lists and overviews are made from, in both databases."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from foreshock.errors import StoreError
from foreshock.monitor.store import Message, Store
from foreshock.monitor.store.records import Outline
from tests.monitor.store.keeping import NOON, alarm, conversation, said


@pytest.fixture
def store(address: str) -> Iterator[Store]:
    with Store.open(address) as opened:
        yield opened


def test_outlines_tell_the_first_words_and_the_number_of_alarms(store: Store) -> None:
    assert store.outlines([]) == {} and store.count() == 0
    for id in ("a", "b", "c"):
        store.add(conversation(id))
    store.add(Message("a", 0, "system", "You are kind."))
    store.add(said("a", turn=1, text="é" * 300))
    store.add(said("a", turn=3, text="Later."))
    store.add(said("b", turn=0, text=None))
    for hours in (0, 1):
        store.add(alarm("a", hours))
    store.add(alarm("c"))
    store.flush()
    assert store.outlines(["a", "b", "c"]) == {
        "a": Outline("é" * 200, 2),
        "b": Outline(None, 0),
        "c": Outline(None, 1),
    }
    assert store.outlines(["c"]) == {"c": Outline(None, 1)} and store.count() == 3
    assert store.about("a") == conversation("a") and store.about("nobody\0") is None


def test_alarms_are_counted_by_the_hour_and_the_rule(store: Store) -> None:
    just_before = NOON + timedelta(hours=1) - timedelta(milliseconds=1)
    for at in (NOON, NOON + timedelta(minutes=30), just_before, just_before + timedelta(hours=2)):
        store.add(replace(alarm(), at=at))
    store.add(replace(alarm(), rule="angry", at=NOON))
    store.add(replace(alarm(), at=NOON - timedelta(days=2)))
    store.flush()
    found = store.alarms_by_hour(NOON - timedelta(hours=1))
    assert found == [
        (NOON, "angry", 1),
        (NOON, "desperate", 3),
        (NOON + timedelta(hours=2), "desperate", 1),
    ]
    assert store.alarms_by_hour(NOON + timedelta(days=1)) == []
    with pytest.raises(StoreError, match="time zone"):
        store.alarms_by_hour(datetime(2026, 1, 1))
    assert all(hour.tzinfo is UTC for hour, _, _ in found)
