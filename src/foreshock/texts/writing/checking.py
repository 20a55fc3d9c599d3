"""Whether a text that a model wrote may be kept as a story of its emotion."""

from __future__ import annotations

import re
import zlib
from functools import cache
from typing import Literal

import numpy as np
from jaxtyping import UInt16

from foreshock.emotions import lookup

SHORTEST, LONGEST = 45, 90
"""Words of a story, the bounds included."""
ALIKE = 0.4
"""Share of runs of three words in common (Jaccard) from which two stories count as one."""
RUN, HASHES = 3, 64
"""Words of a run, and values of a story's signature: with 64 the share is off by 0.06 or less, two times in three."""

Fault = Literal["empty", "refused", "garbled", "short", "long", "named", "repeated"]
FAULTS: dict[Fault, str] = {
    "empty": "were empty",
    "refused": "were refusals or remarks on the task",
    "garbled": "held broken characters",
    "short": f"had under {SHORTEST} words",
    "long": f"had over {LONGEST} words",
    "named": "named the emotion",
    "repeated": "repeated another story",
}
"""Every reason for dropping a story, in the order they are looked for, as a summary says it."""

_REFUSED = re.compile(
    r"\bas an ai\b|\ba (?:large )?language model\b"
    r"|\b(?:i can(?:'t|not)|i(?: am|'m) (?:unable|not able) to|i won't) (?:write|create|produce|provide|generate|fulfil\w*|"
    r"comply with|assist with|help (?:you )?with) (?:a|an|any|the|this|that|these|such|your)\b"
    r"|\b\d+ to \d+ words\b|\bin the (?:first|third) person\b|\bthis (?:very )?short story\b",
    re.I,
)
_QUOTES = str.maketrans({"“": '"', "”": '"', "„": '"', "‘": "'", "’": "'"})
_THOUGHT = re.compile(r"\A.*?</think>|<think>.*", re.S)
_MARKUP = re.compile(r"\*+|^\s*>|```\w*", re.M)
_HEADING = re.compile(r"\s*|#.*|\*\*.*\*\*|title:.*|(?:.*\W)?(?:story|paragraph)\b.{0,80}:", re.I)
_CLOSING = re.compile(r"\s*|\W*(?:word count|words|note):.*|\W*\d+ words\W*", re.I)
_ANNOUNCED = re.compile(
    r"(?:(?:sure|certainly|of course|here(?:'s| is))\b[^:.]{0,120})?\b(?:story|paragraph)\b[^:.]{0,40}:", re.I
)
_QUOTED = re.compile(r'"[^"]*(?:\s"\w.*)?"')  # a second quote that opens leaves the first one open, around it all


def tidied(text: str) -> str:
    """The story alone, as one paragraph with straight quotes: no thinking aloud, title, announcement or markup."""
    lines = _THOUGHT.sub("", text.translate(_QUOTES)).strip().splitlines()
    while len(lines) > 1 and _HEADING.fullmatch(lines[0].strip()):
        del lines[0]
    while len(lines) > 1 and _CLOSING.fullmatch(lines[-1].strip()):
        del lines[-1]
    text = " ".join(_MARKUP.sub("", "\n".join(lines)).split())
    if announced := _ANNOUNCED.match(text):
        text = text[announced.end() :].strip()
    return text[1:-1].strip() if _QUOTED.fullmatch(text) else text


def fault(text: str, emotion: str) -> Fault | None:
    """Why a tidied text cannot be a story of `emotion`, the first reason of `FAULTS` that holds; None if it can.

    Raises:
        UnknownEmotion: no such emotion.
    """
    words = len(text.split())
    if not any(letter.isalnum() for letter in text):
        return "empty"
    if _REFUSED.search(text):
        return "refused"
    if not all(letter.isprintable() and letter != "\ufffd" for letter in text):
        return "garbled"
    if words < SHORTEST:
        return "short"
    if words > LONGEST:
        return "long"
    return "named" if _names(emotion).search(text) else None


@cache
def _names(emotion: str) -> re.Pattern[str]:
    """Any form or direct synonym of the emotion as whole words; a hyphen, a space and markup are as good as another."""
    known = lookup(emotion)
    words = (re.split(r"[\s-]+", word) for word in (*known.forms, *known.synonyms))
    either = "|".join(r"[\s_-]+".join(map(re.escape, parts)) for parts in words)
    return re.compile(rf"(?<![^\W_])(?:{either})(?![^\W_])", re.I)


class Repeats:
    """Tells a story that is much like an earlier one, by MinHash over runs of three words.

    Memory is 128 bytes a story (26 MB for 205,200) and asking compares with all of them, so none is overlooked for
    lack of a shared bucket.

    Args:
        most: stories that will be added.
    """

    def __init__(self, most: int) -> None:
        self._known = np.zeros((HASHES, most), np.uint16)  # pages never written to take no memory
        self._count = 0

    def __contains__(self, text: str) -> bool:
        alike = np.zeros(self._count, np.uint8)
        for column, value in zip(self._known[:, : self._count], _signature(text), strict=True):
            alike += column == value
        return bool(self._count and alike.max() >= ALIKE * HASHES)

    def add(self, text: str) -> None:
        """Remember a story."""
        self._known[:, self._count] = _signature(text)
        self._count += 1


_MULTIPLY, _ADD = np.random.default_rng(0).integers(1, 2**63, (2, HASHES, 1), np.uint64)


def _signature(text: str) -> UInt16[np.ndarray, " hash"]:
    """The low bits of the smallest value of each hash over the text's runs of words."""
    words = re.findall(r"[^\W_]+", text.lower())
    runs = {" ".join(words[k : k + RUN]) for k in range(max(1, len(words) - RUN + 1))}
    values = np.array([zlib.crc32(run.encode()) for run in runs], np.uint64)
    hashed = (_MULTIPLY | np.uint64(1)) * values + _ADD >> np.uint64(32)
    return hashed.min(axis=1).astype(np.uint16)
