"""What is asked of the engine, and what comes back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from foreshock.model import Tokens
from foreshock.monitor.following import Heard
from foreshock.monitor.store import Alarm
from foreshock.steering import Steering


@dataclass(frozen=True)
class Request:
    """One reply to one prompt."""

    prompt: Tokens
    most: int
    """New tokens; 0 only reads the prompt."""
    temperature: float = 1.0
    """0 takes the likeliest token."""
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    logprobs: int | None = None
    """How many of the likeliest tokens are told of beside each; None: no log-probabilities."""
    steering: Steering | None = None
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    conversation: str | None = None
    """Its name for the monitor and the store."""
    readings: bool = False
    """Whether its readings are told; alarms always are."""


@dataclass(frozen=True, slots=True)
class Logprob:
    """A token with its natural log-probability before temperature and penalties."""

    id: int
    logprob: float


@dataclass(frozen=True, slots=True)
class Written:
    """A token that the model chose, and the text that may be shown by now; what may begin a stop string is held back."""

    text: str
    id: int
    logprob: Logprob | None = None
    likeliest: tuple[Logprob, ...] = ()


@dataclass(frozen=True, slots=True)
class Finished:
    """The reply is over."""

    reason: Literal["stop", "length", "alarm", "error"]
    prompt_tokens: int
    completion_tokens: int
    conversation: str
    """Its name for the monitor and the store."""


Event = Written | Heard | Alarm | Finished
