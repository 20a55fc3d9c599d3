"""The dashboard's files. They are read once, at the start: no request leads to the file system."""

from __future__ import annotations

from functools import cache
from importlib import resources

import vl_convert
from fastapi import APIRouter, HTTPException
from fastapi.responses import Response

from foreshock.server.settings import Served

_KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


@cache
def files() -> dict[str, tuple[bytes, str]]:
    """Name → content and media type; the charts' library among them."""
    folder = resources.files("foreshock.server").joinpath("static")
    found = {}
    for file in folder.iterdir():
        kind = _KINDS.get("." + file.name.rpartition(".")[2])
        if kind:
            found[file.name] = (file.read_bytes(), f"{kind}; charset=utf-8")
    bundle = vl_convert.javascript_bundle()  # type: ignore[call-arg]  # the stub has no default
    return found | {"vega.js": (bundle.encode(), "text/javascript; charset=utf-8")}


def router(_served: Served) -> APIRouter:
    """The page and what it is made of."""
    routes = APIRouter(include_in_schema=False)
    known = files()

    @routes.get("/")
    async def page() -> Response:
        return _sent("index.html")

    @routes.get("/static/{name}")
    async def static(name: str) -> Response:
        if name not in known:
            raise HTTPException(404, "There is no such file.")
        return _sent(name)

    def _sent(name: str) -> Response:
        content, kind = known[name]
        # Asked for anew each time, so that a newer server is never shown with an older page.
        return Response(content, media_type=kind, headers={"Cache-Control": "no-cache"})

    return routes
