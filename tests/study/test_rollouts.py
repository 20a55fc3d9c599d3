"""Counted conduct as findings: what can be told from counts, and what cannot."""

from __future__ import annotations

from foreshock.behaviour.rollouts.rates import Rate, TaskRates, wilson
from foreshock.study.rollouts import findings_of


def task(name: str, emotion: str, counts: dict[float, tuple[int, int]]) -> TaskRates:
    rates = [
        Rate(name, {emotion: strength} if strength else {}, events, n, 0, wilson(events, n))
        for strength, (events, n) in counts.items()
    ]
    return TaskRates(name, "a model", "a grader", tuple(rates))


def test_a_rate_that_rises_as_published_holds() -> None:
    (found,) = findings_of([task("blackmail", "desperate", {-0.1: (2, 60), 0.0: (12, 60), 0.1: (40, 60)})])
    assert found.verdict == "holds" and abs(found.estimate - 38 / 60) < 1e-9
    assert found.interval is not None and found.interval[0] > 0.4
    assert [row["strength"] for row in found.table] == [-0.1, 0.0, 0.1]
    assert found.published is not None and "72 %" in found.published


def test_calm_counts_the_other_way_round() -> None:
    (found,) = findings_of([task("coding", "calm", {-0.1: (40, 60), 0.1: (5, 60)})])
    assert found.verdict == "holds" and found.estimate > 0.5 and "less frequent" in found.claim


def test_against_the_published_direction_does_not_hold() -> None:
    (found,) = findings_of([task("blackmail", "desperate", {0.0: (40, 60), 0.1: (5, 60)})])
    assert found.verdict == "does not hold" and found.estimate < 0


def test_fewer_than_ten_events_cannot_tell() -> None:
    (found,) = findings_of([task("blackmail", "desperate", {0.0: (0, 2000), 0.1: (9, 2000)})])
    assert found.verdict == "cannot tell" and found.interval is None


def test_the_same_rate_is_no_finding() -> None:
    (found,) = findings_of([task("sycophancy", "loving", {0.0: (300, 600), 0.1: (303, 600)})])
    assert found.verdict == "does not hold"


def test_one_strength_alone_is_nothing_to_compare() -> None:
    assert findings_of([task("blackmail", "desperate", {0.1: (5, 60)})]) == []


def test_nothing_scored_cannot_tell() -> None:
    (found,) = findings_of([task("harshness", "calm", {0.0: (0, 0), 0.1: (0, 0)})])
    assert found.verdict == "cannot tell"
