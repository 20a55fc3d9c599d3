"""The built-in texts: complete, crossed, in length, never naming the emotion, never repeating themselves."""

from __future__ import annotations

import re
from collections import Counter

from sklearn.feature_extraction.text import TfidfVectorizer

from foreshock.emotions import core, lookup
from foreshock.texts import neutral_dialogues, stories

FEELING = re.compile(
    r"\b(happy|glad|sorry|sad|angry|afraid|love|hate|thank|thanks|worr\w+|great|unfortunately|fear\w*)\b", re.I
)


def test_the_fit_stories_are_crossed_and_the_core_has_test_topics() -> None:
    fit, test = stories(split="fit"), stories(split="test")
    topics, fresh = {p.topic for p in fit}, {p.topic for p in test}
    assert len(topics) == 8 and len(fresh) == 4 and not topics & fresh
    assert Counter((p.emotion, p.topic) for p in fit) == Counter(
        {(e, t): 1 for e in {p.emotion for p in fit} for t in topics}
    )
    assert Counter((p.emotion, p.topic) for p in test) == Counter({(e, t): 1 for e in core() for t in fresh})
    assert set(core()) <= {p.emotion for p in fit}


def test_every_story_has_its_length() -> None:
    lengths = {f"{p.emotion} on {p.topic}": len(p.text.split()) for p in stories()}
    assert {name: n for name, n in lengths.items() if not 45 <= n <= 90} == {}


def test_no_story_names_its_emotion() -> None:
    named = []
    for story in stories():
        emotion = lookup(story.emotion)
        for word in (*emotion.forms, *emotion.synonyms):
            if re.search(rf"\b{re.escape(word)}\b", story.text, re.I):
                named.append((story.emotion, story.topic, word))
    assert not named


def test_stories_are_clean_text() -> None:
    for story in stories():
        assert story.text == story.text.strip() and "\ufffd" not in story.text
        assert not any(c in story.text for c in "\n\t\u201c\u201d\u2018\u2019"), (story.emotion, story.topic)


def test_the_design_is_balanced_over_every_emotion() -> None:
    for emotion in {p.emotion for p in stories(split="fit")}:
        own = stories([emotion], split="fit")
        for field in ("person", "tense", "gender", "setting", "stakes"):
            assert sorted(Counter(getattr(p, field) for p in own).values()) == [4, 4], (emotion, field)
        minors = {p.age for p in own} & {"child (6-12)", "teenager"}
        assert len({p.age for p in own}) == (6 if emotion == "aroused" else 8) and len({p.place for p in own}) >= 6
        assert len(minors) == (0 if emotion == "aroused" else 2), emotion  # grown people only where it is about desire


def words(text: str) -> list[str]:
    return re.findall(r"[\w']+", text.lower())


def test_no_phrase_and_no_opening_is_used_again_and_again() -> None:
    all_stories = stories()
    runs = Counter(
        run for p in all_stories for run in {tuple(words(p.text)[k : k + 5]) for k in range(len(words(p.text)) - 4)}
    )
    assert max(runs.values()) <= 6, runs.most_common(5)  # the commonest is "at the edge of the"
    firsts = Counter(words(p.text)[0] for p in all_stories)
    assert firsts.most_common(1)[0][1] <= 0.18 * len(all_stories), firsts.most_common(5)
    openings = Counter(tuple(words(p.text)[:4]) for p in all_stories)
    assert max(openings.values()) <= 3, openings.most_common(5)


def test_no_two_stories_are_near_duplicates() -> None:
    texts = [p.text for p in stories()]
    shingles = TfidfVectorizer(analyzer="word", ngram_range=(3, 3)).fit_transform(texts)
    likeness = (shingles @ shingles.T).tolil()
    likeness.setdiag(0)
    assert likeness.tocsr().max() < 0.3


def test_neutral_dialogues_are_neutral_and_alternate() -> None:
    dialogues = neutral_dialogues()
    assert len(dialogues) >= 60
    for dialogue in dialogues:
        roles = [turn.role for turn in dialogue.turns if turn.role != "system"]
        assert 2 <= len(roles) <= 6 and roles == [("user", "assistant")[k % 2] for k in range(len(roles))]
        assert roles[-1] == "assistant"
        for turn in dialogue.turns:
            assert not FEELING.search(turn.content), turn.content
    assert len({turn.content for d in dialogues for turn in d.turns}) == sum(len(d.turns) for d in dialogues)
