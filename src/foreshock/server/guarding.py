"""What stands before the routes: hosts, keys, rates, slow bodies, and headers that tell browsers what a page may do.

Plain ASGI middlewares, so that streamed answers go through untouched. Nothing of a request is ever logged.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ipaddress
import math
import time

from fastapi import FastAPI
from fastapi.responses import JSONResponse
from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from foreshock.server.faults import body
from foreshock.server.settings import Settings, is_loopback

BODY_SECONDS = 30.0
"""Longest that a request's body may take to come."""
POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"  # fmt: skip
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=()",
}


def guard(app: FastAPI, settings: Settings) -> None:
    """Put the guards before an application: who is let in is known before any of a body is taken."""
    app.add_middleware(Bodies, most=settings.body)
    app.add_middleware(Doorkeeper, settings=settings)
    stack = app.build_middleware_stack
    # Around all of it: what `add_middleware` adds does not see the answer to a fault of the server.
    app.build_middleware_stack = lambda: SecurityHeaders(stack())  # type: ignore[method-assign]


class SecurityHeaders:
    """Adds the headers to every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI application."""

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        await self._app(scope, receive, sending if scope["type"] == "http" else send)


class Doorkeeper:
    """Lets in by host, origin, key and rate, in this order; what is refused never reaches a route."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app, self._settings = app, settings
        self._key = _digest(settings.api_key.encode("utf-8", "surrogateescape")) if settings.api_key else None
        self._rate = RateLimitItemPerMinute(settings.per_minute)
        self._window = MovingWindowRateLimiter(MemoryStorage())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI application."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        await (refusal or self._app)(scope, receive, send)

    def _refusal(self, scope: Scope) -> JSONResponse | None:
        headers = Headers(scope=scope)
        if is_loopback(self._settings.host) and not _is_here(headers.get("host", "")):
            # A page of another site whose name has been made to mean this machine.
            return _refused(421, "This server is asked under the name of another; use http://127.0.0.1.", "wrong_host")
        if headers.get("sec-fetch-site") == "cross-site" and scope["method"] not in ("GET", "HEAD"):
            return _refused(403, "Pages of other sites may not ask this server.", "cross_site")
        if _is_open(scope):
            return None
        scheme, _, given_key = headers.get("authorization", "").partition(" ")
        given = _digest(given_key.strip().encode("latin-1") if scheme.lower() == "bearer" else b"")
        allowed = self._key is None or hmac.compare_digest(given, self._key)
        # Wrong keys are counted by address, so that they cannot be guessed fast.
        client = given.hex() if self._key and allowed else (scope.get("client") or ("",))[0]
        if not self._window.hit(self._rate, client):
            again = max(1, math.ceil(self._window.get_window_stats(self._rate, client).reset_time - time.time()))
            message = f"More than {self._settings.per_minute} requests in a minute; ask again in {again} seconds."
            return _refused(429, message, "rate_limit_exceeded", {"Retry-After": str(again)})
        if not allowed:
            message = "The API key is missing or wrong; send it as `Authorization: Bearer KEY`."
            return _refused(401, message, "invalid_api_key", {"WWW-Authenticate": "Bearer"})
        return None


class Bodies:
    """Takes a request's body in before a route sees any of it: so many bytes at most, and so long at most.

    A connection could else be held for ever by a byte a minute, and memory be filled by a body that never ends.
    """

    def __init__(self, app: ASGIApp, most: int) -> None:
        self._app, self._most = app, most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI application."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = Headers(scope=scope).get("content-length", "")
        held, more = bytearray(), True
        large = announced.isdecimal() and int(announced) > self._most
        try:
            async with asyncio.timeout(BODY_SECONDS):
                while more and not large:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return
                    held += message.get("body", b"")
                    more, large = message.get("more_body", False), len(held) > self._most
        except TimeoutError:
            told = f"The request's body did not come within {BODY_SECONDS:g} seconds; send it at once."
            await _refused(408, told, "timeout", {"Connection": "close"})(scope, receive, send)
            return
        if large:
            told = (
                f"The request's body has more than the {self._most:,} bytes that are taken here; send less at a time."
            )
            await _refused(413, told, "too_large", {"Connection": "close"})(scope, receive, send)
            return
        whole = iter([{"type": "http.request", "body": bytes(held), "more_body": False}])
        held.clear()

        async def received() -> Message:
            return next(whole, None) or await receive()

        await self._app(scope, received, send)


def _refused(status: int, message: str, code: str, headers: dict[str, str] | None = None) -> JSONResponse:
    kind = "rate_limit_exceeded" if status == 429 else "invalid_request_error"
    return JSONResponse(body(message, kind, code=code), status, headers)


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


def _is_open(scope: Scope) -> bool:
    """The page itself and its files hold no data, and health is for those who have no key."""
    path = scope["path"]
    return scope["method"] in ("GET", "HEAD") and (path in ("/", "/health") or path.startswith("/static/"))


def _is_here(host: str) -> bool:
    """Whether a Host header names this machine itself."""
    name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
    name = name.strip("[]")
    try:
        return name.lower() == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
