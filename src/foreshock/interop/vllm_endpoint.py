"""A route of vLLM's server that hands out readings (entry point group `vllm.endpoint_plugins`).

    VLLM_PLUGINS=foreshock FORESHOCK_VECTORS=study/vectors.safetensors vllm serve MODEL --enforce-eager
    GET /v1/foreshock/readings/ID     ID as the answer to the request names it

vLLM adds routes only for plug-ins that `VLLM_PLUGINS` names. Under /v1, the server's API keys hold for it too.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from foreshock.interop.vllm_readings import DROPPED, Watched


class Readings:
    """The endpoint plug-in; vLLM makes it and calls its two methods."""

    name = "foreshock"
    required_tasks = ("generate",)

    def __init__(self) -> None:
        self._engine: Any = None

    def attach_router(self, app: Any) -> None:
        """Add the route."""
        from fastapi import HTTPException

        async def readings(id: str) -> dict[str, Any]:
            """Readings of a request so far; 404 until there are new ones. Text completions are numbered `ID-0`."""
            handed = await self._engine.collective_rpc("foreshock_take", args=([id, f"{id}-0"],))
            if not handed[0]:
                raise HTTPException(
                    404, f"There are no readings of {id!r} that are new: none were asked for, or they were fetched."
                )
            if "dropped" in handed[0][0]:
                raise HTTPException(410, DROPPED)
            return as_json(Watched.of(handed[0][0]))

        app.add_api_route("/v1/foreshock/readings/{id}", readings, methods=["GET"])

    async def init_state(self, engine_client: Any, state: Any, args: Any) -> None:  # noqa: ARG002
        """Take the engine's client."""
        self._engine = engine_client


def as_json(found: Watched) -> dict[str, Any]:
    """Readings as plain values, to four decimals; None in place of what JSON has no number for."""
    values = np.round(found.values.astype(float), 4)
    return {
        "id": found.id,
        "emotions": list(found.emotions),
        "layer": found.layer,
        "first": found.first,
        "tokens": list(found.tokens),
        "values": np.where(np.isfinite(values), values.astype(object), np.array(None)).tolist(),
    }
