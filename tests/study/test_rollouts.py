"""Counted conduct as findings: what can be told from counts, and what cannot."""

from __future__ import annotations

from foreshock.behaviour.rollouts.asked import Span
from foreshock.behaviour.rollouts.rates import Rate, TaskRates, wilson
from foreshock.study.rollouts import findings_of


def task(name: str, emotion: str, counts: dict[float, tuple[int, int]], span: Span = "all") -> TaskRates:
    rates = [
        Rate(name, {emotion: strength} if strength else {}, events, n, 0, wilson(events, n), span)
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


def test_ten_events_elsewhere_do_not_make_a_comparison_of_none() -> None:
    one, other = task("blackmail", "calm", {0.0: (0, 5), 0.1: (0, 5)}), task("blackmail", "happy", {0.1: (12, 20)})
    both = TaskRates("blackmail", "a model", "a grader", (*one.rates, *other.rates))
    found = {f.id: f for f in findings_of([both])}
    assert found["rollouts-blackmail-calm"].verdict == "cannot tell"


def test_an_arm_without_replies_cannot_tell() -> None:
    (found,) = findings_of([task("blackmail", "desperate", {0.0: (0, 0), 0.1: (15, 30)})])
    assert found.verdict == "cannot tell" and found.interval is None


def test_steerings_at_other_tokens_are_series_of_their_own() -> None:
    everywhere = task("blackmail", "desperate", {-0.1: (2, 60), 0.1: (40, 60)})
    reply = task("blackmail", "desperate", {-0.1: (20, 60), 0.1: (21, 60)}, span="reply")
    both = TaskRates("blackmail", "a model", "a grader", (*everywhere.rates, *reply.rates))
    found = {f.id: f for f in findings_of([both])}
    assert found["rollouts-blackmail-desperate"].verdict == "holds"
    assert found["rollouts-blackmail-desperate-reply"].verdict != "holds"
