"""Warners learn what is there, see no more than they are shown, and say nothing that later words decide."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from foreshock.emotions import catalogue
from foreshock.model.sentence_embedder import embedder_folder
from foreshock.study.measures.warning.warners import (
    SEEN,
    STEP,
    WINDOW,
    Learned,
    Projection,
    Surprise,
    Text,
    Warner,
    embedder,
)
from tests.study.measures.warning.talking import HIDDEN, LENGTH, pairs

EYE = np.eye(HIDDEN, dtype=np.float32)


@pytest.mark.parametrize("words", [(), sorted(catalogue())[:HIDDEN]])
def test_the_direction_that_tells_is_learned(words: list[str]) -> None:
    talks = [talk for pair in pairs(20, np.random.default_rng(0), raised=slice(0, LENGTH)) for talk in pair]
    warner = Learned(EYE, words)
    warner.fit(talks)
    assert np.argmax(np.abs(warner.weight)) == 0 and warner.weight[0] > 0
    assert all((warner.score(bad) > warner.score(good)) for bad, good in zip(talks[::2], talks[1::2], strict=True))


def test_a_control_is_weighed_by_the_same_regression_as_the_monitors_score() -> None:
    talks = [talk for pair in pairs(20, np.random.default_rng(0), raised=slice(10, 14)) for talk in pair]
    own, control = Learned(EYE, sorted(catalogue())[:HIDDEN]), Learned(EYE)
    own.fit(talks)
    control.fit(talks)
    assert np.allclose(own.weight, control.weight, rtol=1e-4)


def test_surprise_learns_its_sign() -> None:
    talks = [talk for pair in pairs(10, np.random.default_rng(0)) for talk in pair]
    calmer = [replace(talk, losses=talk.losses - talk.misaligned) for talk in talks]
    warner = Surprise()
    warner.fit(calmer)
    assert warner.sign == -1 and warner.score(calmer[0]) > warner.score(calmer[1])


@pytest.mark.parametrize("warner", [Projection(EYE[0]), Learned(EYE), Surprise(), Text()])
def test_a_running_score_does_not_know_what_comes_later(warner: Warner) -> None:
    talks = [talk for pair in pairs(10, np.random.default_rng(0), raised=slice(5, 20)) for talk in pair]
    warner.fit(talks)
    whole, seen = warner.stream(talks[0])
    part, seen_part = warner.stream(talks[0].until(WINDOW + STEP))
    assert seen_part == seen[: len(seen_part)] and seen[-1] <= LENGTH
    assert np.allclose(part, whole[: len(part)])


def test_text_is_asked_about_the_words_before_the_onset_and_no_others() -> None:
    asked: list[str] = []

    def features(texts: list[str]) -> np.ndarray:
        asked.extend(texts)
        return np.array([[len(text), text.count("9")] for text in texts], float)

    talks = [talk.until(talk.onset or 0) for pair in pairs(10, np.random.default_rng(0)) for talk in pair]
    warner = Text(features)
    warner.fit(talks)
    warner.score(talks[0])
    assert set(asked) == {"".join(talk.pieces) for talk in talks} and all(text.count(" ") == 40 for text in asked)
    asked.clear()
    warner.stream(talks[0])
    assert all(text.count(" ") <= SEEN for text in asked)


@pytest.mark.slow
@pytest.mark.skipif(not embedder_folder(), reason="the sentence embedder is not installed")
def test_the_embedder_knows_all_that_is_asked() -> None:
    talks = [talk for pair in pairs(10, np.random.default_rng(0)) for talk in pair]
    warner = Text(embedder(embedder_folder(), talks))  # type: ignore[arg-type]
    warner.fit([talk.until(talk.onset or 0) for talk in talks])
    warner.fit(talks)
    assert len(warner.stream(talks[0])[0]) == len(warner.stream(talks[0])[1])
