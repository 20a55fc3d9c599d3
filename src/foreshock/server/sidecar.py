"""`POST /v1/readings`: conversations and texts of any model, read by the one that is served."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Request
from fastapi.responses import Response
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from foreshock.activations import SKIP
from foreshock.errors import ServerError, TextError, VectorsError
from foreshock.model import Tokens
from foreshock.monitor.following import Heard
from foreshock.monitor.store import Alarm, Conversation
from foreshock.server import requests, wire
from foreshock.server.asking import wanted
from foreshock.server.openai import CLIENT_LEFT, unless_gone
from foreshock.server.replies import raised, read_tokens
from foreshock.server.running import run
from foreshock.server.settings import Served
from foreshock.texts.documents import is_surrogate, parse_transcript

JSON = "application/json"


class Asked(BaseModel):
    """A conversation, or a text."""

    model_config = ConfigDict(extra="forbid")

    messages: Annotated[list[dict[str, Any]], Field(min_length=1)] | None = None
    text: Annotated[str, StringConstraints(min_length=1)] | None = None
    model: Annotated[str, StringConstraints(max_length=200)] | None = None
    """Who wrote it."""
    emotions: Annotated[list[wire.Word], Field(max_length=500)] | None = None
    """Left out: all."""
    layer: int | None = None
    """Of those that the server reads; left out: the one that it shows."""
    tokens: bool = False
    """Whether every token's readings are told too."""
    conversation: wire.Name | None = None
    """Goes on with what was read under that name: readings, means and alarms are then of the new turns alone. Where no
    turn is new, or another request is reading it just now, all is read, and the answer's `conversation` has a number."""


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
    routes = APIRouter()

    @routes.post("/v1/readings", response_model=Answer)
    async def readings(request: Request, asked: Asked) -> Response:
        emotions = wanted(served, asked.emotions if asked.emotions is not None else True)
        _place(served, asked.layer)  # a wrong layer, before anything is run
        tokens, author = await served.desk.encoded(served.engine, partial(_encoded, served, asked))

        async def answer() -> Response:
            found = await _answer(served, asked, tokens, author, emotions)
            return Response(found.model_dump_json(exclude=None if asked.tokens else {"tokens"}), media_type=JSON)

        return await unless_gone(request, answer()) or Response(status_code=CLIENT_LEFT)

    return routes


def _encoded(served: Served, asked: Asked) -> tuple[Tokens, str | None]:
    """The tokens, and who wrote them. Turns are numbered as the messages are, those without words counted in."""
    if asked.messages and len(asked.messages) > served.settings.messages:
        raise TextError(f"A conversation has at most {served.settings.messages} messages here; one has {len(asked.messages)}.")  # fmt: skip
    found = parse_transcript(asked.model_dump(include={"messages", "text", "model"}, exclude_none=True), "The request")
    tokens = served.engine.model.encode(found.document)
    tokens = replace(tokens, turns=[found.messages[turn] for turn in tokens.turns]) if found.messages else tokens
    return tokens, found.written_by


def _place(served: Served, layer: int | None) -> int:
    """Where a layer stands in what the monitor reads."""
    layers = served.engine.monitor.layers
    if layer is not None and layer not in layers:
        raise VectorsError(f"Layer {layer} is not read here; the server reads {', '.join(map(str, layers))}.")
    return served.engine.shown if layer is None else layers.index(layer)


async def _answer(served: Served, asked: Asked, tokens: Tokens, author: str | None, emotions: Sequence[str]) -> Answer:
    name = asked.conversation or uuid.uuid4().hex
    request = requests.Request(tokens, 0, temperature=0, conversation=name, readings=True)
    heard: list[Heard] = []
    alarms: list[Alarm] = []
    async for _, event in run(served, "readings", [request]):
        if isinstance(event, Heard):
            heard.append(event)
        elif isinstance(event, Alarm):
            alarms.append(event)
        elif isinstance(event, requests.Finished):
            name = event.conversation
            if event.reason == "error":
                raise ServerError("The reading broke off by a fault of the server, whose log says why; ask again.")
    k, study = _place(served, asked.layer), str(served.study) if served.study else None
    surrogate = None if author is None else is_surrogate(author, served.engine.model.name, study)
    if served.store and surrogate is not None and heard[0].start == 0:
        told = Conversation(name, datetime.now(UTC), served.engine.model.name, "readings", surrogate)
        served.store.add(told)  # in the place of what the monitor says: that the served model wrote it
    return Answer(
        conversation=name,
        read_by=served.engine.model.name,
        written_by=author,
        surrogate=surrogate,
        layer=served.engine.monitor.layers[k],
        **await asyncio.to_thread(_told, served, heard, k, emotions, asked.tokens),
        alarms=[raised(alarm) for alarm in alarms],
    )


def _told(served: Served, heard: Sequence[Heard], k: int, emotions: Sequence[str], every: bool) -> dict[str, Any]:
    """Means of the whole, as `Readings.mean` has them, and of turns; each token too where `every` is asked for."""
    columns = [served.engine.monitor.emotions.index(word) for word in emotions]
    values = np.concatenate([one.values[:, k, columns] for one in heard])
    roles, turns, own = (
        [entry for one in heard for entry in getattr(one, name)] for name in ("roles", "turns", "content")
    )
    content, numbers = np.array(own), np.array(turns)
    counted = content & (np.arange(len(own)) + heard[0].start >= SKIP)
    if not counted.any():
        counted[-1] = True

    def named(row: Float[np.ndarray, " emotion"]) -> dict[str, float]:
        return dict(zip(emotions, row.round(4).tolist(), strict=True))

    turned = {turn: role for turn, role, inside in zip(turns, roles, own, strict=True) if inside}
    means = [
        TurnRead(turn=turn, role=role, mean=named(values[content & (numbers == turn)].mean(0)))
        for turn, role in turned.items()
    ]
    found: dict[str, Any] = {"mean": named(values[counted].mean(0)), "turns": means}
    if every:
        found["tokens"] = [token for one in heard for token in read_tokens(served, one, emotions, k)]
    return found
