"""From what the engine tells to what a client gets: a reply as it grows, and as a whole."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from foreshock.errors import ServerError
from foreshock.model import LanguageModel
from foreshock.monitor.following import Heard
from foreshock.monitor.store import Alarm
from foreshock.server.asking import Asked
from foreshock.server.calls import CallReader
from foreshock.server.requests import Event, Finished, Logprob, Request, Written
from foreshock.server.settings import Served
from foreshock.server.wire import (
    AlarmRaised,
    Likely,
    Logprobs,
    Readings,
    Reason,
    TextLogprobs,
    TokenLogprob,
    TokenRead,
    ToolCall,
)


@dataclass
class Delta:
    """What an event adds to a reply."""

    text: str = ""
    logprobs: list[TokenLogprob] = field(default_factory=list)
    calls: list[ToolCall] = field(default_factory=list)
    tokens: list[TokenRead] = field(default_factory=list)
    alarms: list[AlarmRaised] = field(default_factory=list)
    finished: Finished | None = None

    def __bool__(self) -> bool:
        return bool(self.text or self.logprobs or self.calls or self.finished)


class Reply:
    """One reply: takes the engine's events, and gives what each adds. Readings wait for the next text to go with."""

    def __init__(self, served: Served, asked: Asked, request: Request, tools: bool) -> None:
        self._served, self._asked, self._request = served, asked, request
        self._emotions = asked.emotions or ()
        self.calls = CallReader() if tools else None
        self.whole = Delta()
        self._waiting = Delta()

    def take(self, event: Event) -> Delta:
        """What an event adds. Raises `ServerError` where the reply has broken off by a fault."""
        if isinstance(event, Heard):
            self._waiting.tokens += read_tokens(self._served, event, self._emotions)
            return Delta()
        if isinstance(event, Alarm):
            self._waiting.alarms.append(raised(event))
            return Delta()
        delta = self._added(event)
        if delta:
            delta.tokens, delta.alarms = self._waiting.tokens, self._waiting.alarms
            self._waiting = Delta()
        for name in ("text", "logprobs", "calls", "tokens", "alarms"):
            setattr(self.whole, name, getattr(self.whole, name) + getattr(delta, name))
        self.whole.finished = delta.finished
        return delta

    def _added(self, event: Written | Finished) -> Delta:
        if isinstance(event, Written):
            return replace(self._shown(event.text), logprobs=self._logprobs(event))
        if event.reason == "error":
            raise ServerError("The reply broke off by a fault of the server, whose log says why; ask again.")
        return replace(self._shown("", last=True), finished=event)

    def _shown(self, text: str, last: bool = False) -> Delta:
        if self.calls is None:
            return Delta(text)
        before = len(self.calls.calls)
        return Delta(self.calls.take(text, last), calls=self.calls.calls[before:])

    def _logprobs(self, event: Written) -> list[TokenLogprob]:
        if event.logprob is None:
            return []
        model = self._served.engine.model
        top = [likely(model, own) for own in event.likeliest]
        return [TokenLogprob(**likely(model, event.logprob).model_dump(), top_logprobs=top)]

    @property
    def reason(self) -> Reason:
        """Why the reply is over, in OpenAI's words."""
        if self.calls is not None and self.calls.calls:
            return "tool_calls"
        finished = self.whole.finished
        return "content_filter" if finished and finished.reason == "alarm" else finished.reason if finished else "stop"  # type: ignore[return-value]

    def readings(self, delta: Delta) -> Readings | None:
        """Foreshock's part of an answer; None where it is not asked for."""
        if self._asked.emotions is None:
            return None
        name = delta.finished.conversation if delta.finished else ""
        return Readings(
            layer=self._served.engine.layer, conversation=name, tokens=delta.tokens, alarms=delta.alarms,
            mean=self._mean(delta.tokens) if delta is self.whole else None, note=self._asked.note if delta.finished else None,
        )  # fmt: skip

    def _mean(self, tokens: Sequence[TokenRead]) -> dict[str, float] | None:
        """Over the tokens of this reply that have been read; the prompt's turns are before its own."""
        last = max((token.turn for token in tokens), default=0)
        own = [list(token.readings.values()) for token in tokens if token.own and token.turn == last]
        return dict(zip(self._emotions, np.mean(own, 0).round(4).tolist(), strict=True)) if own and own[0] else None


def read_tokens(served: Served, heard: Heard, emotions: Sequence[str], place: int | None = None) -> Iterator[TokenRead]:
    """What was heard, a token each, with the readings that are wanted.

    Args:
        place: of the layer in `Heard.values`; None: the one that is shown.
    """
    place = served.engine.shown if place is None else place
    every = served.engine.monitor.emotions
    columns = [every.index(word) for word in emotions]
    for k, row in enumerate(heard.values[:, place, columns].round(4).tolist()):
        readings = dict(zip(emotions, row, strict=True))
        yield TokenRead.model_construct(
            token=heard.start + k,
            text=heard.pieces[k],
            role=heard.roles[k],
            turn=heard.turns[k],
            own=heard.content[k],
            readings=readings,
        )


def likely(model: LanguageModel, one: Logprob) -> Likely:
    """A token with its text and bytes."""
    text = model.tokenizer.decode([one.id])
    return Likely(token=text, logprob=one.logprob, bytes=list(text.encode("utf-8", "replace")))


def raised(alarm: Alarm) -> AlarmRaised:
    """An alarm as JSON takes it; what is no number is left out."""
    score, threshold = (value if math.isfinite(value) else None for value in (alarm.score, alarm.threshold))
    return AlarmRaised(
        conversation=alarm.conversation, rule=alarm.rule, score=score, threshold=threshold, p=alarm.p,
        token=alarm.token, turn=alarm.turn, role=alarm.role, text=alarm.text, at=alarm.at.isoformat(),
    )  # fmt: skip


def logprobs(reply: Delta) -> Logprobs | None:
    """Of a chat reply; None where they were not asked for."""
    return Logprobs(content=reply.logprobs) if reply.logprobs else None


def text_logprobs(reply: Delta, offset: int = 0) -> TextLogprobs | None:
    """Of a text completion, in its older form."""
    if not reply.logprobs:
        return None
    lengths = [len(one.token) for one in reply.logprobs]
    return TextLogprobs(
        tokens=[one.token for one in reply.logprobs],
        token_logprobs=[one.logprob for one in reply.logprobs],
        top_logprobs=[{top.token: top.logprob for top in one.top_logprobs} for one in reply.logprobs],
        text_offset=[offset + sum(lengths[:k]) for k in range(len(lengths))],
    )
