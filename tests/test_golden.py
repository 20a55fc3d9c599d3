"""Goldens: what the embedded model gives, within tolerances. A change here is a finding, not noise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from foreshock.behaviour.propensity import as_tree, doses, slopes
from foreshock.emotions import core
from foreshock.model import LanguageModel
from foreshock.study.running import Study, run_study
from foreshock.texts import builtin_library, propensity_items, stories
from foreshock.vectors.estimation import unit

pytestmark = pytest.mark.slow
PINNED = ("separability", "reliability", "logit-lens")


@pytest.fixture(scope="module")
def study(embedded: LanguageModel, tmp_path_factory: pytest.TempPathFactory) -> Study:
    store: Path = tmp_path_factory.mktemp("store")
    return run_study(embedded, builtin_library(stories(core())), only=PINNED, layers=[10, 15, 20], store=store)


def test_the_core_emotions_are_separable(study: Study) -> None:
    found = {finding.id: finding for finding in study.findings}
    assert found["separability"].estimate == pytest.approx(0.910, abs=0.01)
    assert found["test-topics"].estimate == pytest.approx(0.966, abs=0.01)
    assert found["split-half"].estimate == pytest.approx(0.336, abs=0.03)
    assert found["logit-lens"].estimate == pytest.approx(0.838, abs=0.04)
    assert study.vectors.reading_layer == 15


def test_readings_put_the_emotion_of_fresh_stories_near_the_top(study: Study) -> None:
    ranks = [
        sorted(readings.mean(), key=lambda word: -readings.mean()[word]).index(passage.emotion)
        for passage, readings in study.gallery
    ]
    assert np.median(ranks) <= 2  # of 32; chance would be 16


def test_the_embedded_models_anatomy(embedded: LanguageModel) -> None:
    assert (embedded.layers, embedded.hidden, embedded.context) == (30, 576, 8192)
    assert embedded.anatomy.vocabulary == 49152 and embedded.has_chat_template


def test_what_loving_does_to_sycophancy(study: Study, embedded: LanguageModel) -> None:
    """The propensity of 24 situations, its slope along a vector, and finite doses of it."""
    vectors = study.vectors
    items = [item for item in propensity_items() if item.family == "sycophancy"]
    tree = as_tree(embedded, items, 15)
    assert tree
    found = slopes(embedded, items, 15, tree=tree)
    assert found.propensity.mean() == pytest.approx(0.17, abs=0.04)
    assert (found.propensity > 0).mean() == pytest.approx(0.75, abs=0.1)
    loving = unit(vectors.at(15))[vectors.emotions.index("loving")] * vectors.norm_at(15)
    slope = found.gradient @ loving
    assert slope.mean() == pytest.approx(0.65, abs=0.2)
    few = items[::4]
    up, down = doses(embedded, few, 15, np.stack([0.1 * loving, -0.1 * loving]), tree=tree).T
    assert np.corrcoef(slope[::4], (up - down) / 0.2)[0, 1] > 0.95
