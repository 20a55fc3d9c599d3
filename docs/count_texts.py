"""Writes the counts, balance tables and checksum in docs/texts.md, between its two marks. Run: python docs/count_texts.py"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from importlib import resources
from pathlib import Path

from foreshock.files import write_text
from foreshock.texts import builtin_library, propensity_items, stories
from foreshock.texts.builtin import (
    benign_conversations,
    blackmail_cases,
    coding_tasks,
    graded_replies,
    rollout_prompts,
    warning_pairs,
)

CARD = Path(__file__).parent / "texts.md"
BEGIN, END = "<!-- counted -->\n", "<!-- end -->\n"


def counted() -> str:
    """The counted part of the card."""
    library = builtin_library()
    parts = {
        "stories, fitted": len(stories(split="fit")),
        "stories, test topics": len(stories(split="test")),
        "neutral dialogues": len(library.neutral),
        "scenarios": len(library.scenarios),
        "scales": len(library.scales),
        "speaker dialogues": len(library.exchanges),
        "deflection dialogues": len(library.deflections),
        "negation items": len(library.negations),
        "person-binding items": len(library.bindings),
        "activities": len(library.activities),
        "propensity items": len(propensity_items()),
        "blackmail scenes": len(blackmail_cases()),
        "coding tasks": len(coding_tasks()),
        "rollout prompts": len(rollout_prompts()),
        "graded replies": len(graded_replies()),
        "early-warning pairs": len(warning_pairs()),
        "benign conversations": len(benign_conversations()),
    }
    lengths = sorted(len(p.text.split()) for p in library.stories)
    balance = [f"| {field} | {_shares(getattr(p, field) for p in library.stories)} |" for field in ("person", "tense", "gender", "setting", "stakes", "age", "topic", "split")]  # fmt: skip
    emotions = len({p.emotion for p in library.stories})
    return "\n".join(
        [
            "| Part | Items |\n|---|---|",
            *(f"| {name} | {count:,} |" for name, count in parts.items()),
            "",
            f"Stories: {emotions} emotions, {len({p.place for p in library.stories})} places, "
            f"{lengths[0]}-{lengths[-1]} words, median {lengths[len(lengths) // 2]}.",
            "",
            "| Field | Stories of each kind |\n|---|---|",
            *balance,
            "",
            f"SHA-256 over all text files, in the order of their names: `{checksum()}`\n",
        ]
    )


def checksum() -> str:
    """One hash of all data files."""
    digest = hashlib.sha256()
    folder = resources.files("foreshock.texts") / "data"
    for file in sorted((f for f in folder.iterdir() if f.name.endswith((".jsonl", ".txt"))), key=lambda f: f.name):
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def _shares(values: Iterable[str]) -> str:
    return ", ".join(f"{value} {count:,}" for value, count in sorted(Counter(values).items()))


def main() -> None:
    """Rewrite the counted part."""
    before, rest = CARD.read_text(encoding="utf-8").split(BEGIN)
    after = rest.split(END)[1]
    write_text(CARD, before + BEGIN + counted() + END + after)


if __name__ == "__main__":
    main()
