"""`foreshock serve`: an OpenAI-compatible server with readings, alarms and a dashboard."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import warnings
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from foreshock.cli.options import Device, Dtype, DtypeOption, Elsewhere, StudyName, found_vectors, opened
from foreshock.cli.outlets import Alarms, Rules, WebhookTo, Words, check_webhook, found_rules, opened_store, sinks
from foreshock.errors import MissingExtra, ServerError

if TYPE_CHECKING:
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
) -> None:
    """Serve a model to OpenAI clients, with live readings, alarms, metrics and a dashboard.

    Examples: `foreshock serve embedded` · `FORESHOCK_API_KEY=… foreshock serve study/qwen --host 0.0.0.0 --store
    postgresql://…`
    """
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
    from foreshock.vectors import EmotionVectors

    vectors = EmotionVectors.load(path)
    found = found_rules(rules, path)
    listening = _listening(settings)  # a mistake is said before the model is opened
    place = None if store == "none" else store or str(path.parent / "conversations.db")
    with contextlib.ExitStack() as stack:
        kept = opened_store(place, text, stack)
        outlets = list(sinks(alarms, webhook, stack))
        subject = opened(model or vectors.manifest.get("model", {}).get("name"), dtype, device)

        from foreshock.monitor.monitor import DriftWarning, Monitor
        from foreshock.server.engine import Engine
        from foreshock.server.feed import Feed
        from foreshock.server.metrics import Metrics
        from foreshock.server.settings import Served
        from foreshock.server.tracing import set_up
        from foreshock.steering import BeyondRange

        set_up()
        monitor = Monitor(subject, vectors, found, sinks=outlets, on_alarm=on_alarm.value, store=kept, source="serve")
        engine = Engine(subject, monitor, rows, waiting, room)
        feed = Feed(monitor.emotions, engine.shown)
        served = Served(engine, vectors, settings, feed, Metrics(engine, kept, feed), kept, text, path.parent)
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("always", DriftWarning)
        warnings.simplefilter("ignore", BeyondRange)  # said in the answers
        run(served, listening)


def run(served: Served, listening: socket.socket) -> None:
    """Until a signal ends it: SIGTERM and Ctrl-C let running replies end, a second one does not."""
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
        create_app(served), log_level="warning", access_log=False, proxy_headers=False,
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
