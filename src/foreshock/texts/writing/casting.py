"""Who is in a story, where, and how it is told, dealt so that every emotion gets each kind equally often."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from random import Random
from typing import Literal, TypeVar

from foreshock.texts.schema import Passage

Item = TypeVar("Item")

AGES = (
    "child (6-12)", "teenager", "twenties", "thirties", "forties", "fifties", "around seventy", "over eighty",
)  # fmt: skip
PLACES = (
    "Accra", "Adelaide", "Aleppo", "Almaty", "Antwerp", "Arequipa", "Athens", "Baku", "Bamako", "Belfast",
    "Bergen", "Bologna", "Bristol", "Bucharest", "Busan", "Cairo", "Cape Town", "Cebu", "Chennai", "Cork",
    "Cusco", "Dakar", "Detroit", "Dhaka", "Edinburgh", "Gdansk", "Graz", "Halifax", "Hanoi", "Harare",
    "Havana", "Izmir", "Jaipur", "Kampala", "Karachi", "Kazan", "Kingston", "Kyoto", "La Paz", "Lahore",
    "Lyon", "Malmö", "Medellín", "Memphis", "Mombasa", "Montreal", "Nairobi", "Nantes", "Omaha", "Palermo",
    "Penang", "Porto", "Quito", "Rabat", "Riga", "Salvador", "Seville", "Split", "Tbilisi", "Yangon",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Casting:
    """Everything about a story but its emotion and topic, in the words of `Passage`."""

    person: Literal["first", "third"]
    tense: Literal["past", "present"]
    gender: Literal["woman", "man"]
    age: str
    place: str
    setting: Literal["indoor", "outdoor"]
    stakes: Literal["everyday", "extreme"]


@dataclass(frozen=True, slots=True)
class Assignment:
    """One story to be written."""

    emotion: str
    topic: str
    casting: Casting

    def passage(self, text: str) -> Passage:
        """The row that `text`, written for this assignment, becomes."""
        return Passage.model_validate(
            {"text": text, "emotion": self.emotion, "topic": self.topic, **asdict(self.casting)}
        )

    def fits(self, passage: Passage) -> bool:
        """Whether `passage` is one that was written for this assignment (or for its twin in casting)."""
        return passage == self.passage(passage.text)


@dataclass(frozen=True, slots=True)
class Plan:
    """Every emotion on every topic, `per_pair` stories each. Nothing is laid out until it is iterated over.

    Once round all pairs comes before the second story of any, so that a run which is stopped early is crossed.
    """

    emotions: tuple[str, ...]
    topics: tuple[str, ...]
    per_pair: int = 1
    seed: int = 0

    def __len__(self) -> int:
        return len(self.emotions) * len(self.topics) * self.per_pair

    def __iter__(self) -> Iterator[Assignment]:
        dealt = {emotion: castings(emotion, self.seed) for emotion in self.emotions}
        for _, topic, emotion in product(range(self.per_pair), self.topics, self.emotions):
            yield Assignment(emotion, topic, next(dealt[emotion]))


def castings(emotion: str, seed: int) -> Iterator[Casting]:
    """Castings without end. In any number of them from the first on, the levels of each field differ by at most one.

    The five fields of two levels follow a two-level orthogonal array of 16 runs, so that within 16 stories no two of
    them go together; ages and places are dealt from decks that are shuffled anew when they are empty.
    """
    random = Random(f"{seed} {emotion}")
    ages, places = _dealt(AGES, random), _dealt(PLACES, random)
    for person, tense, gender, setting, stakes in _runs(random):
        yield Casting(
            person="third" if person else "first",
            tense="present" if tense else "past",
            gender="man" if gender else "woman",
            age=next(ages),
            place=next(places),
            setting="outdoor" if setting else "indoor",
            stakes="extreme" if stakes else "everyday",
        )


def _dealt(deck: Sequence[Item], random: Random) -> Iterator[Item]:
    while True:
        yield from random.sample(deck, len(deck))


def _runs(random: Random) -> Iterator[tuple[bool, ...]]:
    """Runs of the array a, b, c, d, abc, each followed by its opposite: any even number of them is level."""
    while True:
        columns = random.sample(range(5), 5)
        signs = [random.random() < 0.5 for _ in range(5)]
        for a, b, c in random.sample(list(product((False, True), repeat=3)), 8):
            run = (a, b, c, False, a ^ b ^ c)
            turned = tuple(run[column] ^ sign for column, sign in zip(columns, signs, strict=True))
            yield turned
            yield tuple(not level for level in turned)
