"""Everything that a study reads, in one object; the built-in library, or a user's or a test's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from foreshock.texts import builtin
from foreshock.texts.schema import (
    Activity,
    BenignConversation,
    Binding,
    Deflection,
    Dialogue,
    Exchange,
    Negation,
    Passage,
    PropensityItem,
    Scale,
    Scenario,
    WarningPair,
)


@dataclass(frozen=True, slots=True)
class Library:
    """The texts of a study. A part may be empty: its experiments are then left out."""

    stories: Sequence[Passage]
    """Fitted where `split` is `fit`, only read where it is `test`."""
    neutral: Sequence[Dialogue] = ()
    scenarios: Sequence[Scenario] = ()
    scales: Sequence[Scale] = ()
    exchanges: Sequence[Exchange] = ()
    deflections: Sequence[Deflection] = ()
    negations: Sequence[Negation] = ()
    bindings: Sequence[Binding] = ()
    activities: Sequence[Activity] = ()
    propensity: Sequence[PropensityItem] = ()
    warning_pairs: Sequence[WarningPair] = ()
    benign: Sequence[BenignConversation] = ()

    def to_json(self) -> dict[str, list[Any]]:
        """All texts as plain data, for hashing."""
        return {part.name: [item.model_dump() for item in getattr(self, part.name)] for part in fields(self)}


def builtin_library(stories: Sequence[Passage] | None = None) -> Library:
    """The texts that come with Foreshock, with other stories if any are given."""
    return Library(
        stories=builtin.stories() if stories is None else stories,
        neutral=builtin.neutral_dialogues(),
        scenarios=builtin.scenarios(),
        scales=builtin.scales(),
        exchanges=builtin.exchanges(),
        deflections=builtin.deflections(),
        negations=builtin.negations(),
        bindings=builtin.bindings(),
        activities=builtin.activities(),
        propensity=builtin.propensity_items(),
        warning_pairs=builtin.warning_pairs(),
        benign=builtin.benign_conversations(),
    )
