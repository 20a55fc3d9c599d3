"""What the server allows, and the parts that its routes share."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from foreshock.errors import ServerError
from foreshock.server.desk import Desk

if TYPE_CHECKING:
    from foreshock.monitor.store import Store
    from foreshock.server.engine import Engine
    from foreshock.server.feed import Feed
    from foreshock.server.metrics import Metrics
    from foreshock.vectors import EmotionVectors


@dataclass(frozen=True)
class Settings:
    """Limits of the server, and whom it lets in.

    Raises:
        ServerError: a public address without an API key, or a key too short to be one.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    api_key: str | None = field(default=None, repr=False)
    """Asked for in `Authorization: Bearer …`; None asks for none."""
    body: int = 4_000_000
    """Bytes of a request."""
    messages: int = 500
    """Messages of one conversation."""
    tokens: int = 2048
    """New tokens of one reply."""
    choices: int = 8
    """Replies to one prompt."""
    per_minute: int = 600
    """Requests a minute of one client."""
    seconds: float = 300
    """Longest that one request may take, its waiting included."""
    patience: float = 30
    """Seconds that running replies get to end when the server stops."""
    days: float | None = None
    """Age at which conversations are forgotten; None: never."""

    def __post_init__(self) -> None:
        if self.api_key is not None and len(self.api_key) < 16:
            raise ServerError("An API key has at least 16 characters; make one with `openssl rand -hex 24`.")
        if self.api_key is None and not is_loopback(self.host):
            raise ServerError(
                f"{self.host} can be reached from other machines, so an API key is needed: set FORESHOCK_API_KEY, or "
                "listen on 127.0.0.1."
            )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address. A name other than localhost may mean anything, so it is not."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True)
class Served:
    """What the routes share."""

    engine: Engine
    vectors: EmotionVectors
    settings: Settings
    feed: Feed
    metrics: Metrics
    store: Store | None = None
    words: bool = True
    """Whether the store keeps words."""
    study: Path | None = None
    """The folder of the study that the vectors are from: its findings.json is shown."""
    desk: Desk = field(default_factory=Desk)
