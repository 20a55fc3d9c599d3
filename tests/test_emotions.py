from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from foreshock import emotions
from foreshock.errors import UnknownEmotion

SHARED = Path(__file__).parents[2] / "shared/emotions-171.json"


def test_there_are_171_emotions_in_ten_clusters_and_32_core_ones() -> None:
    assert len(emotions.catalogue()) == 171
    assert len(emotions.clusters()) == 10
    assert len(emotions.core()) == 32
    assert {emotions.lookup(word).cluster for word in emotions.core()} == set(emotions.clusters())


@pytest.mark.skipif(not SHARED.exists(), reason="the study's word list lies beside the checkout only")
def test_words_and_clusters_are_the_studys() -> None:
    published = {e["word"]: e["cluster"] for e in json.loads(SHARED.read_text())["emotions"]}
    assert published == {word: emotion.cluster for word, emotion in emotions.catalogue().items()}


def test_valence_is_vaders_and_arousal_on_its_scale() -> None:
    lexicon = SentimentIntensityAnalyzer().lexicon
    for word, emotion in emotions.catalogue().items():
        assert emotion.valence == lexicon.get(word)
        assert 1 <= emotion.arousal <= 7


def test_the_pleasant_clusters_come_first() -> None:
    assert emotions.clusters()[0] in {"Exuberant Joy", "Compassionate Gratitude", "Peaceful Contentment"}
    ordered = emotions.in_cluster_order(["afraid", "happy", "angry", "joyful"])
    assert ordered[:2] == ["happy", "joyful"]


@pytest.mark.parametrize(
    ("asked", "found"),
    [("Afraid", "afraid"), (" at ease ", "at ease"), ("at-ease", "at ease"), ("desperation", "desperate")],
)
def test_lookup_knows_case_and_forms(asked: str, found: str) -> None:
    assert emotions.lookup(asked).word == found


def test_an_unknown_word_names_the_nearest() -> None:
    with pytest.raises(UnknownEmotion, match="did you mean nervous"):
        emotions.lookup("nervus")
    with pytest.raises(UnknownEmotion, match="catalogue"):
        emotions.lookup("qqqq")


def test_every_emotion_has_forms_synonyms_and_a_gloss() -> None:
    for emotion in emotions.catalogue().values():
        assert emotion.forms[0] == emotion.word
        assert emotion.gloss and (emotion.synonyms or emotion.word in emotion.forms)
        assert not set(emotion.forms) & set(emotion.synonyms)
    most = Counter(form for e in emotions.catalogue().values() for form in e.forms).most_common(1)[0]
    assert most[1] <= 2
