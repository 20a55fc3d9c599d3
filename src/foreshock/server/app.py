"""All routes in one application, with its beginning and its end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from datetime import timedelta
from importlib.metadata import version

from fastapi import FastAPI

from foreshock.errors import StoreError
from foreshock.server import dashboard, feed, metrics, openai, pages, sidecar
from foreshock.server.faults import DESCRIBED, answer_faults
from foreshock.server.guarding import guard
from foreshock.server.settings import Served

EVERY = 3600
"""Seconds between two looks for conversations that are to be forgotten."""
_log = logging.getLogger(__name__)


def create_app(served: Served) -> FastAPI:
    """The application. Its engine runs from the application's start to its end, where running replies are finished."""

    @contextlib.asynccontextmanager
    async def running(_app: FastAPI) -> AsyncIterator[None]:
        served.engine.start()
        forgetting = asyncio.create_task(_forget(served))
        try:
            yield
        finally:
            forgetting.cancel()
            served.feed.close()
            await asyncio.to_thread(served.engine.stop, served.settings.patience)

    # No page of documentation: FastAPI's own asks other servers for its scripts.
    app = FastAPI(title="Foreshock", version=version("foreshock"), lifespan=running, docs_url=None, redoc_url=None)
    for module in (openai, sidecar, feed, metrics, dashboard, pages):
        app.include_router(module.router(served), responses=DESCRIBED)
    answer_faults(app)
    guard(app, served.settings)
    served.engine.listen(served.feed.take)
    served.engine.listen(served.metrics.take)
    return app


async def _forget(served: Served) -> None:
    """Conversations go once they are as old as the settings say."""
    days, store = served.settings.days, served.store
    while days is not None and store is not None:
        try:
            await asyncio.to_thread(store.forget, timedelta(days=days))
        except StoreError as problem:
            _log.warning("Old conversations could not be forgotten: %s", problem)
        await asyncio.sleep(EVERY)
