"""Goldens: what the embedded model gives, within tolerances. A change here is a finding, not noise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from foreshock.emotions import core
from foreshock.model import LanguageModel
from foreshock.study.running import Study, run_study
from foreshock.texts import builtin_library, stories

pytestmark = pytest.mark.slow
PINNED = ("separability", "reliability", "logit-lens")


@pytest.fixture(scope="module")
def study(embedded: LanguageModel, tmp_path_factory: pytest.TempPathFactory) -> Study:
    store: Path = tmp_path_factory.mktemp("store")
    return run_study(embedded, builtin_library(stories(core())), only=PINNED, layers=[10, 15, 20], store=store)


def test_the_core_emotions_are_separable(study: Study) -> None:
    found = {finding.id: finding for finding in study.findings}
    assert found["separability"].estimate == pytest.approx(0.953, abs=0.01)
    assert found["test-topics"].estimate == pytest.approx(0.977, abs=0.01)
    assert found["split-half"].estimate == pytest.approx(0.48, abs=0.03)
    assert found["logit-lens"].estimate == pytest.approx(0.82, abs=0.04)
    assert study.vectors.reading_layer == 15


def test_readings_name_the_emotion_of_most_fresh_stories(study: Study) -> None:
    ranks = [
        sorted(readings.mean(), key=lambda word: -readings.mean()[word]).index(passage.emotion)
        for passage, readings in study.gallery
    ]
    assert np.mean(np.array(ranks) == 0) >= 0.5


def test_the_embedded_models_anatomy(embedded: LanguageModel) -> None:
    assert (embedded.layers, embedded.hidden, embedded.context) == (30, 576, 8192)
    assert embedded.anatomy.vocabulary == 49152 and embedded.has_chat_template
