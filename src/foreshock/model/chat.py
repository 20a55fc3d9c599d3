"""Text and chat messages as tokens that know their characters, their role and their turn.

Chat templates are opaque programs. To learn which characters of a rendered chat belong to which
message, the template is rendered once more with a unique marker in the place of each message: what
stands between the markers is the template's own text. The two renderings must agree to the letter.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import TemplateError

from foreshock.errors import NoChatTemplate, TextError
from foreshock.texts.schema import Turn


@dataclass(frozen=True, slots=True)
class Tokens:
    """One text as a model reads it; every list has one entry a token."""

    text: str
    ids: list[int]
    spans: list[tuple[int, int]]
    """Character range of each token in `text`; empty for special tokens that the tokenizer adds."""
    roles: list[str]
    """`text` for plain text, else the role of the message, also for the template's tokens around it."""
    turns: list[int]
    """Number of the message, from 0; the opening of a reply still to come counts as one more."""
    content: list[bool]
    """False for tokens of the template (role headers, end-of-turn marks)."""

    def __len__(self) -> int:
        return len(self.ids)

    def pieces(self) -> list[str]:
        """The characters of each token, split where one character spans several tokens."""
        return [self.text[start:end] for start, end in self.spans]


@dataclass(frozen=True, slots=True)
class _Segment:
    end: int
    role: str
    turn: int
    content: bool


def encode_text(tokenizer: Any, text: str) -> Tokens:
    """Plain text with the special tokens that the tokenizer adds by itself.

    Raises:
        TextError: the text is empty.
    """
    if not text.strip():
        raise TextError("A text is empty; give at least one word.")
    return _encode(tokenizer, text, [_Segment(len(text), "text", 0, True)], special=True)


def encode_chat(tokenizer: Any, turns: Sequence[Turn], reply: bool = False) -> Tokens:
    """Chat messages through the tokenizer's template; with `reply`, up to where the reply would begin.

    Raises:
        NoChatTemplate: the tokenizer has none.
        TextError: there are no messages, or the template refuses them or rewrites their text.
    """
    if not turns:
        raise TextError("A conversation has no messages; give at least one.")
    _has_template(tokenizer)
    rendered = _render(tokenizer, _plain(turns), reply)
    return _encode(tokenizer, rendered, _segments(tokenizer, turns, reply, rendered), special=False)


def encode_messages(
    tokenizer: Any, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] | None = None
) -> Tokens:
    """Messages in OpenAI's form, with calls of tools, up to where the reply would begin.

    Where a message ends is seen by laying out the conversation up to it: what that has in common with the whole is said
    by then. So it needs no marks, which a template that reads calls as JSON would not take; but of a message whose words
    do not stand there as they are (calls, reasoning that is left out) no token counts as its own.

    Raises:
        NoChatTemplate: the tokenizer has none.
        TextError: the template refuses the messages.
    """
    _has_template(tokenizer)
    rendered = _render(tokenizer, messages, True, tools)
    segments, start = [], 0
    for number, message in enumerate(messages):
        role, content = str(message["role"]), message.get("content") or ""
        end = max(start, _said(tokenizer, messages[: number + 1], tools, rendered))
        at = rendered.find(content, start, end) if content else -1
        if at >= 0:
            segments.append(_Segment(at, role, number, False))
            segments.append(_Segment(at + len(content), role, number, True))
        segments.append(_Segment(end, role, number, False))
        start = end
    segments.append(_Segment(len(rendered), "assistant", len(messages), False))
    return _encode(tokenizer, rendered, segments, special=False)


def _said(
    tokenizer: Any, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] | None, rendered: str
) -> int:
    """Characters of `rendered` that these first messages account for; none where they cannot stand alone."""
    try:
        own = _render(tokenizer, messages, False, tools)
    except TextError:
        return 0
    if rendered.startswith(own):
        return len(own)
    # Up to where they differ: a bisection, since 500 long messages compared letter by letter would take half a minute.
    return bisect_left(range(1, len(own) + 1), True, key=lambda length: not rendered.startswith(own[:length]))


def encode_transcript(tokenizer: Any, turns: Sequence[Turn], reply: bool = False) -> Tokens:
    """A conversation for a model without a chat template: `Role: words`, a paragraph a turn."""
    text, segments = "", []
    for number, turn in enumerate(turns):
        text += f"{turn.role.capitalize()}: "
        segments.append(_Segment(len(text), turn.role, number, False))
        text += turn.content
        segments.append(_Segment(len(text), turn.role, number, True))
        text += "\n\n"
    if reply:
        segments.append(_Segment(len(text), turns[-1].role, len(turns) - 1, False))
        text += "Assistant:"
        segments.append(_Segment(len(text), "assistant", len(turns), False))
    return _encode(tokenizer, text.rstrip(), segments, special=True)


def without_system(turns: Sequence[Turn]) -> list[Turn]:
    """The conversation with a leading system message put before the words of the message after it."""
    if len(turns) < 2 or turns[0].role != "system":
        return list(turns)
    first = turns[1]
    return [Turn(role=first.role, content=f"{turns[0].content}\n\n{first.content}"), *turns[2:]]


