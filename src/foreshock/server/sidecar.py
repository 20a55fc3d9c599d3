"""`POST /v1/readings`: conversations and texts of any model, read by the one that is served."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from foreshock.errors import TextError
from foreshock.model import Tokens
from foreshock.monitor.following import Heard
from foreshock.monitor.store import Alarm
from foreshock.readings import SKIP
from foreshock.server import requests, wire
from foreshock.server.asking import wanted
from foreshock.server.openai import ERRORS, unless_gone
from foreshock.server.replies import raised, read_tokens
from foreshock.server.running import run
from foreshock.server.settings import Served
from foreshock.texts.documents import parse_transcript, same_model


class Asked(BaseModel):
    """A conversation, or a text."""

    model_config = ConfigDict(extra="forbid")

    messages: Annotated[list[dict[str, Any]], Field(min_length=1)] | None = None
    text: Annotated[str, StringConstraints(min_length=1)] | None = None
    model: Annotated[str, StringConstraints(max_length=200)] | None = None
    """Who wrote it."""
    emotions: Annotated[list[wire.Word], Field(max_length=500)] | None = None
    """Left out: all."""
    tokens: bool = False
    """Whether every token's readings are told too."""
    conversation: wire.Name | None = None
    """Goes on with what was read under that name: only turns that are new are read, and told."""


class TurnRead(BaseModel):
    """A message's mean readings, over its own words."""

    turn: int
    role: str
    mean: dict[str, float]


class Answer(BaseModel):
    """What was read."""

    conversation: str
    read_by: str
    written_by: str | None
    surrogate: bool | None
    """Whether another model wrote it than the one that read it; None: its author is not known."""
    layer: int
    mean: dict[str, float]
    """Over the words that were read, without the template's and the first few tokens."""
    turns: list[TurnRead]
    tokens: list[wire.TokenRead] | None = None
    alarms: list[wire.AlarmRaised]


def router(served: Served) -> APIRouter:
    """The route."""
    routes = APIRouter(responses=ERRORS)

    @routes.post("/v1/readings", response_model=Answer)
    async def readings(request: Request, asked: Asked) -> Response:
        emotions = wanted(served, asked.emotions if asked.emotions is not None else True)
        tokens = await asyncio.to_thread(_encoded, served, asked)
        return await unless_gone(request, _answer(served, asked, tokens, emotions))

    return routes


def _encoded(served: Served, asked: Asked) -> Tokens:
    """Turns are numbered as the messages are, those without words counted in."""
    if asked.messages and len(asked.messages) > served.settings.messages:
        raise TextError(f"A conversation has at most {served.settings.messages} messages here; one has {len(asked.messages)}.")  # fmt: skip
    found = parse_transcript(asked.model_dump(include={"messages", "text"}, exclude_none=True), "The request")
    tokens = served.engine.model.encode(found.document)
    return replace(tokens, turns=[found.messages[turn] for turn in tokens.turns]) if found.messages else tokens


async def _answer(served: Served, asked: Asked, tokens: Tokens, emotions: tuple[str, ...]) -> JSONResponse:
    name = asked.conversation or uuid.uuid4().hex
    # The engine reads a prompt; the one token that it chooses after it is never run.
    request = requests.Request(tokens, 1, temperature=0, conversation=name, readings=True)
    heard, alarms = [], []
    async for _, event in run(served, "readings", [request]):
        if isinstance(event, Heard):
            heard.append(event)
        elif isinstance(event, Alarm):
            alarms.append(event)
    told = [token for one in heard for token in read_tokens(served, one, emotions)]
    places = [place for one in heard for place in range(one.start, one.start + len(one))]
    own = [token for token in told if token.own]
    # As `Readings.mean` has it: without the first few, where the attention sink sits.
    counted = [token for token, place in zip(told, places, strict=True) if token.own and place >= SKIP] or told[-1:]
    turns = {token.turn: token.role for token in own}
    model = served.engine.model.name
    answer = Answer(
        conversation=heard[0].conversation if heard else name,
        read_by=model,
        written_by=asked.model,
        surrogate=None if asked.model is None else not same_model(asked.model, model),
        layer=served.engine.layer,
        mean=_mean(counted),
        turns=[TurnRead(turn=k, role=role, mean=_mean([one for one in own if one.turn == k])) for k, role in turns.items()],
        tokens=told if asked.tokens else None,
        alarms=[raised(alarm) for alarm in alarms],
    )  # fmt: skip
    return JSONResponse(answer.model_dump(exclude=None if asked.tokens else {"tokens"}))


def _mean(tokens: Sequence[wire.TokenRead]) -> dict[str, float]:
    if not tokens:
        return {}
    rows: list[Mapping[str, float]] = [token.readings for token in tokens]
    values = np.array([list(row.values()) for row in rows]).mean(0).round(4)
    return dict(zip(rows[0], values.tolist(), strict=True))
