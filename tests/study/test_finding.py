"""Verdicts are computed, and a missing control gives *cannot tell*."""

from __future__ import annotations

import json

import pytest

from foreshock.study.finding import ALPHA, Finding, Null, corrected, judge


def null(p: float, mean: float = 0.0) -> Null:
    return Null("test", 1000, mean, mean + 0.1, p)


@pytest.mark.parametrize(
    ("estimate", "interval", "given", "verdict"),
    [
        (0.8, (0.7, 0.9), null(0.001), "holds"),
        (0.8, (0.7, 0.9), None, "cannot tell"),
        (0.8, None, null(0.001), "cannot tell"),
        (0.8, (0.7, 0.9), null(0.02), "cannot tell"),
        (0.8, (-0.1, 0.9), null(0.001), "cannot tell"),
        (0.3, (0.2, 0.4), null(0.001), "does not hold"),
        (0.4, (0.2, 0.6), null(0.001), "cannot tell"),
        (0.1, (-0.3, 0.9), null(0.9, mean=0.2), "does not hold"),
    ],
)
def test_three_values(estimate: float, interval: tuple[float, float] | None, given: Null | None, verdict: str) -> None:
    assert judge(estimate, interval, given, worthwhile=0.5) == verdict


def test_a_claim_has_to_rise_above_what_words_alone_give() -> None:
    assert judge(0.8, (0.7, 0.9), null(0.001), 0.5, floor=0.6) == "holds"
    assert judge(0.8, (0.7, 0.9), null(0.001), 0.5, floor=0.75) == "cannot tell"


def test_a_missing_number_gives_cannot_tell() -> None:
    assert judge(float("nan"), (0.7, 0.9), null(0.001), 0.5) == "cannot tell"
    assert judge(0.8, (float("nan"), 0.9), null(0.001), 0.5) == "cannot tell"
    assert judge(0.9, (0.8, 0.95), null(0.001), 0.7, floor=float("nan")) == "cannot tell"
    assert judge(0.9, (0.8, 0.95), null(0.001, mean=float("nan")), 0.7) == "cannot tell"


def finding(p: float) -> Finding:
    return Finding("id", "claim", "statistic", 0.9, (0.8, 1.0), null(p), None, 0.5, "how to read")


def test_p_values_are_corrected_together() -> None:
    findings = corrected([finding(0.009), finding(0.5), finding(0.9)])
    assert [round(f.null.corrected_p or 0, 3) for f in findings if f.null] == [0.027, 0.75, 0.9]
    assert finding(0.009).verdict == "holds" and findings[0].verdict == "cannot tell"
    assert finding(ALPHA).verdict == "holds"


def test_json_has_what_others_rely_on() -> None:
    shown = json.loads(json.dumps(finding(0.001).to_json()))
    assert {"id", "claim", "estimate", "interval", "null", "published", "verdict"} <= set(shown)
    assert shown["verdict"] in {"holds", "does not hold", "cannot tell"} and "charts" not in shown
