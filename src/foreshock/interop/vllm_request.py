"""What a request to vLLM asks of Foreshock, read and checked before the engine sees it.

    SamplingParams(extra_args={"foreshock": {"readings": ["desperate"], "steer": {"calm": 0.05}}})

The same as JSON text is taken too, as vLLM's server passes on no nested values:
`"vllm_xargs": {"foreshock": "{\"readings\": true}"}`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float

from foreshock.errors import ServerError, SteeringError
from foreshock.vectors import STRONGEST, EmotionVectors
from foreshock.vectors.estimation import unit

NAME = "foreshock"
"""The key in `extra_args`."""
_SPANS = ("all", "prompt", "reply")
_FIELDS = ("readings", "steer", "span", "prompt", "id")


@dataclass(frozen=True, slots=True)
class Asked:
    """Readings and steering of one request."""

    readings: tuple[str, ...] = ()
    """The emotions that are read."""
    steer: Mapping[str, float] = field(default_factory=dict)
    """Emotion → strength in mean residual norms; strengths of 0 are left out."""
    span: str = "all"
    """Tokens that are steered: all, prompt or reply."""
    prompt: bool = True
    """Whether the prompt's tokens are read too. Then none of them comes from the prefix cache, as what is not
    computed cannot be read."""
    id: str = ""
    """What the readings are handed back under: the request's own id, filled in by the plug-in."""

    def salt(self, own: str | None) -> str | None:
        """The prefix cache's salt: what a steered request computed is no other request's prefix."""
        if not self.steer:
            return own
        return f"{own or ''}|{NAME}:{json.dumps([sorted(self.steer.items()), self.span])}"

    def to_json(self) -> dict[str, Any]:
        """As it travels to the worker."""
        return {
            "readings": list(self.readings),
            "steer": dict(self.steer),
            "span": self.span,
            "prompt": self.prompt,
            "id": self.id,
        }


def asked(extra_args: Mapping[str, Any] | None, vectors: EmotionVectors) -> Asked | None:
    """What `extra_args` of a request ask for; None: nothing.

    Raises:
        ServerError: it cannot be understood.
        UnknownEmotion: the vectors lack an emotion.
        SteeringError: a strength is no number within `STRONGEST`, or there is no such span.
    """
    given = (extra_args or {}).get(NAME)
    if given is None:
        return None
    if isinstance(given, str):
        try:
            given = json.loads(given)
        except (ValueError, RecursionError) as problem:
            raise ServerError(f"The request's {NAME!r} is no JSON ({problem}); give an object.") from problem
    if not isinstance(given, Mapping) or not set(given) <= set(_FIELDS):
        raise ServerError(f"The request's {NAME!r} is {given!r}; give an object with {', '.join(_FIELDS[:-1])}.")
    found = Asked(
        _words(given.get("readings", False), vectors),
        _doses(given.get("steer", {}), vectors),
        given.get("span", "all"),
        given.get("prompt", True),
        str(given.get("id", "")),
    )
    if not isinstance(found.prompt, bool):
        raise ServerError(f"`prompt` is {found.prompt!r}; give true, or false where only the reply is to be read.")
    if found.span not in _SPANS:
        raise SteeringError(f"There is no span {found.span!r}; give one of {', '.join(_SPANS)}.")
    return found if found.readings or found.steer else None


def added(doses: Mapping[str, float], vectors: EmotionVectors, layer: int) -> Float[np.ndarray, " hidden"]:
    """What the doses add to the stream after a layer: the same as `Steering.vector`, whose module opens models."""
    total = np.zeros(vectors.directions.shape[-1], np.float32)
    for emotion, strength in doses.items():
        total += strength * unit(vectors[emotion].at(layer))
    return total * vectors.norm_at(layer)


def check_fits(vector: Float[np.ndarray, " hidden"], largest: float) -> None:
    """Refuse what would overflow where the model computes: its infinities would lie in the key-value cache for others.

    Args:
        largest: number that the model's dtype holds. What is added may take up an eighth of it; the rest is the stream's
            own, to which later blocks add too.

    Raises:
        SteeringError: it is too large.
    """
    height = float(np.abs(vector).max())
    if not height <= largest / 8:
        raise SteeringError(
            f"What is to be added reaches {height:.3g}, too much for this model's numbers, which end at {largest:.3g}; "
            "give smaller strengths, or serve the model in bfloat16."
        )


def _words(given: Any, vectors: EmotionVectors) -> tuple[str, ...]:
    if isinstance(given, bool):
        return vectors.emotions if given else ()
    if not isinstance(given, list | tuple) or not all(isinstance(word, str) for word in given):
        raise ServerError(f"`readings` is {given!r}; give true for all emotions, or a list of their names.")
    return tuple(dict.fromkeys(vectors[word].name for word in given))


def _doses(given: Any, vectors: EmotionVectors) -> dict[str, float]:
    if not isinstance(given, Mapping):
        raise SteeringError(f"`steer` is {given!r}; give strengths by emotion, e.g. {{'calm': 0.05}}.")
    doses: dict[str, float] = {}
    for word, strength in given.items():
        number = isinstance(strength, int | float) and not isinstance(strength, bool)
        if not number or not abs(strength) <= STRONGEST:  # "not": a NaN is no number either
            raise SteeringError(
                f"The strength of {word!r} is {strength!r}; give a number between {-STRONGEST:g} and {STRONGEST:g}, "
                "e.g. 0.05."
            )
        doses[vectors[word].name] = float(strength)
    return {word: strength for word, strength in doses.items() if strength}
