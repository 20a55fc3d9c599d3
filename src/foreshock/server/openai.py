"""OpenAI's routes: chat and text completions, the model, health."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
import uuid
from collections.abc import AsyncGenerator, Coroutine
from functools import partial
from typing import Any, TypeVar

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from foreshock.errors import ForeshockError
from foreshock.server import asking, wire
from foreshock.server.asking import Asked
from foreshock.server.faults import fault
from foreshock.server.replies import Delta, Reply, logprobs, text_logprobs
from foreshock.server.running import Numbered, run
from foreshock.server.settings import Served

T = TypeVar("T")
STREAMED: dict[int | str, dict[str, Any]] = {200: {"content": {"text/event-stream": {}}}}
CLIENT_LEFT = 499
"""What nginx calls a request whose client went away; nobody is there to read it."""


def router(served: Served) -> APIRouter:
    """The routes."""
    routes = APIRouter()
    began = int(time.time())

    @routes.post("/v1/chat/completions", response_model=wire.ChatCompletion, responses=STREAMED)
    async def chat_completions(request: Request, body: wire.ChatRequest) -> Response:
        asked = await served.desk.encoded(served.engine, partial(asking.chat, served, body))
        call = Call(served, "chat", body, asked, tools=bool(body.tools) and body.tool_choice != "none")
        return await call.answer(request)

    @routes.post("/v1/completions", response_model=wire.TextCompletion, responses=STREAMED)
    async def completions(request: Request, body: wire.TextRequest) -> Response:
        asked = await served.desk.encoded(served.engine, partial(asking.text, served, body))
        return await Call(served, "completions", body, asked, tools=False).answer(request)

    @routes.get("/v1/models")
    async def models() -> wire.Models:
        return wire.Models(data=[wire.Model(id=served.engine.model.name, created=began)])

    @routes.get("/v1/models/{name:path}")
    async def model(name: str) -> wire.Model:
        if name != served.engine.model.name:
            raise HTTPException(404, f"There is no model {name[:200]!r} here; {served.engine.model.name} is served.")
        return wire.Model(id=name, created=began)

    @routes.get("/health", response_model=dict[str, str])
    async def health() -> JSONResponse:
        trouble = served.engine.trouble
        return JSONResponse({"status": trouble or "ok"}, 503 if trouble else 200)

    return routes


class Call:
    """One call of a route: its requests run, and what comes of them goes back whole or as it comes."""

    def __init__(self, served: Served, route: str, body: wire.Common, asked: Asked, tools: bool) -> None:
        self._served, self._route, self._body, self._asked = served, route, body, asked
        self._chat = route == "chat"
        self._replies = [Reply(served, asked, request, tools) for request in asked.requests]
        self._head = {
            "id": f"{'chatcmpl' if self._chat else 'cmpl'}-{uuid.uuid4().hex}",
            "created": int(time.time()),
            "model": served.engine.model.name,
        }

    async def answer(self, request: Request) -> Response:
        """The answer; nothing runs on where the client has gone."""
        events = run(self._served, self._route, self._asked.requests)
        if not self._body.stream:
            return await unless_gone(request, self._whole(events)) or Response(status_code=CLIENT_LEFT)
        first = None
        try:
            first = await unless_gone(request, _next(events))  # what is refused is refused with its own status
        finally:
            if first is None:
                await events.aclose()
        if first is None:
            return Response(status_code=CLIENT_LEFT)
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(self._stream(first, events), media_type="text/event-stream", headers=headers)

    async def _whole(self, events: AsyncGenerator[Numbered]) -> Response:
        async for number, event in events:
            self._replies[number].take(event)
        choices = [self._choice(number, reply) for number, reply in enumerate(self._replies)]
        kind = wire.ChatCompletion if self._chat else wire.TextCompletion
        found = kind(**self._head, choices=choices, usage=self._usage())  # type: ignore[arg-type]
        plain = found.model_dump(
            exclude={"choices": {"__all__": {"foreshock"}}} if self._asked.emotions is None else None
        )
        return JSONResponse(_without_empty_calls(plain))

    def _choice(self, number: int, reply: Reply) -> wire.Choice | wire.TextChoice:
        own, extension = reply.whole, reply.readings(reply.whole)
        if not self._chat:
            return wire.TextChoice(index=number, text=own.text, logprobs=text_logprobs(own), finish_reason=reply.reason, foreshock=extension)  # fmt: skip
        said = wire.Reply(content=own.text or (None if own.calls else ""), tool_calls=own.calls or None)
        return wire.Choice(index=number, message=said, logprobs=logprobs(own), finish_reason=reply.reason, foreshock=extension)  # fmt: skip

    def _usage(self) -> wire.Usage:
        ended = [reply.whole.finished for reply in self._replies if reply.whole.finished]
        prompts = {id(request.prompt): len(request.prompt) for request in self._asked.requests}
        asked, written = sum(prompts.values()), sum(one.completion_tokens for one in ended)
        return wire.Usage(prompt_tokens=asked, completion_tokens=written, total_tokens=asked + written)

    async def _stream(self, first: Numbered, events: AsyncGenerator[Numbered]) -> AsyncGenerator[bytes]:
        try:
            for number in range(len(self._replies) if self._chat else 0):
                yield self._chunk(number, {"role": "assistant", "content": ""}, None, Delta())
            number, event = first
            while True:
                reply = self._replies[number]
                if delta := reply.take(event):
                    yield self._part(number, reply, delta)
                number, event = await anext(events)
        except StopAsyncIteration:
            if self._body.stream_options and self._body.stream_options.include_usage:
                yield _line({**self._kind(), "choices": [], "usage": self._usage().model_dump()})
            yield b"data: [DONE]\n\n"
        except ForeshockError as problem:
            yield _line(fault(problem)[1])
        finally:
            await events.aclose()

    def _part(self, number: int, reply: Reply, delta: Delta) -> bytes:
        said: dict[str, Any] = {"content": delta.text} if delta.text or delta.logprobs else {}
        if delta.calls:
            before = len(reply.whole.calls) - len(delta.calls)
            said["tool_calls"] = [{"index": before + k} | call.model_dump() for k, call in enumerate(delta.calls)]
        return self._chunk(number, said, reply.reason if delta.finished else None, delta)

    def _chunk(self, number: int, said: dict[str, Any], reason: str | None, delta: Delta) -> bytes:
        reply = self._replies[number]
        choice: dict[str, Any] = {"index": number, "finish_reason": reason}
        if self._chat:
            found = logprobs(delta)
            choice |= {"delta": said, "logprobs": found.model_dump() if found else None}
        else:
            old = text_logprobs(delta, len(reply.whole.text) - len(delta.text))
            choice |= {"text": delta.text, "logprobs": old.model_dump() if old else None}
        body = {**self._kind(), "choices": [choice]}
        extension = reply.readings(delta)
        if extension and (extension.tokens or extension.alarms or reason):
            body["foreshock"] = extension.model_dump(exclude_none=True)
            body["foreshock"]["index"] = number
        return _line(body)

    def _kind(self) -> dict[str, Any]:
        return {**self._head, "object": "chat.completion.chunk" if self._chat else "text_completion"}


def _line(found: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(found, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"


def _without_empty_calls(answer: dict[str, Any]) -> dict[str, Any]:
    """OpenAI leaves `tool_calls` out where there are none."""
    for choice in answer["choices"]:
        if "message" in choice and choice["message"]["tool_calls"] is None:
            del choice["message"]["tool_calls"]
    return answer


async def _next(events: AsyncGenerator[Numbered]) -> Numbered:
    return await anext(events)


async def unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T | None:
    """The result, or None where the client goes away before: then the work is broken off."""

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    task, left = asyncio.ensure_future(work), asyncio.ensure_future(gone())
    try:
        await asyncio.wait({task, left}, return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        for one in (task, left):
            one.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await one
