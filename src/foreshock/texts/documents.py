"""Texts to be read rather than fitted: plain text, or chat messages, one JSON object a line."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from foreshock.errors import TextError
from foreshock.texts.schema import Turn

Document = str | list[Turn]

ROLES = ("system", "developer", "user", "assistant", "tool", "function")
"""Of chat messages. `developer` is what OpenAI calls a system message by now, and is read as one."""
_TEXT = ("text", "input_text", "output_text")
"""Kinds of content parts that hold words."""


@dataclass(frozen=True, slots=True)
class Transcript:
    """A document with what its row says about it."""

    place: str
    document: Document
    id: str | int | None = None
    written_by: str | None = None
    """Who wrote the assistant's words, or the text: a model's name, as the row's `model` has it."""
    messages: tuple[int, ...] = ()
    """For each turn the number of its message in the row, from 0: empty messages are no turns."""


def parse_transcript(row: dict[str, Any], place: str) -> Transcript:
    """An object with `text`, or with `messages` as OpenAI's chat format has them; `id` and `model` are taken along.

    A message without words (an assistant's turn that failed, an image) is left out. What an assistant calls counts as
    its words, written `name(arguments)`, since conduct shows in calls as much as in prose.

    Raises:
        TextError: neither or both of `text` and `messages`, a message that is none, a role that is none of `ROLES`,
            or no words at all.
    """
    text, messages = row.get("text"), row.get("messages")
    if (text is None) == (messages is None):
        raise TextError(f"{place} needs either `text` or `messages`.")
    about = (_id(row.get("id"), place), _author(row.get("model"), place))
    if text is not None:
        if not isinstance(text, str) or not text.strip():
            raise TextError(f"{place}: `text` must be a non-empty string.")
        return Transcript(place, encodable(text, place), *about)
    if not isinstance(messages, list) or not messages:
        raise TextError(f"{place}: `messages` must be a non-empty list of objects with role and content.")
    turns = [_turn(message, f"{place}, message {number}") for number, message in enumerate(messages, 1)]
    kept = [number for number, turn in enumerate(turns) if turn.content.strip()]
    if not kept:
        raise TextError(f"{place}: no message has text in its `content`.")
    return Transcript(place, [turns[number] for number in kept], *about, messages=tuple(kept))


def parse_document(row: dict[str, Any], place: str) -> Document:
    """The text or the messages alone. Raises as `parse_transcript`."""
    return parse_transcript(row, place).document


def encodable(text: str, place: str) -> str:
    """The text, unless it holds half a character (a lone surrogate), which no tokenizer can take."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise TextError(f"{place} holds half of a character (a lone surrogate); mend its encoding.") from None
    return text


def same_model(name: str, other: str) -> bool:
    """Whether two names may mean one model: `hf/Org/Name`, `org/name` and `Name` do, `other/name` and `org/name` do not."""
    shorter, longer = sorted(
        ([part for part in one.lower().replace("\\", "/").split("/") if part] for one in (name, other)), key=len
    )
    return bool(shorter) and longer[-len(shorter) :] == shorter


def is_surrogate(author: str, reader: str, study: str | None) -> bool:
    """Whether another model wrote than the one that reads; rollouts name theirs by its study, `foreshock/STUDY`."""
    named = author.removeprefix("foreshock/") if author.startswith("foreshock/") else None
    own = named is not None and study is not None and same_model(named, study)
    return not (own or same_model(author, reader))


def _turn(message: Any, place: str) -> Turn:
    """A message as a turn, which is empty where the message has no words."""
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        raise TextError(f"{place} needs a `role` and a `content`.")
    role = message["role"]
    if role not in ROLES:
        raise TextError(f"{place} has the role {role[:40]!r}; roles are {', '.join(ROLES)}.")
    refusal = message.get("refusal")
    words = [_words(message.get("content"), place), refusal if isinstance(refusal, str) else "", *_calls(message)]
    content = "\n".join(part for part in words if part)
    return Turn(role="system" if role == "developer" else role, content=encodable(content, place))


def _words(content: Any, place: str) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, list):
        raise TextError(f"{place}: `content` must be text, a list of parts, or null.")
    parts = [part.get("text") for part in content if isinstance(part, dict) and part.get("type") in _TEXT]
    return "".join(part for part in parts if isinstance(part, str))


def _calls(message: dict[str, Any]) -> list[str]:
    """The tools that a message calls, each as `name(arguments)`."""
    listed = message.get("tool_calls")
    calls = [call.get("function") for call in listed if isinstance(call, dict)] if isinstance(listed, list) else []
    calls.append(message.get("function_call"))  # OpenAI's older form
    found = []
    for call in calls:
        if isinstance(call, dict) and isinstance(call.get("name"), str):
            given = call.get("arguments")
            given = given if isinstance(given, str) else json.dumps(given or {}, ensure_ascii=False, default=str)
            found.append(f"{call['name']}({given})")
    return found


def _id(value: Any, place: str) -> str | int | None:
    return value if value is None or isinstance(value, int) else encodable(str(value), place) or None


def _author(value: Any, place: str) -> str | None:
    if isinstance(value, dict | list):
        raise TextError(f"{place}: `model` must be the name of the model that wrote this, or be left out.")
    return None if value is None else encodable(str(value), place).strip() or None
