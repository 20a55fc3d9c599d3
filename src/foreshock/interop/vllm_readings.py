"""Fetching readings from vLLM: by its offline class, or over HTTP from its server.

outputs = llm.generate(prompts, SamplingParams(extra_args={"foreshock": {"readings": True}}))
for found in taken(llm, outputs):
    print(found.emotions, found.values.mean(0))
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from foreshock.errors import ServerError
from foreshock.interop.vllm_store import KEEP, KEEP_BYTES


@dataclass(frozen=True, slots=True)
class Watched:
    """Readings of one request: a row a token that the model was given, a column an emotion."""

    id: str
    emotions: tuple[str, ...]
    layer: int
    first: int
    """Position of the first row's token: 0, or the prompt's length where the prompt was not asked for."""
    tokens: tuple[int, ...]
    """Their ids. The last token of a reply is chosen and never given to the model, so it has no reading."""
    values: Float[np.ndarray, "token emotion"]

    @classmethod
    def of(cls, handed: Mapping[str, Any], tokens: int | None = None) -> Watched:
        """From what a worker hands out; `tokens`: those of prompt and reply, beyond whose last but one nothing counts.

        An engine that schedules ahead runs a pass more than it needs when a reply ends early.
        """
        values = np.frombuffer(handed["values"], np.float32).reshape(-1, len(handed["emotions"]))
        kept = slice(None) if tokens is None else slice(max(0, tokens - 1 - handed["first"]))
        return cls(
            handed["id"], tuple(handed["emotions"]), handed["layer"], handed["first"],
            tuple(handed["tokens"][kept]), values[kept],
        )  # fmt: skip


DROPPED = (
    f"Readings were dropped before they were fetched: vLLM's worker keeps those of the last {KEEP:,} finished requests, "
    f"up to {KEEP_BYTES // 2**20:,} MiB; fetch them after fewer requests."
)


def taken(llm: Any, outputs: Sequence[Any]) -> list[Watched | None]:
    """Readings of finished requests of a `vllm.LLM`, in their order; None for those that asked for none.

    They are handed out once; fetched again, they are None too.

    Raises:
        ServerError: some were dropped, as too many requests ended before they were fetched. The others can be fetched.
    """
    ids = [output.request_id for output in outputs]
    handed = {one["id"]: one for one in llm.collective_rpc("foreshock_take", args=(ids,))[0]}
    if lost := sum("dropped" in one for one in handed.values()):
        raise ServerError(f"Of {lost:,} of these {len(ids):,} requests there is nothing left. {DROPPED}")
    lengths = {output.request_id: _length(output) for output in outputs}
    return [Watched.of(handed[id], lengths[id]) if id in handed else None for id in ids]


def _length(output: Any) -> int:
    return len(output.prompt_token_ids) + len(output.outputs[0].token_ids)
