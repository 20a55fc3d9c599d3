"""`foreshock serve`: an OpenAI-compatible server with readings, alarms and a dashboard."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from foreshock.cli.options import Device, Dtype, DtypeOption, Elsewhere, StudyName, check_on_ray, found_vectors, opened
from foreshock.cli.outlets import SECRET, Alarms, Rules, WebhookTo, Words, check_webhook, found_rules, rules_file
from foreshock.errors import MissingExtra, ServerError

if TYPE_CHECKING:
    from foreshock.server.recipe import Recipe
    from foreshock.server.settings import Served, Settings

KEY = "FORESHOCK_API_KEY"  # the name of a variable, not its value


class OnAlarmOption(StrEnum):
    """What an alarm does besides being told."""

    note = "note"
    stop = "stop"


def serve(
    study: StudyName = "embedded",
    host: Annotated[
        str, typer.Option(help=f"Address to listen on; one that others can reach needs {KEY}.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.", min=0, max=65535)] = 8000,
    rules: Rules = None,
    on_alarm: Annotated[
        OnAlarmOption, typer.Option(help="note: only tell it; stop: end the reply (finish reason content_filter).")
    ] = OnAlarmOption.note,
    store: Annotated[
        str | None,
        typer.Option(
            help="Where conversations are kept: a SQLite file or a postgresql:// address; left out: conversations.db beside "
            "the vectors; `none` keeps nothing.",
            show_default=False,
        ),
    ] = None,
    text: Words = True,
    forget_after: Annotated[
        float | None,
        typer.Option(metavar="DAYS", help="Forget conversations of this age.", min=0.01, show_default=False),
    ] = None,
    alarms: Alarms = None,
    webhook: WebhookTo = None,
    rows: Annotated[int, typer.Option(help="Requests that run at once.", min=1, max=512)] = 16,
    waiting: Annotated[
        int, typer.Option(help="Requests that may wait besides; more are told to come again.", min=0)
    ] = 64,
    room: Annotated[
        int, typer.Option(help="Tokens of all running requests that are kept in memory.", min=256)
    ] = 16_384,
    tokens: Annotated[int, typer.Option(help="Most new tokens of a reply.", min=1)] = 2048,
    seconds: Annotated[float, typer.Option(help="Longest that a request may take.", min=1)] = 300,
    per_minute: Annotated[int, typer.Option(help="Requests a minute of one client.", min=1)] = 600,
    model: Elsewhere = None,
    dtype: DtypeOption = Dtype.auto,
    device: Device = None,
    ray: Annotated[
        str | None,
        typer.Option(
            "--ray",
            metavar="ADDRESS",
            help="Replicas on Ray: `local` starts one on this machine, else `auto`, HOST:PORT or ray://…; the store is then "
            "a postgresql:// address or none.",
            show_default=False,
        ),
    ] = None,
    replicas: Annotated[
        int | None,
        typer.Option(
            help="With --ray: how many, all with the same share; left out: one for each GPU, or without any one for each machine.",
            min=1,
            show_default=False,
        ),
    ] = None,
) -> None:
    """Serve a model to OpenAI clients, with live readings, alarms, metrics and a dashboard.

    Examples: `foreshock serve embedded` · `FORESHOCK_API_KEY=… foreshock serve study/qwen --host 0.0.0.0 --store
    postgresql://…`
    """
    check_on_ray(ray, replicas, "--replicas")
    path = found_vectors(study)
    check_webhook(webhook)
    _check_installed()
    from foreshock.server.settings import Settings

    settings = Settings(
        host,
        port,
        os.environ.get(KEY) or None,
        tokens=tokens,
        seconds=seconds,
        per_minute=per_minute,
        days=forget_after,
    )
    from foreshock.server.recipe import Recipe
    from foreshock.vectors import EmotionVectors

    found_rules(rules, path)  # mistakes, before the model is opened
    name = model or EmotionVectors.load(path).manifest.get("model", {}).get("name")
    file = rules_file(rules, path)
    kept = str(path.parent.absolute() / "conversations.db") if ray is None else None
    recipe = Recipe(
        path.absolute(), settings, file and file.absolute(),
        None if store == "none" else store or kept, text, on_alarm.value, alarms and alarms.absolute(), webhook,
        os.environ.get(SECRET, ""), rows, waiting, room,
    )  # fmt: skip
    if ray is not None:
        _run_on_ray(recipe, name, dtype, device, ray, replicas)
        return
    listening = _listening(settings)
    from foreshock.server.tracing import set_up

    set_up()
    with contextlib.ExitStack() as stack:
        run(recipe.made(lambda: opened(name, dtype, device), stack), listening)


def _run_on_ray(
    recipe: Recipe, name: str | None, dtype: Dtype, device: str | None, address: str, count: int | None
) -> None:
    from rich.console import Console

    from foreshock.scale.cluster import LOCAL, Opening
    from foreshock.scale.serving import served_on_ray

    console, settings = Console(highlight=False), recipe.settings
    if address == LOCAL:
        with _listening(settings) as listening:  # given back for Ray Serve, which would say less and later
            settings = replace(settings, port=listening.getsockname()[1])
    elif not settings.port:
        raise ServerError("Ray Serve takes no free port by itself on a cluster; give another --port than 0.")
    where = str(Path(name).absolute()) if name and Path(name).exists() else name
    opening = Opening(where, dtype.value, device)
    with served_on_ray(replace(recipe, settings=settings), opening, address, count) as replicas:
        many = "1 replica" if replicas.count == 1 else f"{replicas.count} replicas"
        console.print(f"{many} at [bold cyan]http://{settings.host}:{settings.port}/[/]. Ctrl-C ends it all.")
        signal.sigwait({signal.SIGINT, signal.SIGTERM})


def run(served: Served, listening: socket.socket) -> None:
    """Until a signal ends it: SIGTERM and Ctrl-C let running replies end."""
    import uvicorn
    from rich.console import Console

    from foreshock.server.app import create_app

    class Server(uvicorn.Server):
        def handle_exit(self, sig: int, frame: Any) -> None:
            served.feed.close()  # streams of events never end by themselves
            super().handle_exit(sig, frame)

        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets)
            if self.started:
                _greet(Console(highlight=False), served, listening.getsockname()[1])

    settings = served.settings
    config = uvicorn.Config(
        create_app(served), log_level="warning", access_log=False, proxy_headers=False, ws="none",
        server_header=False, timeout_graceful_shutdown=int(settings.patience), h11_max_incomplete_event_size=65_536,
        limit_concurrency=1000,
    )  # fmt: skip
    # uvicorn sends itself the signal again once it has ended, and what is open here is still to be closed.
    signal.signal(signal.SIGTERM, lambda *_: None)
    with contextlib.suppress(KeyboardInterrupt):
        Server(config).run([listening])


def _listening(settings: Settings) -> socket.socket:
    """The address, taken before the model is opened.

    Raises:
        ServerError: it cannot be had.
    """
    try:
        family = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((settings.host, settings.port), family=family, backlog=2048)
    except OSError as problem:
        reason = os.strerror(problem.errno) if problem.errno and problem.errno > 0 else str(problem)
        raise ServerError(
            f"{settings.host} port {settings.port} cannot be listened on ({reason.lower()}); give another --host or --port."
        ) from problem


def _greet(console: Any, served: Served, port: int) -> None:
    from rich.markup import escape

    model, rules, host = served.engine.model.name, served.engine.monitor.rules, served.settings.host
    where = f"http://{'127.0.0.1' if host in ('0.0.0.0', '::') else host}:{port}"
    console.print(f"[bold]{escape(model)}[/], readings at layer {served.engine.layer}")
    console.print(f"  dashboard  [bold cyan]{where}/[/]")
    console.print(f"  OpenAI     {where}/v1   [dim]base_url of any OpenAI client[/]")
    console.print(f"  metrics    {where}/metrics")
    told = f"{len(rules.rules)} rules, at most {rules.alpha:g} of benign conversations alarmed" if rules else "no rules, so no alarms: `foreshock calibrate` makes them"  # fmt: skip
    console.print(f"[dim]{told}. Ctrl-C ends it.[/]")


def _check_installed() -> None:
    try:
        import fastapi  # noqa: F401
        import limits  # noqa: F401
        import prometheus_client  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as problem:
        raise MissingExtra(f"`foreshock serve` needs {problem.name}; run pip install 'foreshock[serve]'.") from problem
