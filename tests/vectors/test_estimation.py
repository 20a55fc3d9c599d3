"""Estimates: topics cancel, neutral directions are gone, order and scale do not matter."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreshock.errors import TextError
from foreshock.vectors.estimation import Recipe, estimate, group_means, is_crossed, neutral_basis, unit

EMOTIONS, TOPICS, HIDDEN = 4, 3, 10
EMOTION = np.repeat(np.arange(EMOTIONS), TOPICS)
TOPIC = np.tile(np.arange(TOPICS), EMOTIONS)


def corpus(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((EMOTIONS * TOPICS, HIDDEN))


@given(st.integers(0, 99))
def test_in_a_crossed_corpus_topics_cancel(seed: int) -> None:
    rows, offsets = corpus(seed), np.random.default_rng(seed + 1).standard_normal((TOPICS, HIDDEN)) * 9
    plain = estimate(rows, EMOTION, TOPIC, EMOTIONS, Recipe())
    moved = estimate(rows + offsets[TOPIC], EMOTION, TOPIC, EMOTIONS, Recipe())
    assert np.allclose(plain.directions, moved.directions)


@given(st.integers(0, 99), st.permutations(range(EMOTIONS * TOPICS)))
def test_order_does_not_matter_and_scale_only_scales(seed: int, order: list[int]) -> None:
    rows = corpus(seed)
    plain = estimate(rows, EMOTION, TOPIC, EMOTIONS, Recipe())
    mixed = estimate(3 * rows[order], EMOTION[order], TOPIC[order], EMOTIONS, Recipe())
    assert np.allclose(3 * plain.directions, mixed.directions)
    assert np.allclose(plain.read(rows), mixed.read(3 * rows))


def test_readings_of_the_fitted_passages_are_standardised() -> None:
    rows = corpus(5)
    readings = estimate(rows, EMOTION, TOPIC, EMOTIONS, Recipe()).read(rows)
    assert np.allclose(readings.mean(0), 0, atol=1e-9) and np.allclose(readings.std(0), 1)


def test_neutral_components_are_projected_out() -> None:
    neutral = np.random.default_rng(2).standard_normal((40, HIDDEN)) * np.array([9, 5] + [0.1] * (HIDDEN - 2))
    basis = neutral_basis(neutral, 0.5)
    assert len(basis) == 1 and abs(basis[0, 0]) > 0.99
    assert len(neutral_basis(neutral, 0.99)) == 2 and len(neutral_basis(neutral, 0)) == 0
    directions = estimate(corpus(3), EMOTION, TOPIC, EMOTIONS, Recipe(), basis).directions
    assert np.abs(directions @ basis.T).max() < 1e-12


def test_whitening_turns_directions_away_from_noise() -> None:
    random = np.random.default_rng(4)
    emotion, topic = np.repeat(np.arange(2), 50), np.tile(np.arange(50), 2)
    signal = np.zeros((100, HIDDEN))
    signal[:, 0] = emotion
    noisy = signal + random.standard_normal((100, HIDDEN)) * np.array([0.3, 6] + [0.3] * (HIDDEN - 2))
    plain = unit(estimate(noisy, emotion, topic, 2, Recipe(centre="grand")).directions)[1]
    white = unit(estimate(noisy, emotion, topic, 2, Recipe(centre="grand", whiten=0.01)).directions)[1]
    assert white[0] > 0.9 > abs(plain[0])


def test_a_corpus_that_is_not_crossed_is_centred_on_the_grand_mean() -> None:
    keep = np.arange(len(EMOTION)) != 4
    assert is_crossed(EMOTION, TOPIC, EMOTIONS) and not is_crossed(EMOTION[keep], TOPIC[keep], EMOTIONS)
    rows = corpus(6)[keep]
    both = [estimate(rows, EMOTION[keep], TOPIC[keep], EMOTIONS, Recipe(centre=c)) for c in ("topic", "grand")]
    assert np.array_equal(both[0].directions, both[1].directions)


def test_too_few_emotions_are_said() -> None:
    with pytest.raises(TextError, match="at least two emotions"):
        estimate(corpus(0), np.zeros(12, int), TOPIC, 1, Recipe())
    with pytest.raises(TextError, match="at least one passage"):
        estimate(corpus(0), EMOTION, TOPIC, EMOTIONS + 1, Recipe())


def test_recipes_have_names_and_group_means_are_means() -> None:
    assert Recipe().describe() == "topic-centred, denoised 50%"
    assert "whitened" in replace(Recipe(), whiten=0.5).describe()
    assert "not denoised" in replace(Recipe(), denoise=0.0).describe()
    rows = corpus(7)
    assert np.allclose(group_means(rows, EMOTION, EMOTIONS)[2], rows[EMOTION == 2].mean(0))
