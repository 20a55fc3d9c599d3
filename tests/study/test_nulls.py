from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from foreshock.study.nulls import against, bootstrap, generator, pairs_of, random_directions, shuffled_within


@given(st.integers(0, 99))
def test_shuffling_within_groups_keeps_the_design(seed: int) -> None:
    labels, groups = np.tile(np.arange(5), 4), np.repeat(np.arange(4), 5)
    shuffled = shuffled_within(labels, groups, generator(seed, "test"))
    for group in range(4):
        assert sorted(shuffled[groups == group]) == list(range(5))


def test_random_directions_have_length_1_and_lie_in_the_span() -> None:
    rows = np.random.default_rng(0).standard_normal((20, 6)) @ np.diag([5, 3, 1, 0, 0, 0])
    directions = random_directions(rows, 50, generator(0, "test"))
    assert np.allclose(np.linalg.norm(directions, axis=1), 1)
    assert np.abs(directions[:, 3:]).max() < 1e-9
    assert np.abs(directions[:, 0]).mean() > np.abs(directions[:, 2]).mean()


def test_p_counts_draws_at_least_as_extreme_and_is_never_0() -> None:
    assert against("x", 2.0, [1.0] * 99).p == 0.01
    assert against("x", 2.0, [1.0] * 50 + [2.0] * 49).p == 0.5
    assert against("x", float("nan"), [0.0] * 99).p == 1
    assert generator(3, "a").random() == generator(3, "a").random() != generator(3, "b").random()


def test_draws_that_cannot_be_computed_give_no_evidence() -> None:
    null = against("x", 2.0, [float("nan")] * 99)
    assert null.p == 1 and null.draws == 0 and np.isnan(null.mean)


def test_a_row_drawn_twice_is_no_pair_with_itself() -> None:
    rows = np.array([3, 5, 3])
    assert sorted(zip(*pairs_of(rows), strict=True)) == [(0, 1), (1, 2)]


def test_the_bootstrap_interval_covers_the_mean_about_95_times_in_100() -> None:
    random = np.random.default_rng(1)
    covered = 0
    for _ in range(200):
        sample = random.standard_normal(60)
        low, high = bootstrap(60, lambda rows, s=sample: float(s[rows].mean()), random, draws=400)
        covered += low <= 0 <= high
    assert 0.88 <= covered / 200 <= 0.99
