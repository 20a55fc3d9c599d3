"""The items of the experiments: complete, balanced, well formed, naming no emotion they should not."""

from __future__ import annotations

import re
from collections import Counter
from itertools import combinations

from foreshock.emotions import catalogue, core, lookup
from foreshock.texts import (
    activities,
    bindings,
    deflections,
    exchanges,
    negations,
    neutral_dialogues,
    scales,
    scenarios,
)


def names(emotion: str, text: str) -> list[str]:
    """Forms and direct synonyms of the emotion that stand in the text."""
    known = lookup(emotion)
    words = (*known.forms, *known.synonyms)
    return [word for word in words if re.search(rf"\b{re.escape(word)}\b", text, re.I)]


def test_every_item_has_an_id_of_its_own() -> None:
    for items in (scenarios(), scales(), exchanges(), deflections(), negations(), bindings(), activities()):
        assert len({item.id for item in items}) == len(items)


def test_three_scenarios_for_each_core_emotion_none_named() -> None:
    assert Counter(s.emotion for s in scenarios()) == Counter(dict.fromkeys(core(), 3))
    named = {s.id: found for s in scenarios() if (found := names(s.emotion, s.text))}
    assert not named
    assert all(15 <= len(s.text.split()) <= 80 for s in scenarios())


def test_scales_grow_and_their_controls_keep_the_numbers() -> None:
    assert Counter(s.kind for s in scales()) == {"danger": 3, "loss": 3, "effort": 3, "success": 3}
    for scale in scales():
        assert list(scale.values) == sorted(set(scale.values)) and len(scale.values) >= 5
        assert set(scale.expect.values()) == {-1, 1}
        assert abs(len(scale.template.split()) - len(scale.control.split())) <= 6, scale.id
        assert not [w for emotion in scale.expect for w in names(emotion, scale.template + scale.control)]


def test_speakers_emotions_are_assigned_independently_and_never_named() -> None:
    assert len(exchanges()) == 240 and len({e.a for e in exchanges()}) == 15
    assert set(Counter(e.a for e in exchanges()).values()) == set(Counter(e.b for e in exchanges()).values()) == {16}
    pairs = Counter((e.a, e.b) for e in exchanges())
    assert max(pairs.values()) <= 2 and len(pairs) >= 200
    named = {e.id: f for e in exchanges() if (f := names(e.a, " ".join(e.turns)) + names(e.b, " ".join(e.turns)))}
    assert not named
    assert all(4 <= len(e.turns) <= 6 for e in exchanges())


def test_deflections_show_another_emotion_than_is_felt() -> None:
    assert Counter(d.felt for d in deflections()) == Counter(dict.fromkeys({d.felt for d in deflections()}, 6))
    assert len(deflections()) == 90 and all(d.felt != d.shown and len(d.turns) == 3 for d in deflections())
    for item in deflections():
        assert not names(item.felt, item.situation + " ".join(item.turns)), item.id
        assert not names(item.shown, " ".join(item.turns)), item.id
    shown = {felt: {d.shown for d in deflections() if d.felt == felt} for felt in {d.felt for d in deflections()}}
    assert all(len(s) == 6 for s in shown.values())


NEGATES = re.compile(r"\b(not|never|no|nothing|nobody|hardly|without|neither|anything but|far from)\b|n't\b", re.I)


def test_negations_deny_what_their_twins_affirm() -> None:
    assert len(negations()) == 24 and max(Counter(n.emotion for n in negations()).values()) <= 2
    for item in negations():
        assert NEGATES.search(item.negated) and not NEGATES.search(item.affirmed), item
        assert not names(item.emotion, item.neutral), item
        same = set(item.affirmed.split()) & set(item.negated.split())
        assert len(same) >= 0.6 * len(set(item.affirmed.split())), item
    assert sum(bool(names(n.emotion, n.affirmed)) for n in negations()) >= 16  # the others affirm it by a sign


def test_bindings_name_both_people_once_they_are_asked_after() -> None:
    assert len(bindings()) == 24
    for item in bindings():
        assert item.first.emotion != item.second.emotion
        assert item.first.name in item.text and item.second.name in item.text
        assert not names(item.first.emotion, item.text) + names(item.second.emotion, item.text), item.id


def test_sixty_four_activities_in_eight_groups() -> None:
    assert set(Counter(a.group for a in activities()).values()) == {8} and len(activities()) == 64
    assert len({a.text for a in activities()}) == 64 and all(4 <= len(a.text.split()) <= 20 for a in activities())


def test_items_do_not_repeat_one_another() -> None:
    texts = [s.text for s in scenarios()] + [b.text for b in bindings()] + [" ".join(e.turns) for e in exchanges()]
    runs = Counter(
        run for text in texts for run in {tuple(text.lower().split()[k : k + 6]) for k in range(len(text.split()) - 5)}
    )
    assert max(runs.values()) <= 3, runs.most_common(3)
    openings = [tuple(s.text.lower().split()[:5]) for s in scenarios()]
    assert not [pair for pair in combinations(openings, 2) if pair[0] == pair[1]]


def test_120_neutral_dialogues_over_their_topics() -> None:
    assert len(neutral_dialogues()) == 120
    assert set(Counter(d.topic for d in neutral_dialogues()).values()) == {20}
    assert any(d.turns[0].role == "system" for d in neutral_dialogues())
    assert len({turn.content for d in neutral_dialogues() for turn in d.turns}) > 300
    assert len(catalogue()) == 171