def reply_places(tokens: Tokens) -> dict[str, int]:
    """The tokens that may stand for "just before the reply" in a conversation encoded up to there.

    Which one carries the most depends on the template (method.md, trap 3), so an experiment measures them all:
    the last token of the message's own words, the end of its turn, the role's name, the very last token.
    """
    reply = max(tokens.turns)
    own = [k for k, content in enumerate(tokens.content) if content]
    ending = [k for k, turn in enumerate(tokens.turns) if turn < reply]
    opening = [k for k in range(len(tokens)) if tokens.turns[k] == reply and k > own[-1]]
    named = [k for k in opening if any(letter.isalpha() for letter in tokens.pieces()[k])]
    last = len(tokens) - 1
    return {
        "message's last word": own[-1],
        "end of turn": ending[-1] if ending else own[-1],
        "role": named[-1] if named else last,
        "last token": last,
    }


def _has_template(tokenizer: Any) -> None:
    if not getattr(tokenizer, "chat_template", None):
        raise NoChatTemplate(
            "This model has no chat template, so chat messages cannot be laid out for it; "
            "give plain `text`, or open the model's instruct version."
        )


def _plain(turns: Sequence[Turn]) -> list[dict[str, Any]]:
    return [{"role": turn.role, "content": turn.content} for turn in turns]


def _render(
    tokenizer: Any,
    messages: Sequence[Mapping[str, Any]],
    reply: bool,
    tools: Sequence[Mapping[str, Any]] | None = None,
) -> str:
    given = {"tools": list(tools)} if tools else {}
    try:
        return str(tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=reply, **given))
    except (TemplateError, TypeError, ValueError) as problem:  # templates trip over what they do not expect
        roles = ", ".join(str(message["role"]) for message in messages)
        raise TextError(f"The model's chat template refuses a conversation of {roles} ({problem}).") from problem


def _segments(tokenizer: Any, turns: Sequence[Turn], reply: bool, rendered: str) -> list[_Segment]:
    """Where in `rendered` the template speaks and where each message does."""
    marks = [f"⟪foreshock{number:06d}⟫" for number in range(len(turns))]
    marked = [Turn(role=turn.role, content=mark) for turn, mark in zip(turns, marks, strict=True)]
    pieces = _split(_render(tokenizer, _plain(marked), reply), marks)
    if pieces is None:
        raise TextError("The model's chat template leaves out or reorders messages, so tokens cannot be given roles.")
    contents = [turn.content for turn in turns]
    if _join(pieces, contents) != rendered:
        contents = [content.strip() for content in contents]
    if _join(pieces, contents) != rendered:
        raise TextError("The model's chat template rewrites the messages, so tokens cannot be given roles.")
    # What follows the last message when nothing comes after it is that turn's end mark.
    tail = (
        (_split(_render(tokenizer, _plain(marked[:1]), False), marks[:1]) or [""])[-1]
        if len(turns) > 1 or reply
        else ""
    )
    segments, cursor = [], 0
    for number, (turn, content) in enumerate(zip(turns, contents, strict=True)):
        piece = pieces[number]
        if number and tail and piece.startswith(tail):
            segments.append(_Segment(cursor + len(tail), turns[number - 1].role, number - 1, False))
        cursor += len(piece)
        segments.append(_Segment(cursor, turn.role, number, False))
        cursor += len(content)
        segments.append(_Segment(cursor, turn.role, number, True))
    last, end = turns[-1], len(rendered)
    if reply and pieces[-1].startswith(tail):
        segments.append(_Segment(cursor + len(tail), last.role, len(turns) - 1, False))
        segments.append(_Segment(end, "assistant", len(turns), False))
    else:
        segments.append(_Segment(end, last.role, len(turns) - 1, False))
    return segments


def _split(text: str, marks: list[str]) -> list[str] | None:
    """The pieces around the marks; None unless each mark stands in the text once and in order."""
    pieces = []
    for mark in marks:
        before, found, text = text.partition(mark)
        if not found or mark in text:
            return None
        pieces.append(before)
    return [*pieces, text]


def _join(pieces: list[str], contents: list[str]) -> str:
    return "".join(piece + content for piece, content in zip(pieces, contents, strict=False)) + pieces[-1]


def _encode(tokenizer: Any, text: str, segments: list[_Segment], special: bool) -> Tokens:
    """Tokenise `text`; a token takes the role of the segment that its first character stands in."""
    encoded = tokenizer(text, return_offsets_mapping=True, add_special_tokens=special, verbose=False)
    spans = [(int(start), int(end)) for start, end in encoded["offset_mapping"]]
    roles, turns, content = [], [], []
    place = 0
    for start, end in spans:
        # Some tokenizers count the space before a word into its span: the letters decide.
        inside = start + (len(text[start:end]) - len(text[start:end].lstrip()))
        inside = min(inside, max(end - 1, start))
        while place < len(segments) - 1 and inside >= segments[place].end:
            place += 1
        roles.append(segments[place].role)
        turns.append(segments[place].turn)
        content.append(segments[place].content and end > start)
    return Tokens(text, list(encoded["input_ids"]), spans, roles, turns, content)
