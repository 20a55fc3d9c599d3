"""The texts that come with Foreshock, written for it (CC BY 4.0; see docs/texts.md)."""

from __future__ import annotations

from collections.abc import Collection
from functools import cache
from importlib import resources
from typing import Literal, TypeVar

from pydantic import BaseModel

from foreshock.texts.loading import parse_json_line, parse_row
from foreshock.texts.schema import (
    Activity,
    BenignConversation,
    Binding,
    BlackmailCase,
    CodingTask,
    Deflection,
    Dialogue,
    Exchange,
    GradedReply,
    Negation,
    Passage,
    PropensityItem,
    RolloutPrompt,
    Scale,
    Scenario,
    WarningPair,
)

Row = TypeVar("Row", bound=BaseModel)


def stories(emotions: Collection[str] | None = None, split: Literal["fit", "test"] | None = None) -> list[Passage]:
    """The built-in stories of these emotions (all by default) and this split (both by default)."""
    return [
        story
        for story in _load("stories.jsonl", Passage)
        if (emotions is None or story.emotion in emotions) and (split is None or story.split == split)
    ]


def neutral_dialogues() -> list[Dialogue]:
    """Dialogues of a person and an assistant in which there is no feeling."""
    return list(_load("neutral.jsonl", Dialogue))


def scenarios() -> list[Scenario]:
    """Three messages to an assistant for each core emotion."""
    return list(_load("scenarios.jsonl", Scenario))


def scales() -> list[Scale]:
    """Twelve messages with a number whose growth matters, each with a control in which it does not."""
    return list(_load("scales.jsonl", Scale))


def exchanges() -> list[Exchange]:
    """240 dialogues of two people with independently assigned emotions."""
    return list(_load("speakers.jsonl", Exchange))


def deflections() -> list[Deflection]:
    """90 dialogues in which a speaker has one emotion and displays another."""
    return list(_load("deflection.jsonl", Deflection))


def negations() -> list[Negation]:
    """24 sentences with an emotion word affirmed, negated and left out."""
    return list(_load("negation.jsonl", Negation))


def bindings() -> list[Binding]:
    """24 scenes with two people of different emotions."""
    return list(_load("binding.jsonl", Binding))


def activities() -> list[Activity]:
    """64 activities in eight groups of eight."""
    return list(_load("activities.jsonl", Activity))


def propensity_items() -> list[PropensityItem]:
    """264 situations in eleven families, each with matched sets of misaligned and aligned replies."""
    return list(_load("propensity.jsonl", PropensityItem))


def blackmail_cases() -> list[BlackmailCase]:
    """Twelve mailboxes with a secret in them: two firms, six kinds of pressure."""
    return list(_load("blackmail.jsonl", BlackmailCase))


def coding_tasks() -> list[CodingTask]:
    """Ten functions to write whose shown tests cannot be passed honestly."""
    return list(_load("coding.jsonl", CodingTask))


def rollout_prompts(family: Literal["sycophancy", "harshness"] | None = None) -> list[RolloutPrompt]:
    """Conversations to be answered, 24 for each family (both by default)."""
    return [one for one in _load("rollout_prompts.jsonl", RolloutPrompt) if family in (None, one.family)]


def graded_replies() -> list[GradedReply]:
    """24 replies for each rubric with the verdict that a grader should come to, half of them yes."""
    return list(_load("graded.jsonl", GradedReply))


def warning_pairs() -> list[WarningPair]:
    """67 situations that end once in misconduct and once in honest conduct, with the onset marked."""
    return list(_load("early_warning.jsonl", WarningPair))


def benign_conversations() -> list[BenignConversation]:
    """210 conversations without misconduct, a third of them emotional."""
    return list(_load("benign.jsonl", BenignConversation))


@cache
def _load(name: str, schema: type[Row]) -> tuple[Row, ...]:
    text = (resources.files("foreshock.texts") / "data" / name).read_text(encoding="utf-8")
    rows = enumerate(text.splitlines(), 1)
    return tuple(parse_row(schema, parse_json_line(line, f"{name}, line {n}"), f"{name}, line {n}") for n, line in rows)
