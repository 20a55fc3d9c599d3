"""What goes wrong, in OpenAI's form of an error."""

from __future__ import annotations

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from foreshock.errors import Busy, ForeshockError, ServerError, StoreError, TimedOut
from foreshock.server.wire import ErrorAnswer

_log = logging.getLogger(__name__)
DESCRIBED: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorAnswer} for status in (400, 401, 403, 404, 405, 408, 413, 421, 422, 429, 500, 503, 504)
}
"""What any route may answer besides, for the description."""
RETRY = 2
"""Seconds after which it is worth asking again."""
_KINDS: tuple[tuple[type[Exception], int, str], ...] = (
    (Busy, 429, "rate_limit_exceeded"),
    (TimedOut, 504, "timeout"),
    (ServerError, 503, "server_error"),
    (StoreError, 503, "server_error"),
    (ForeshockError, 400, "invalid_request_error"),
)


def fault(problem: Exception) -> tuple[int, dict[str, Any]]:
    """The status and the answer for an error whose text is meant for the client."""
    status, kind = next((status, kind) for own, status, kind in _KINDS if isinstance(problem, own))
    told = str(problem.args[0])
    if isinstance(problem, StoreError):  # its own words name files and addresses
        _log.error("The store cannot be used: %s", told)
        told = "The conversations cannot be read at present; the server's log says why. Ask again in a while."
    return status, body(told, kind, code=type(problem).__name__)


def body(message: str, kind: str, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    """OpenAI's error object."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def answer_faults(app: FastAPI) -> None:
    """Have every error answered in one form, with one clear sentence."""

    async def own(_request: Request, problem: Exception) -> JSONResponse:
        status, found = fault(problem)
        return JSONResponse(found, status, {"Retry-After": str(RETRY)} if status in (429, 503) else None)

    async def wrong(_request: Request, problem: Exception) -> JSONResponse:
        assert isinstance(problem, RequestValidationError)
        first = problem.errors()[0]
        place = ".".join(str(part) for part in first["loc"] if part != "body") or None
        # What was sent is not repeated: it may be long, or secret.
        message = f"{place or 'The request'}: {first['msg'].lower()}; see /openapi.json for what is expected."
        return JSONResponse(body(message, "invalid_request_error", place, first["type"]), 400)

    async def http(_request: Request, problem: Exception) -> JSONResponse:
        assert isinstance(problem, HTTPException)
        return JSONResponse(body(str(problem.detail), "invalid_request_error"), problem.status_code, problem.headers)

    async def unknown(_request: Request, problem: Exception) -> JSONResponse:
        _log.error("A request failed by a fault of the server.", exc_info=problem)
        return JSONResponse(body("The server failed; its log says why.", "server_error"), 500)

    app.add_exception_handler(ForeshockError, own)
    app.add_exception_handler(RequestValidationError, wrong)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(Exception, unknown)
