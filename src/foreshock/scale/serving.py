"""`foreshock serve` on Ray: replicas of the whole server, each with its own engine, behind one address.

Ray Serve's proxy hands each request to one of the replicas. What a replica keeps in memory is its own: its feed of
events, its metrics, its count of a client's requests. What the store keeps is common to all.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI
from ray import serve

from foreshock.errors import ScaleError
from foreshock.scale.cluster import LOCAL, Opening, Share, cluster, share
from foreshock.server.app import create_app
from foreshock.server.recipe import Recipe

NAME = "foreshock"


@serve.deployment
@serve.ingress()
class Replica:
    """One model with its engine; Ray Serve makes it, and makes it anew where it breaks down."""

    def __init__(self, recipe: Recipe, opening: Opening, threads: int) -> None:
        self._open = contextlib.ExitStack()
        self._served = recipe.made(lambda: opening.open(threads), self._open)

    def __serve_build_asgi_app__(self) -> FastAPI:
        """The application, whose engine starts and ends with it."""
        return create_app(self._served)

    def check_health(self) -> None:
        """Ray Serve asks from time to time; an engine that has broken down is replaced."""
        if trouble := self._served.engine.trouble:
            raise RuntimeError(trouble)


@dataclass(frozen=True)
class Replicas:
    """How many, and what each may use."""

    count: int
    each: Share


@contextlib.contextmanager
def served_on_ray(
    recipe: Recipe, opening: Opening, address: str = LOCAL, count: int | None = None, **local: Any
) -> Iterator[Replicas]:
    """The server, while it listens at the recipe's host and port; requests that run are finished at the end.

    Args:
        address, count, local: see `scale.cluster`.

    Raises:
        ScaleError: Ray cannot be used, has too little, a replica does not start, or the store is not for many.
    """
    if count != 1 and recipe.store and "://" not in recipe.store:
        raise ScaleError(
            "Replicas on several machines need one database, which a SQLite file is not; give --store postgresql://… or none."
        )
    settings = recipe.settings
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    with cluster(address, **local):
        shares = share(count)
        one = Replicas(len(shares), shares[0])
        # As many requests as the engine lets run and wait, so that it is the engine that says no; streams of events besides.
        most = 2 * (recipe.rows + recipe.waiting) + 64
        made: Any = Replica
        deployment = made.options(
            num_replicas=one.count,
            max_ongoing_requests=most,
            graceful_shutdown_timeout_s=settings.patience,
            ray_actor_options={"num_cpus": one.each.num_cpus, "num_gpus": one.each.num_gpus},
        )
        try:
            quiet = {"log_level": "WARNING", "enable_access_log": False}
            serve.start(http_options={"host": settings.host, "port": settings.port}, logging_config=quiet)
            serve.run(deployment.bind(recipe, opening, one.each.num_cpus), name=NAME, route_prefix="/")
        except RuntimeError as problem:
            raise ScaleError(
                f"The replicas did not start ({str(problem).strip().splitlines()[0][:200]}); `ray logs` says more."
            ) from problem
        try:
            yield one
        finally:
            serve.shutdown()  # type: ignore[no-untyped-call]
