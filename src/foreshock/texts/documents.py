"""Texts to be read rather than fitted: plain text, or chat messages, one JSON object a line."""

from __future__ import annotations

from typing import Any

from foreshock.errors import TextError
from foreshock.texts.schema import Turn

Document = str | list[Turn]


def parse_document(row: dict[str, Any], place: str) -> Document:
    """An object with `text`, or with `messages` as OpenAI's chat format has them.

    Raises:
        TextError: neither or both, or a message without role and text.
    """
    if ("text" in row) == ("messages" in row):
        raise TextError(f"{place} needs either `text` or `messages`.")
    if "text" in row:
        if not isinstance(row["text"], str) or not row["text"].strip():
            raise TextError(f"{place}: `text` must be a non-empty string.")
        return encodable(row["text"], place)
    messages = row["messages"]
    if not isinstance(messages, list) or not messages:
        raise TextError(f"{place}: `messages` must be a non-empty list of objects with role and content.")
    return [_turn(message, f"{place}, message {number}") for number, message in enumerate(messages, 1)]


def encodable(text: str, place: str) -> str:
    """The text, unless it holds half a character (a lone surrogate), which no tokenizer can take."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise TextError(f"{place} holds half of a character (a lone surrogate); mend its encoding.") from None
    return text


def _turn(message: Any, place: str) -> Turn:
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        raise TextError(f"{place} needs a `role` and a `content`.")
    content = message.get("content")
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict) and part.get("type") == "text"]
        content = "".join(part for part in parts if isinstance(part, str))
    if not isinstance(content, str) or not content.strip():
        raise TextError(f"{place} has no text in its `content`.")
    return Turn(role=encodable(message["role"], place), content=encodable(content, place))
