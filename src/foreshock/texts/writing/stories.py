"""Having a model write stories: every emotion on every topic, checked as they come, settled batch by batch."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from importlib import resources
from itertools import islice
from pathlib import Path
from typing import Any

from foreshock.emotions import catalogue, core, lookup
from foreshock.errors import TextError
from foreshock.texts.schema import Passage
from foreshock.texts.writing.casting import Assignment, Casting, Plan
from foreshock.texts.writing.checking import Repeats, fault, tidied
from foreshock.texts.writing.ledger import Tally, opened

Author = Callable[[Sequence[str], int], list[str]]
"""Prompts and a seed in, one text a prompt out, in order; the same ones for the same prompts and seed, if it can."""
Progress = Callable[[Tally], None]
"""Called at the start and after every batch."""


def write_stories(
    plan: Plan,
    author: Author,
    path: Path,
    made_by: Mapping[str, Any],
    *,
    tries: int = 3,
    batch: int = 16,
    versions: Mapping[str, str] | None = None,
    progress: Progress = lambda _: None,
) -> Tally:
    """Write the plan's stories into a JSONL file of `Passage` rows, going on with it if it was begun.

    A run that was killed and goes on leaves the same file as one that was not, if the author gives the same texts
    for the same prompts and seed and `batch` is the same.

    Args:
        made_by: what tells this author from others, as plain data; the file takes stories of one author only.
        tries: how often a story is asked for before its place is given up.
        batch: assignments that are settled together; fewer lose less when killed.
        versions: of the author's software, for the manifest.

    Raises:
        OutputError: the file cannot be written, or was begun with another plan, author, prompt or `tries`.
        TextError: a row in it is damaged.
    """
    repeats = Repeats(len(plan))
    order = _order(plan, made_by, tries)
    with opened(path, plan, order, versions or {}, seen=lambda story: repeats.add(story.text)) as ledger:
        progress(ledger.tally)
        left = islice(plan, ledger.tally.settled, None)
        while together := list(islice(left, batch)):
            seeds = [_seed(plan.seed, ledger.tally.settled, attempt) for attempt in range(tries)]
            kept, dropped = _settle(together, author, seeds, repeats)
            ledger.settle(kept, len(together), dropped)
            progress(ledger.tally)
        return ledger.tally


def _settle(
    assignments: Sequence[Assignment], author: Author, seeds: Iterable[int], repeats: Repeats
) -> tuple[list[Passage], Counter[str]]:
    """Ask for a story of each assignment until it passes or the seeds run out.

    Returns:
        the stories kept, in the order of the assignments, and how many were dropped for each fault.
    """
    kept: dict[int, Passage] = {}
    dropped: Counter[str] = Counter()
    for seed in seeds:
        missing = [number for number in range(len(assignments)) if number not in kept]
        if not missing:
            break
        texts = author([prompt(assignments[number]) for number in missing], seed)
        for number, text in zip(missing, map(tidied, texts), strict=True):
            found = fault(text, assignments[number].emotion) or ("repeated" if text in repeats else None)
            if found:
                dropped[found] += 1
                continue
            repeats.add(text)
            kept[number] = assignments[number].passage(text)
    return [kept[number] for number in sorted(kept)], dropped


def _order(plan: Plan, made_by: Mapping[str, Any], tries: int) -> dict[str, Any]:
    """Everything that decides what is written, as the manifest keeps and compares it."""
    return {
        **made_by,
        "prompt": hashlib.sha256(_template().encode()).hexdigest()[:16],
        "emotions": list(plan.emotions),
        "topics": list(plan.topics),
        "per_pair": plan.per_pair,
        "seed": plan.seed,
        "tries": tries,
    }


def _seed(seed: int, settled: int, attempt: int) -> int:
    """A seed of 31 bits for one call of the author, so that no two calls of a run share one by design."""
    return int.from_bytes(hashlib.sha256(f"{seed} {settled} {attempt}".encode()).digest()[:4]) >> 1


def prompt(assignment: Assignment) -> str:
    """What an author is asked for one story; the words stand in `data/story-prompt.txt`."""
    emotion, casting = lookup(assignment.emotion), assignment.casting
    return _template().format(
        topic=assignment.topic,
        who=_who(casting),
        person=casting.person,
        tense=casting.tense,
        place=casting.place,
        setting=f"{casting.setting}s",
        stakes=_STAKES[casting.stakes],
        emotion=emotion.word,
        gloss=emotion.gloss,
        avoid=", ".join((*emotion.forms, *emotion.synonyms)),
    )


_STAKES = {"everyday": "something of everyday life", "extreme": "everything: life, home, freedom or a whole future"}


def _who(casting: Casting) -> str:
    """The person of the story, e.g. `a woman in her thirties`; in the first person she tells it herself."""
    woman = casting.gender == "woman"
    who = {
        "child (6-12)": f"a {'girl' if woman else 'boy'} between six and twelve",
        "teenager": f"a teenage {'girl' if woman else 'boy'}",
        "around seventy": f"a {casting.gender} of about seventy",
        "over eighty": f"a {casting.gender} of over eighty",
    }.get(casting.age, f"a {casting.gender} in {'her' if woman else 'his'} {casting.age}")
    return f"{who}, who tells the story" if casting.person == "first" else who


@cache
def _template() -> str:
    return _data("story-prompt.txt").strip()


def _data(name: str) -> str:
    return (resources.files("foreshock.texts") / "data" / name).read_text(encoding="utf-8")


def chosen_emotions(text: str) -> tuple[str, ...]:
    """`core`, `all` or comma-separated words as words of the catalogue, each once, in its order.

    Raises:
        UnknownEmotion: a word that it does not have.
    """
    known = catalogue()
    if text in ("core", "all"):
        return tuple(core() if text == "core" else known)
    wanted = {lookup(word).word for word in text.split(",")}
    return tuple(word for word in known if word in wanted)


def chosen_topics(text: str | None) -> tuple[str, ...]:
    """Comma-separated topics, or a text file's, one a line; None for the hundred that come with Foreshock.

    Raises:
        TextError: there are none, or the file cannot be read.
    """
    if text is None:
        lines = _data("topics.txt").splitlines()
    elif Path(text).suffix.lower() == ".txt" or Path(text).is_file():
        try:
            lines = Path(text).read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as problem:
            raise TextError(
                f"The topics in {text} cannot be read ({problem}); give a UTF-8 file, one a line."
            ) from None
    else:
        lines = text.split(",")
    topics = tuple(dict.fromkeys(" ".join(line.split()) for line in lines if line.strip()))
    if not topics:
        raise TextError("There are no topics; give at least one, comma-separated or in a text file, one a line.")
    return topics
