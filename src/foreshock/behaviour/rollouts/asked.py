"""The steering that a generate call asks for: from its config, or from the model's arguments as the default.

GenerateConfig(extra_body={"foreshock": {"steer": {"desperate": 0.05}, "span": "all"}})
--extra-body '{"foreshock": {"steer": {"desperate": 0.05}}}'
-M steer=desperate=0.05,calm=-0.02 -M span=reply
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from foreshock.emotions import lookup
from foreshock.errors import SteeringError

KEY = "foreshock"
"""Where in `extra_body`, in a reply's metadata and in a sample's metadata Foreshock's own part stands."""
Span = Literal["all", "prompt", "reply"]


@dataclass(frozen=True)
class Asked:
    """Emotion → strength in mean residual norms, and the tokens that are steered."""

    steer: Mapping[str, float] = field(default_factory=dict)
    span: Span = "all"


def asked(extra_body: Mapping[str, Any] | None, default: Asked) -> Asked:
    """What a config's `extra_body` asks for; what it leaves open is as in `default`.

    Raises:
        SteeringError: it cannot be read.
    """
    own = (extra_body or {}).get(KEY, {})
    if not isinstance(own, Mapping) or set(own) - {"steer", "span"}:
        raise SteeringError(
            f"extra_body[{KEY!r}] is {own!r}; it has the keys steer and span, "
            'e.g. {"steer": {"desperate": 0.05}, "span": "all"}.'
        )
    return Asked(
        doses(own["steer"]) if "steer" in own else default.steer,
        spanned(own["span"]) if "span" in own else default.span,
    )


def doses(value: str | Sequence[str] | Mapping[str, Any] | None) -> dict[str, float]:
    """Emotion → strength, from a mapping, or from `desperate=0.05` and lists of such, as a command line has them.

    Raises:
        SteeringError: it cannot be read. UnknownEmotion: an emotion is not in the catalogue.
    """
    if not value:
        return {}
    pairs: list[tuple[str, Any]]
    if isinstance(value, Mapping):
        pairs = list(value.items())
    else:
        parts = value.split(",") if isinstance(value, str) else [str(part) for part in value]
        pairs = [(word.strip(), strength) for word, _, strength in (part.rpartition("=") for part in parts)]
    found: dict[str, float] = {}
    for word, strength in pairs:
        try:
            number = float(strength)
        except (TypeError, ValueError):
            number = math.nan
        if not word or not math.isfinite(number):
            raise SteeringError(
                f"The steering {value!r} cannot be read; write emotions and strengths, e.g. desperate=0.05,calm=-0.02."
            )
        found[lookup(str(word)).word] = number
    return found


def spanned(value: Any) -> Span:
    """Raises `SteeringError` unless it is one of the spans that a rollout can steer."""
    if value not in get_args(Span):
        raise SteeringError(f"There is no span {value!r} in a rollout; give all, prompt or reply.")
    return value
