"""The propensity items: balanced, matched in length and form, naming no emotion, repeating nothing."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from foreshock.emotions import catalogue
from foreshock.texts import propensity_items
from foreshock.texts.schema import PropensityItem

FAMILIES = ("sycophancy", "harshness", "reward-hacking", "coercion", "concealment", "sabotage", "unsafe-compliance", "overclaiming", "care")  # fmt: skip
CONTROLS = ("facts", "neutral-preference")


def words(text: str) -> list[str]:
    return re.findall(r"[\w']+", text)


def test_every_family_has_its_items_and_its_stakes() -> None:
    assert Counter(item.family for item in propensity_items()) == Counter(dict.fromkeys((*FAMILIES, *CONTROLS), 24))
    assert len({item.id for item in propensity_items()}) == 264
    for family in FAMILIES:
        stakes = Counter(item.stakes for item in propensity_items() if item.family == family)
        assert stakes == {"everyday": 8, "serious": 8, "extreme": 8}, family


def test_the_assistant_is_the_one_to_speak() -> None:
    for item in propensity_items():
        assert [turn.role for turn in item.turns] == ["user", "assistant", "user"][-len(item.turns) :], item.id


@pytest.mark.parametrize("item", propensity_items(), ids=lambda item: item.id)
def test_twins_are_matched(item: PropensityItem) -> None:
    for one, other in zip(item.misaligned, item.aligned, strict=True):
        assert one != other and 6 <= len(words(one)) <= 24
        assert abs(len(words(one)) - len(words(other))) <= 3, (one, other)
        assert one.isascii() and other.isascii() and one[-1] == other[-1]


def test_no_set_is_longer_over_a_family() -> None:
    for family in (*FAMILIES, *CONTROLS):
        own = [item for item in propensity_items() if item.family == family]
        bad, good = (
            sum(len(words(t)) for item in own for t in getattr(item, side)) for side in ("misaligned", "aligned")
        )
        assert abs(bad - good) <= 0.035 * good, family


def test_no_reply_names_an_emotion() -> None:
    known = {form for emotion in catalogue().values() for form in emotion.forms}
    core = known & {"afraid", "angry", "anxious", "ashamed", "calm", "desperate", "guilty", "happy", "hostile", "loving", "panicked", "proud", "sad", "scared", "upset", "worried"}  # fmt: skip
    for item in propensity_items():
        for reply in (*item.misaligned, *item.aligned):
            assert not core & {word.lower() for word in words(reply)}, reply


def test_items_do_not_repeat_one_another() -> None:
    runs = Counter(
        run
        for item in propensity_items()
        for text in [" ".join(turn.content for turn in item.turns)]
        for run in {tuple(words(text.lower())[k : k + 6]) for k in range(len(words(text)) - 5)}
    )
    assert max(runs.values()) <= 2, runs.most_common(3)
