"""Writing stories: the plan is level, the checks are fair, the file survives kills and is refused to strangers."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import fields, replace
from itertools import combinations, islice
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreshock.emotions import catalogue, core
from foreshock.errors import OutputError, TextError, UnknownEmotion
from foreshock.model.author import local_author
from foreshock.model.planted import Planted
from foreshock.texts import load_passages, stories
from foreshock.texts.writing import chosen_emotions, chosen_topics, prompt, write_stories
from foreshock.texts.writing.casting import AGES, PLACES, Casting, Plan, castings
from foreshock.texts.writing.checking import LONGEST, SHORTEST, Repeats, fault, tidied
from foreshock.texts.writing.ledger import Tally, manifest_path

FIELDS = [field.name for field in fields(Casting)]
PLAN = Plan(("afraid", "happy", "proud"), ("a lost key", "the last bus", "a flat tyre"), per_pair=2, seed=4)
NAMES = {word for emotion in catalogue().values() for word in (*emotion.forms, *emotion.synonyms)}
PLAIN = [
    w
    for a in "bdfglmnprstv"
    for b in "aeiou"
    for c in ("ck", "ll", "mp", "nd", "rk", "st")
    if (w := a + b + c) not in NAMES
]
"""Words that are in no catalogue."""

emotions = st.sampled_from(list(catalogue()))
seeds = st.integers(0, 2**32)


def written(random: Random, words: int = 60) -> str:
    return " ".join(random.choices(PLAIN, k=words)).capitalize() + "."


def author(prompts: Sequence[str], seed: int) -> list[str]:
    """Writes plausible stories, and now and then what must be dropped; the same for the same prompts and seed."""
    texts = []
    for number, asked in enumerate(prompts):
        random = Random(f"{seed} {number} {asked}")
        named = re.search(r"Feeling: ([^(]+) \(", asked)
        assert named
        faults = [written(random, 20), written(random, 120), "", "I cannot write this story.", written(random, 50) + " " + named[1], written(Random(1))]  # fmt: skip
        texts.append(random.choice(faults) if random.random() < 0.4 else written(random))
    return texts


def wrote(path: Path, plan: Plan = PLAN, **options: object) -> Tally:
    return write_stories(plan, author, path, {"model": "script"}, batch=4, **options)  # type: ignore[arg-type]


# The plan


@given(emotions, seeds, st.integers(1, 400))
def test_in_any_number_of_castings_the_levels_of_each_field_differ_by_at_most_one(word: str, seed: int, n: int) -> None:
    dealt = list(islice(castings(word, seed), n))
    sizes = {"age": len(AGES), "place": len(PLACES)}
    for name in FIELDS:
        counts = Counter(getattr(casting, name) for casting in dealt)
        least = min(counts.values()) if len(counts) == sizes.get(name, 2) else 0
        assert max(counts.values()) - least <= 1, name


@given(emotions, seeds)
def test_within_sixteen_castings_no_two_fields_go_together(word: str, seed: int) -> None:
    dealt = list(islice(castings(word, seed), 16))
    for one, other in combinations(("person", "tense", "gender", "setting", "stakes"), 2):
        assert set(Counter((getattr(c, one), getattr(c, other)) for c in dealt).values()) == {4}, (one, other)


@given(st.lists(emotions, min_size=1, max_size=5, unique=True), st.integers(1, 4), st.integers(1, 3), seeds)
def test_a_plan_is_crossed_and_its_own_only(words: list[str], topics: int, per_pair: int, seed: int) -> None:
    plan = Plan(tuple(words), tuple(f"topic {k}" for k in range(topics)), per_pair, seed)
    assignments = list(plan)
    assert len(assignments) == len(plan) and assignments == list(plan)
    assert set(Counter((a.emotion, a.topic) for a in assignments).values()) == {per_pair}
    once_round = assignments[: len(words) * topics]
    assert len({(a.emotion, a.topic) for a in once_round}) == len(words) * topics


def test_a_plan_of_published_scale_is_laid_out_lazily() -> None:
    plan = Plan(chosen_emotions("all"), chosen_topics(None), per_pair=12)
    assert len(plan) == 205_200
    assert len(list(islice(plan, 5))) == 5


def test_another_seed_deals_other_castings() -> None:
    assert list(PLAN) == list(replace(PLAN)) != list(replace(PLAN, seed=5))


def test_the_hundred_topics_are_plain_and_name_no_emotion() -> None:
    topics = chosen_topics(None)
    assert len(topics) == 100 and all("," not in topic for topic in topics)
    for emotion in catalogue().values():
        for word in (*emotion.forms, *emotion.synonyms):
            assert not [t for t in topics if re.search(rf"\b{re.escape(word)}\b", t, re.I)], word


def test_a_prompt_says_everything_once_and_leaves_no_gap() -> None:
    for assignment in islice(Plan(tuple(catalogue()), ("a {lost} key",)), 171):
        text, emotion = prompt(assignment), catalogue()[assignment.emotion]
        assert emotion.gloss in text and "a {lost} key" in text and assignment.casting.place in text
        assert all(word in text for word in (*emotion.forms, *emotion.synonyms))
        assert f"{assignment.casting.person} person" in text and f"{assignment.casting.tense} tense" in text


# The checks


@given(emotions, seeds, st.data())
def test_a_story_that_names_its_emotion_is_dropped_and_within_a_word_it_does_not_count(
    word: str, seed: int, data: st.DataObject
) -> None:
    emotion, random = catalogue()[word], Random(seed)
    name = data.draw(st.sampled_from([*emotion.forms, *emotion.synonyms]))
    name = data.draw(st.sampled_from([name, name.upper(), name.capitalize(), name.replace("-", " ")]))
    place, words = random.randrange(60), written(random).split()
    around = data.draw(st.sampled_from(["{}", "{},", '"{}"', "_{}_", "{}'s", "({})", "{}—and"]))
    assert fault(" ".join(words), word) is None
    assert fault(" ".join([*words[:place], around.format(name), *words[place:]]), word) == "named"
    assert fault(" ".join([*words[:place], f"zz{name}zz", *words[place:]]), word) is None


@given(seeds, st.integers(1, 150))
def test_length_is_counted_in_words(seed: int, words: int) -> None:
    found = fault(written(Random(seed), words), "happy")
    assert found == ("short" if words < SHORTEST else "long" if words > LONGEST else None)


@given(st.text())
def test_any_text_can_be_tidied_and_judged(text: str) -> None:
    once = tidied(text)
    assert once == " ".join(once.split())
    if fault(once, "happy") is None:
        once.encode()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "empty"),
        ("…!", "empty"),
        ("I'm sorry, but I cannot write that story for you.", "refused"),
        ("As an AI, I have no feelings to write about.", "refused"),
        (written(Random(0)) + " \ufffd", "garbled"),
        (written(Random(0)) + " \ud83d", "garbled"),
        ("I can't help laughing. " + written(Random(0), 50), None),
    ],
)
def test_what_is_no_story_is_said(text: str, found: str | None) -> None:
    assert fault(text, "happy") == found


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "**The Key**\n\n{}",
        "# The Key\n{}",
        "Title: The Key\n\n{}",
        "Sure! Here's a very short story about it:\n\n{}",
        "Here is the story: {}",
        "Story: {}",
        '"{}"',
        "<think>A key… let me\n\nsee.</think>\n{}",
        "A key… let me see.</think>\n\n{}",
        "{}\n\nNote: no feeling is named.",
        "{}\n\n(Word count: 61)",
        "{}\n\n62 words",
    ],
)
def test_only_the_story_is_left(text: str) -> None:
    story = 'The key was gone. "Where?" Ines asked the empty hall. It\'s here, she thought, it must be.'
    assert tidied(text.format(story)) == story
    assert tidied(text.format(story.replace("'", "’"))) == story


def test_the_built_in_stories_pass_every_check() -> None:
    repeats, found = Repeats(len(stories())), Counter[str | None]()
    for story in stories():
        assert tidied(story.text) == story.text
        found[fault(story.text, story.emotion)] += 1
        assert story.text not in repeats
        repeats.add(story.text)
    assert set(found) == {None}


@given(seeds, st.integers(0, 6))
def test_a_story_with_a_few_words_changed_is_a_repeat_and_another_is_not(seed: int, changes: int) -> None:
    random = Random(seed)
    words, repeats = written(random).split(), Repeats(3)
    repeats.add(written(random))
    repeats.add(" ".join(words))
    for place in random.sample(range(len(words)), changes):
        words[place] = "changed"
    assert " ".join(words) in repeats and " ".join(words).upper() in repeats
    assert written(random) not in repeats


# The file


def test_the_rows_are_passages_of_the_plan_and_every_dropped_story_is_counted(tmp_path: Path) -> None:
    seen: list[int] = []
    tally = wrote(tmp_path / "own.jsonl", tries=2, progress=lambda tally: seen.append(tally.settled))
    rows = load_passages(tmp_path / "own.jsonl")
    assert tally.settled == len(PLAN) == 18 and tally.kept == len(rows) == 18 - tally.given_up
    assert tally.given_up and sum(tally.dropped.values()) >= tally.given_up * 2
    left = iter(PLAN)
    assert all(any(assignment.fits(row) for assignment in left) for row in rows)
    assert seen == [0, 4, 8, 12, 16, 18]
    manifest = json.loads(manifest_path(tmp_path / "own.jsonl").read_text())
    assert manifest["order"]["model"] == "script" and len(manifest["order"]["prompt"]) == 16
    assert manifest["tally"]["dropped"] == tally.dropped


@given(st.data())
def test_killed_anywhere_it_ends_with_the_same_file(tmp_path: Path, data: st.DataObject) -> None:
    whole, cut = tmp_path / "whole.jsonl", tmp_path / "cut.jsonl"
    for path in (whole, cut):
        path.unlink(missing_ok=True)
    uninterrupted = wrote(whole)

    class Killed(BaseException): ...

    left = data.draw(st.integers(0, 4))

    def dying(tally: Tally) -> None:
        if tally.settled >= 4 * left:
            raise Killed

    with pytest.raises(Killed):
        wrote(cut, progress=dying)
    cut.write_bytes(
        cut.read_bytes() + data.draw(st.sampled_from([b"", b'{"text": "Ha', b'{"text": "x"}\n{"te', b"\xf0\x9f"]))
    )
    assert wrote(cut) == uninterrupted
    assert cut.read_bytes() == whole.read_bytes()


@given(st.integers(0, 3000))
def test_a_file_that_was_cut_short_is_filled_up_again(tmp_path: Path, size: int) -> None:
    path = tmp_path / "own.jsonl"
    path.unlink(missing_ok=True)
    wrote(path, tries=20)
    whole = load_passages(path)
    path.write_bytes(path.read_bytes()[:size])
    tally = wrote(path, tries=20)
    assert tally.kept == len(PLAN) and tally.given_up == 0
    assert [row.model_copy(update={"text": ""}) for row in load_passages(path)] == [
        row.model_copy(update={"text": ""}) for row in whole
    ]


def test_a_finished_run_asks_for_nothing_more(tmp_path: Path) -> None:
    tally = wrote(tmp_path / "own.jsonl")

    def never(prompts: Sequence[str], seed: int) -> list[str]:
        raise AssertionError

    assert write_stories(PLAN, never, tmp_path / "own.jsonl", {"model": "script"}) == tally


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"plan": replace(PLAN, seed=5)}, "seed: 4, now 5"),
        ({"plan": replace(PLAN, topics=("x",))}, "topics: a lost key, the last bus, a flat tyre, now x"),
        ({"plan": replace(PLAN, emotions=tuple(core()))}, "emotions: afraid, happy, proud, now 32"),
        ({"tries": 9}, "tries: 3, now 9"),
    ],
)
def test_other_options_into_the_same_file_are_refused(tmp_path: Path, other: dict[str, object], said: str) -> None:
    path = tmp_path / "own.jsonl"
    wrote(path)
    before = path.read_bytes()
    with pytest.raises(OutputError, match=said):
        wrote(path, **other)  # type: ignore[arg-type]
    with pytest.raises(OutputError, match="model: script, now another"):
        write_stories(PLAN, author, path, {"model": "another"})
    assert path.read_bytes() == before


def test_a_strange_or_damaged_file_is_refused_and_left_alone(tmp_path: Path) -> None:
    strange = tmp_path / "strange.jsonl"
    strange.write_text("mine\n")
    with pytest.raises(OutputError, match="did not begin"):
        wrote(strange)
    assert strange.read_text() == "mine\n"
    path = tmp_path / "own.jsonl"
    wrote(path)
    lines = path.read_bytes().splitlines(keepends=True)
    for broken, said in ((b"{" * (len(lines[2]) - 1) + b"\n", "line 3 is not JSON"), (lines[1], "line 3 is no story")):
        path.write_bytes(b"".join([*lines[:2], broken, *lines[3:]]))
        with pytest.raises(TextError, match=said):
            wrote(path)
    manifest_path(path).write_text("{}")
    with pytest.raises(OutputError, match="damaged"):
        wrote(path)


def test_a_second_run_into_an_open_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl"

    def intruding(tally: Tally) -> None:
        if tally.settled == 4:
            with pytest.raises(OutputError, match="another run"):
                wrote(path)

    assert wrote(path, progress=intruding).settled == len(PLAN)


def test_what_a_killed_manifest_left_behind_is_swept_up(tmp_path: Path) -> None:
    stale = tmp_path / ".own.jsonl.manifest.json.abc.part"
    stale.write_text("{")
    wrote(tmp_path / "own.jsonl")
    assert not stale.exists()


def test_emotions_and_topics_are_chosen_by_word_and_file(tmp_path: Path) -> None:
    assert len(chosen_emotions("core")) == 32 and len(chosen_emotions("all")) == 171
    assert chosen_emotions("proud, afraid,proud") == ("afraid", "proud")
    with pytest.raises(UnknownEmotion, match="did you mean happy"):
        chosen_emotions("happpy")
    file = tmp_path / "topics.txt"
    file.write_text("one\n\n two  words \none\n")
    assert chosen_topics(str(file)) == chosen_topics("one, two words,") == ("one", "two words")
    file.write_text("\n")
    for nothing in (str(file), " , "):
        with pytest.raises(TextError, match="no topics"):
            chosen_topics(nothing)
    with pytest.raises(TextError, match="cannot be read"):
        chosen_topics("none.txt")


def test_a_local_model_writes_the_same_for_the_same_seed(plant: Planted) -> None:
    write, asked = local_author(plant.model, 1.0), [prompt(a) for a in PLAN][:3]
    assert write(asked, 1) == write(asked, 1) != write(asked, 2)
    assert len(write(asked, 1)) == 3


def test_a_model_without_a_chat_template_is_given_plain_text(plant: Planted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plant.model.tokenizer, "chat_template", None)
    plain = local_author(plant.model, 0)([prompt(a) for a in PLAN][:2], 1)
    assert len(plain) == 2 and all(plain)
