"""What gets read: passages that show an emotion, and dialogues."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, field_validator

from foreshock.emotions import lookup


class _Text(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)


class Passage(_Text):
    """A short text in which one character has one emotion, which is never named."""

    text: str
    emotion: str
    """A word of the catalogue."""
    topic: str = ""
    """What the text is about; a corpus is crossed when every emotion has every topic."""
    split: Literal["fit", "test"] = "fit"
    """`test` passages never take part in fitting."""
    person: Literal["first", "third", ""] = ""
    tense: Literal["past", "present", ""] = ""
    gender: str = ""
    age: str = ""
    place: str = ""
    setting: Literal["indoor", "outdoor", ""] = ""
    stakes: Literal["everyday", "extreme", ""] = ""

    @field_validator("text")
    @classmethod
    def _not_empty(cls, text: str) -> str:
        if not text:
            raise ValueError("text is empty")
        return text

    @field_validator("emotion")
    @classmethod
    def _known(cls, emotion: str) -> str:
        return lookup(emotion).word


class Turn(BaseModel):
    """One message of a conversation."""

    model_config = ConfigDict(frozen=True)

    role: str
    content: str


class Dialogue(_Text):
    """A conversation between a person and an assistant."""

    turns: tuple[Turn, ...]
    topic: str = ""
