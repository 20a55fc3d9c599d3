"""One call's requests, run together in a task of their own, measured and bounded in time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Sequence

from foreshock.errors import TimedOut
from foreshock.monitor.store import Alarm
from foreshock.server.requests import Event, Finished, Request, Written
from foreshock.server.settings import Served
from foreshock.server.tracing import Operation, span

Numbered = tuple[int, Event]


async def run(served: Served, route: str, requests: Sequence[Request]) -> AsyncGenerator[Numbered]:
    """What comes of the requests, each event with the number of its request; leaving gives all their places free.

    A task of its own does the waiting, since a streamed answer is begun in one task and sent in another.

    Raises:
        Busy, ServerError, TooLong: as `Engine.submit`.
        TimedOut: the whole takes longer than the server's settings let it.
    """
    events: asyncio.Queue[Numbered | None] = asyncio.Queue()
    task = asyncio.create_task(_gather(served, route, requests, events))
    try:
        while (event := await events.get()) is not None:
            yield event
        await task  # raises what went wrong
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await task


async def _gather(
    served: Served, route: str, requests: Sequence[Request], events: asyncio.Queue[Numbered | None]
) -> None:
    async def one(number: int, request: Request) -> None:
        async with contextlib.aclosing(served.engine.submit(request)) as own:
            async for event in own:
                if isinstance(event, Written):
                    timed.first_token()
                if isinstance(event, Alarm):
                    traced.alarm(event)
                if isinstance(event, Finished):
                    timed.finished(event)
                    traced.finished(event)
                events.put_nowait((number, event))

    model = served.engine.model.name
    operation: Operation = "chat" if route == "chat" else "text_completion"
    try:
        with served.metrics.request(route) as timed, span(operation, model, requests[0]) as traced:
            async with asyncio.timeout(served.settings.seconds), asyncio.TaskGroup() as group:
                for number, request in enumerate(requests):
                    group.create_task(one(number, request))
    except TimeoutError:
        raise TimedOut(
            f"The reply took longer than the {served.settings.seconds:g} seconds that a request may take here; ask for fewer tokens."
        ) from None
    except ExceptionGroup as problems:
        raise problems.exceptions[0] from None
    finally:
        events.put_nowait(None)
