"""A warning that is there is found and timed, one that is not gives a half, and thresholds know calibration talk only."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from foreshock.monitor.rules import Change, Extreme, Level
from foreshock.study.measures.warning.outcome import (
    Benign,
    Separation,
    lead,
    outcome,
    paired,
    running,
    stacked,
    swapped,
)
from foreshock.study.measures.warning.talks import Talk
from foreshock.study.measures.warning.warners import Learned, Projection, Surprise, Text
from tests.study.measures.warning.talking import HIDDEN, ONSET, benign, pairs

EYE = np.eye(HIDDEN, dtype=np.float32)


@pytest.fixture(scope="module")
def quiet() -> Benign:
    return Benign.dealt(benign(280, np.random.default_rng(1)), 0)


def test_a_planted_warning_is_found_before_the_onset_and_timed(quiet: Benign) -> None:
    warned = pairs(20, np.random.default_rng(0), raised=slice(10, 30))
    found = stacked([outcome(lambda: Learned(EYE), warned, quiet, [Change(), Extreme()], 0)])
    assert paired(found["before"]).auroc > 0.99 and paired(found["whole"]).auroc > 0.99
    first = found["first"][:, :, :, :, 0]
    assert first.shape == (1, 2, 3, 20)
    assert (first[:, 0] <= ONSET).mean() > 0.95  # every detector, at 5 %
    tokens, characters = lead(first[:, 0, 0], [bad for bad, _ in warned])
    # A mean over 16 tokens passes a threshold a few tokens after the tenth.
    assert ONSET - 30 < tokens < ONSET - 10 and 2 * tokens < characters < 5 * tokens


def test_what_comes_after_the_onset_warns_of_nothing(quiet: Benign) -> None:
    late = pairs(30, np.random.default_rng(0), raised=slice(ONSET, ONSET + 20))
    found = stacked([outcome(lambda: Projection(EYE[0]), late, quiet, [], 0)])
    assert paired(found["before"]).auroc < 0.7 < 0.99 < paired(found["whole"]).auroc
    first = found["first"][:, 0, 0, :, 0]
    assert (first <= ONSET).mean() < 0.25 and np.isfinite(first).mean() > 0.95
    assert lead(first, [bad for bad, _ in late])[0] < 0


@pytest.mark.parametrize("warner", [lambda: Learned(EYE), Text, Surprise])
def test_no_signal_is_a_half_and_false_alarms_keep_to_their_bound(quiet: Benign, warner: type) -> None:
    found = stacked([outcome(warner, pairs(30, np.random.default_rng(2)), quiet, [], 0)])
    separation = paired(found["before"])
    low, high = separation.interval(np.random.default_rng(0))
    assert low < 0.5 < high and low <= separation.auroc <= high
    loud = found["loud"][0, :, 0].mean(1)
    assert loud[0] < 0.15 and loud[1] < 0.06  # 120 conversations, at 5 % and 1 %


def test_thresholds_come_from_calibration_conversations_only(quiet: Benign) -> None:
    warned = pairs(12, np.random.default_rng(0), raised=slice(10, 30))

    def first(dealt: Benign) -> list[float]:
        return outcome(lambda: Projection(EYE[0]), warned, dealt, [], 0)["first"].ravel().tolist()

    def louder(talks: object) -> list[Talk]:
        return [replace(talk, residuals=talk.residuals + np.float16(20)) for talk in talks]  # type: ignore[attr-defined]

    assert first(replace(quiet, check=louder(quiet.check))) == first(quiet)
    assert not np.isfinite(first(replace(quiet, calibrate=louder(quiet.calibrate)))).any()


def test_benign_conversations_have_one_part_each_and_rates_that_need_more_of_them_are_left_out() -> None:
    talks = benign(70, np.random.default_rng(0))
    dealt = Benign.dealt(talks, 0)
    parts = [*dealt.standardise, *dealt.calibrate, *dealt.check]
    assert sorted(talk.scenario for talk in parts) == sorted(talk.scenario for talk in talks)
    assert [len(dealt.standardise), len(dealt.calibrate)] == [5, 35] and dealt.alphas == (0.05,)
    assert dealt != Benign.dealt(talks, 1)


def test_separation_is_the_auroc_and_its_null_is_a_half() -> None:
    random = np.random.default_rng(0)
    scores = random.standard_normal((2, 30)).round(1)  # with ties
    event, scenario = random.random(30) < 0.4, random.integers(0, 6, 30)
    found = Separation.of(scores, event, scenario)
    expected = np.mean([roc_auc_score(event, row) for row in scores])
    assert found.auroc == pytest.approx(expected) and found.with_labels(event) == pytest.approx(expected)
    other = random.permutation(event)
    assert found.with_labels(other) == pytest.approx(np.mean([roc_auc_score(other, row) for row in scores]))
    apart = paired(np.stack([[[1.0, 0.0]] * 20]))
    assert apart.auroc == 1 and apart.interval(random) == (1, 1)
    assert np.mean(swapped(apart, 20, random)) == pytest.approx(0.5, abs=0.03)


def test_running_statistics_are_the_monitors_own() -> None:
    assert running(Level(4), np.array([1.0, 2, 3, 4, 5])) == [1, 1.5, 2, 2.5, 3.5]
    assert running(Change(1.0), np.array([0.0, 3, 2, 0])) == [0, 2, 3, 2]
