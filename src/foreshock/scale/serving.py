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
from ray.serve.context import _get_global_client

from foreshock.errors import ScaleError
from foreshock.scale.cluster import LOCAL, PATIENCE, Opening, Share, cluster, last_line, share, wait_for_room
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
    recipe: Recipe,
    opening: Opening,
    address: str = LOCAL,
    count: int | None = None,
    patience: float = PATIENCE,
    **local: Any,
) -> Iterator[Replicas]:
    """The server, while it listens at the recipe's host and port; requests that run are finished at the end.

    Applications that others have on the cluster's Ray Serve are left alone.

    Args:
        address, count, local: see `scale.cluster`.
        patience: seconds to wait for what others hold of the cluster.

    Raises:
        ScaleError: Ray cannot be used, has too little, listens elsewhere or has the route taken, a replica does not start,
            or the store is not for many.
    """
    if count != 1 and recipe.store and "://" not in recipe.store:
        raise ScaleError(
            "Replicas on several machines need one database, which a SQLite file is not; give --store postgresql://… or none."
        )
    settings = recipe.settings
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    with cluster(address, **local):
        shared = _serve_of_others(settings.host, settings.port)
        shares = share(count)
        wait_for_room(shares, patience)
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
            _run(deployment.bind(recipe, opening, one.each.num_cpus), settings.host, settings.port)
            yield one
        finally:
            if NAME in serve.status().applications:
                serve.delete(NAME)
            # A Ray of our own takes Serve along, in silence; on another it stays while anyone has come to use it.
            if not shared and address != LOCAL and not serve.status().applications:
                serve.shutdown()  # type: ignore[no-untyped-call]


def _run(application: Any, host: str, port: int) -> None:
    try:
        quiet = {"log_level": "WARNING", "enable_access_log": False}
        serve.start(http_options={"host": host, "port": port}, logging_config=quiet)
        serve.run(application, name=NAME, route_prefix="/")
    except RuntimeError as problem:
        # What went wrong inside a replica is told by its deployment, not by the error.
        there = serve.status().applications
        said = [one.message for one in there[NAME].deployments.values() if one.message] if NAME in there else []
        raise ScaleError(f"The replicas did not start: {last_line(said[0] if said else problem)}") from problem


def _serve_of_others(host: str, port: int) -> bool:
    """Whether Ray Serve runs already, with one address for all that is on it.

    Raises:
        ScaleError: it listens elsewhere, or another application answers at `/`.
    """
    # Ray tells this only through its dashboard, which a cluster need not have.
    client = _get_global_client(raise_if_no_controller_running=False)
    if client is None:
        return False
    there = client.http_config
    if (there.host, there.port) != (host, port):
        raise ScaleError(
            f"Ray Serve runs on this cluster already and listens at {there.host} port {there.port} for all its applications; "
            f"give --host {there.host} --port {there.port}, or use another cluster."
        )
    for name, application in client.get_serve_details()["applications"].items():
        if application["route_prefix"] == "/":
            raise ScaleError(
                f"Ray Serve's application {name!r} answers at / on this cluster, where Foreshock would; end it "
                f"(ray.serve.delete({name!r})) or use another cluster."
            )
    return True
