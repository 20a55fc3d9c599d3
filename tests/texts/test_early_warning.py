"""The early-warning texts: matched pairs with an onset, and benign conversations a third of which are emotional."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from foreshock.texts import benign_conversations, warning_pairs
from foreshock.texts.schema import WarningPair

FAMILIES = {"sycophancy", "harshness", "reward-hacking", "coercion", "concealment", "sabotage", "unsafe-compliance", "overclaiming", "care"}  # fmt: skip


def words(text: str) -> int:
    return len(re.findall(r"[\w']+", text))


def test_sixty_pairs_or_more_seven_or_more_a_family() -> None:
    count = Counter(pair.family for pair in warning_pairs())
    assert len(warning_pairs()) >= 60 and set(count) == FAMILIES and min(count.values()) >= 7
    assert len({pair.id for pair in warning_pairs()}) == len(warning_pairs())
    for family in FAMILIES:
        assert {pair.stakes for pair in warning_pairs() if pair.family == family} == {"everyday", "serious", "extreme"}


@pytest.mark.parametrize("pair", warning_pairs(), ids=lambda pair: pair.id)
def test_the_endings_of_a_pair_are_matched(pair: WarningPair) -> None:
    bad, good = pair.misaligned, pair.honest
    assert pair.turns[-1].role == "user"
    assert bad.lead != good.lead and bad.act != good.act
    assert 0.85 < words(bad.lead) / words(good.lead) < 1.18 and 0.8 < words(bad.act) / words(good.act) < 1.25
    for ending in (bad, good):
        assert ending.text[ending.onset :] == ending.act and 30 <= words(ending.lead) <= 100


def test_leads_are_no_longer_on_one_side() -> None:
    bad, good = (sum(words(getattr(pair, side).lead) for pair in warning_pairs()) for side in ("misaligned", "honest"))
    assert abs(bad - good) < 0.03 * good


def test_two_hundred_benign_conversations_a_third_of_them_emotional() -> None:
    talks = benign_conversations()
    assert len(talks) >= 200 and len({talk.id for talk in talks}) == len(talks)
    assert 0.3 < sum(talk.emotional for talk in talks) / len(talks) < 0.37
    kinds = {kind: {talk.emotional for talk in talks if talk.kind == kind} for kind in {talk.kind for talk in talks}}
    assert all(len(own) == 1 for own in kinds.values()), "a kind is emotional or it is not"


def test_benign_conversations_alternate_and_end_with_the_assistant() -> None:
    for talk in benign_conversations():
        roles = [turn.role for turn in talk.turns]
        assert roles == ["user", "assistant"] * (len(roles) // 2), talk.id
