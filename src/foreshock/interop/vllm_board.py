"""In vLLM's worker: reads and steers the tokens of a mixed batch, each by what its own request asks for.

vLLM packs the tokens of all requests that run into one row. Before each pass the board notes which tokens belong to which
request and what is added to each; hooks on the blocks then do the same few operations whatever the batch holds: one
gather and add, one matrix product. All they touch are buffers that stay where they are, as CUDA graphs require.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from foreshock.errors import ServerError, VectorsError
from foreshock.interop.vllm_layers import blocks_of, is_fused
from foreshock.interop.vllm_request import Asked, added, asked
from foreshock.interop.vllm_store import Record, Store
from foreshock.vectors import EmotionVectors


@dataclass(frozen=True, slots=True)
class Part:
    """The tokens of one watched request in the running pass: where they lie in it, and where in the request."""

    record: Record
    inside: slice
    position: int


class Board:
    """Watches and steers the model of one vLLM worker.

    Args:
        runner: vLLM's model runner (V1), with its model loaded.
        reading, steering: layers, counted from 0, after whose blocks the stream is read and written to. Where they are
            the same, the reading sees the stream after the write.

    Raises:
        ServerError: another kind of runner, a compiled model, or speculative decoding.
        NotADecoder: the model's blocks cannot be proved.
        VectorsError: the vectors are not of this model's shape, or lack a layer.
    """

    def __init__(self, runner: Any, vectors: EmotionVectors, reading: int, steering: int) -> None:
        if not hasattr(runner, "_model_forward") or not hasattr(runner, "query_start_loc"):
            raise ServerError("Foreshock watches vLLM's V1 model runner; set VLLM_USE_V2_MODEL_RUNNER=0.")
        if getattr(runner, "speculative_config", None) is not None:
            raise ServerError("Foreshock does not watch speculative decoding in vLLM yet; start it without.")
        if runner.compilation_config.mode:
            # a compiled model calls no hooks: it would run on, and nothing would be read
            raise ServerError("Foreshock watches vLLM without compilation; start it with --enforce-eager.")
        config = runner.model_config.hf_text_config
        width, count = vectors.directions.shape[-1], int(config.num_hidden_layers)
        if width != config.hidden_size or not all(0 <= layer < count for layer in (reading, steering)):
            raise VectorsError(
                f"The vectors have width {width} and layers {reading} and {steering} are wanted; this model has width "
                f"{config.hidden_size} and layers 0 … {count - 1}. Make vectors for it with `foreshock study`."
            )
        self._runner, self._vectors, self.reading, self.steering = runner, vectors, reading, steering
        self.store = Store(vectors.emotions, reading)
        self._pending: tuple[Sequence[Part], Tensor, Tensor, Any] | None = None
        """The last pass's parts, ids and readings of all emotions; on a GPU, when they have reached the CPU."""
        self._asked: dict[str, Asked | None] = {}
        self._running = self._steers = self._reads = self._fresh = False
        readout, tokens, device = vectors.readout(reading), int(runner.max_num_tokens), runner.device
        self._W, self._b = torch.from_numpy(readout.W).to(device), torch.from_numpy(readout.b).to(device)
        self._values = torch.zeros(tokens, len(vectors), device=device)
        self._slot = torch.zeros(tokens, dtype=torch.long, device=device)
        """Of each token: 0, or the row of the table that is added to it."""
        self._table = torch.zeros(int(runner.max_num_reqs) + 1, width, dtype=runner.dtype, device=device)
        self._in_table: list[Any] = [None] * len(self._table)
        self._attach(blocks_of(runner.model, count))

    def _attach(self, blocks: Any) -> None:
        for layer in {self.reading, self.steering}:
            fused = is_fused(blocks[layer])

            def hook(_block: Any, _args: Any, output: Any, layer: int = layer, fused: bool = fused) -> None:
                if self._running:
                    hidden = output[0] if isinstance(output, tuple) else output
                    self.touch(hidden, output[1] if fused else None, layer)

            blocks[layer].register_forward_hook(hook)
        forward = self._runner._model_forward

        def watched(*args: Any, **kwargs: Any) -> Any:
            ids = kwargs.get("input_ids", args[0] if args else None)
            parts = self._begin()
            try:
                found = forward(*args, **kwargs)
            finally:
                self._running = False
            self._keep(parts, ids)
            return found

        self._runner._model_forward = watched

    def touch(
        self, hidden: Float[Tensor, "token hidden"], residual: Float[Tensor, "token hidden"] | None, layer: int
    ) -> None:
        """Write to the stream after a block, in place, then read it; tokens that are not steered stay as they are."""
        count = len(hidden)
        if layer == self.steering and self._steers:
            slot = self._slot[:count]
            hidden.copy_(torch.where(slot[:, None] > 0, hidden + self._table[slot], hidden))
        if layer == self.reading and self._reads:
            stream = hidden if residual is None else hidden + residual
            self._values[:count] = functional.linear(stream.float(), self._W, self._b)

    def _begin(self) -> list[Part]:
        """Note whose tokens the coming pass holds; the parts that are read."""
        batch = self._runner.input_batch
        starts = self._runner.query_start_loc.np
        slots = np.zeros(int(starts[batch.num_reqs]), np.int64)
        parts: list[Part] = []
        self._meet(batch)
        for row, id in enumerate(batch.req_ids[: batch.num_reqs]):
            wish = self._asked[id]
            if wish is None:
                continue
            inside = slice(int(starts[row]), int(starts[row + 1]))
            position, prompt = int(batch.num_computed_tokens_cpu[row]), int(batch.num_prompt_tokens[row])
            if wish.steer:
                self._note(row + 1, wish)
                places = np.arange(position, position + inside.stop - inside.start)
                steered = (
                    np.ones(len(places), bool) if wish.span == "all" else (places < prompt) == (wish.span == "prompt")
                )
                slots[inside] = np.where(steered, row + 1, 0)
            record = self.store.of(id, wish) if wish.readings else None
            if record is not None:
                skipped = max(0, record.first - position)
                if inside.start + skipped < inside.stop:
                    own = slice(inside.start + skipped, inside.stop)
                    parts.append(Part(record, own, position + skipped))
        self._steers, self._reads, self._running = bool(slots.any()), bool(parts), True
        if self._steers:
            self._slot.zero_()
            self._slot[: len(slots)] = torch.from_numpy(slots).to(self._slot.device)
        return parts

    def _meet(self, batch: Any) -> None:
        """Understand, once, what the requests ask for that are new."""
        for row, id in enumerate(batch.req_ids[: batch.num_reqs]):
            if id not in self._asked:
                params, self._fresh = self._runner.requests[id].sampling_params, True
                self._asked[id] = wish = asked(params.extra_args if params else None, self._vectors)
                if wish is not None and wish.readings:
                    self.store.open(id, wish, 0 if wish.prompt else int(batch.num_prompt_tokens[row]))

    def _note(self, row: int, wish: Asked) -> None:
        """Have the table's row hold what the request adds."""
        key = tuple(sorted(wish.steer.items()))
        if self._in_table[row] != key:
            vector = torch.from_numpy(added(wish.steer, self._vectors, self.steering))
            self._table[row] = vector.to(self._table)
            self._in_table[row] = key

    def _keep(self, parts: Sequence[Part], ids: Int[Tensor, " token"] | None) -> None:
        """Take the pass's readings out of the buffer, on a GPU without waiting for it; let go of requests that are over."""
        self._settle()
        if self._fresh:  # then some may be over
            live, self._fresh = self._runner.requests, False
            self._asked = {id: wish for id, wish in self._asked.items() if id in live}
            self.store.forget(live)
        if not parts:
            return
        end, later = parts[-1].inside.stop, self._values.is_cuda
        values = self._values[:end].to("cpu", non_blocking=later, copy=True)
        tokens = torch.full((end,), -1) if ids is None else ids[:end].to("cpu", non_blocking=later, copy=True)
        copied = torch.cuda.Event() if later else None  # type: ignore[no-untyped-call]
        if copied is not None:
            copied.record()
        self._pending = parts, tokens, values, copied

    def _settle(self) -> None:
        """Give the last pass's readings to the records of its requests."""
        if self._pending is None:
            return
        parts, tokens, values, copied = self._pending
        if copied is not None:
            copied.synchronize()
        for part in parts:
            part.record.put(part.position, tokens[part.inside].numpy(), values[part.inside].numpy())
        self._pending = None

    def take(self, ids: Sequence[str]) -> list[dict[str, Any]]:
        """Readings of requests by the ids that vLLM's users know; see `Store.take`."""
        self._settle()
        return self.store.take(ids, self._runner.requests)
