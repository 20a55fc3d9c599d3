"""The engine: one thread runs the model for all requests, by transformers' continuous batching.

A pass holds tokens of several requests side by side in one row. Which token belongs to which request stands in the batch
that the scheduler has made; readings, steering and sampling go by that. Prompts are never skipped for a shared prefix, so
every token that a reply depends on is read.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import threading
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import ContinuousBatchingConfig, GenerationConfig, LogitsProcessor, LogitsProcessorList
from transformers.generation.continuous_batching.cb_logits_processors import ContinuousBatchingLogitsProcessorList

from foreshock.errors import Busy, ServerError, TooLong
from foreshock.model import LanguageModel, Site
from foreshock.model.generation import check_room
from foreshock.model.lengths import few_lengths
from foreshock.model.stream import Residual
from foreshock.monitor.following import Heard
from foreshock.monitor.monitor import Monitor
from foreshock.monitor.store import Alarm
from foreshock.monitor.watching import Block
from foreshock.server.requests import Event, Finished, Request
from foreshock.server.slot import Slot

_log = logging.getLogger(__name__)
PASS = 512
"""Most tokens of a pass: a longer prompt is run in pieces, beside the others' replies."""
PAGE = 32
"""Tokens of a page of the key-value cache."""


@dataclass(frozen=True, slots=True)
class Part:
    """The tokens of one request in the running pass."""

    slot: Slot | None
    """None for a request that was given up meanwhile."""
    start: int
    length: int
    chooses: bool
    """Whether its next token is chosen after this pass."""


class Engine:
    """Runs requests together, each with its own steering, readings and alarms.

    Args:
        monitor: reads and raises alarms; not attached to the model otherwise.
        rows: requests that run at once.
        waiting: requests that may wait besides.
        room: tokens of all running requests together that the key-value cache holds.
    """

    def __init__(
        self, model: LanguageModel, monitor: Monitor, rows: int = 16, waiting: int = 64, room: int = 16_384
    ) -> None:
        self.model, self.monitor = model, monitor
        self._most_waiting, self._rows = waiting, rows
        self.room = max(1, room // PAGE) * PAGE
        """Tokens of all running requests together that the cache holds."""
        self._slots: dict[str, Slot] = {}
        self._numbers = itertools.count()
        self._open = contextlib.ExitStack()
        self._accepts = False
        self._listeners: list[Callable[[Heard | Alarm], None]] = []
        self._left: deque[int] = deque()
        """Rows whose requests are over. The engine's thread takes them out, since it alone follows conversations."""
        config = ContinuousBatchingConfig(
            page_size=PAGE, num_blocks=self.room // PAGE, max_batch_tokens=PASS, max_requests_per_batch=rows,
            allow_block_sharing=False, use_async_batching=False,
        )  # fmt: skip
        settings = GenerationConfig(do_sample=False, eos_token_id=-1, pad_token_id=model.tokenizer.pad_token_id or 0)
        self._manager = model.model.init_continuous_batching(settings, continuous_batching_config=config)
        self._manager.output_router = _Router(self)
        self._manager.logit_processor = ContinuousBatchingLogitsProcessorList(LogitsProcessorList([_Chooser(self)]))

    @property
    def trouble(self) -> str | None:
        """Why no request can be run; None where nothing is amiss."""
        if not self._accepts:
            return "The engine is stopping; ask again in a while."
        return None if self._manager.is_running() else "The engine has broken down; the server has to be started anew."

    @property
    def load(self) -> tuple[int, int]:
        """Requests that run, and that wait."""
        running = min(len(self._slots), self._rows)
        return running, len(self._slots) - running

    @property
    def layer(self) -> int:
        """The layer whose readings are shown: the rules', else the first that is read."""
        return self.monitor.rules.layer if self.monitor.rules else self.monitor.layers[0]

    @property
    def shown(self) -> int:
        """Its place in `Heard.values`."""
        return self.monitor.layers.index(self.layer)

    def start(self) -> None:
        """Begin to take requests."""
        reads = {Site(layer): self._reader(k) for k, layer in enumerate(self.monitor.layers)}
        writes = {layer: self._writer(layer) for layer in range(self.model.layers)}
        self._open.enter_context(self.monitor.packed())
        handle = self.model.anatomy.decoder.register_forward_pre_hook(self._begin, with_kwargs=True)
        self._open.callback(handle.remove)
        self._open.enter_context(self.model.hooked(reads, writes))
        self._open.enter_context(few_lengths(self.model.model))
        self._parts: list[Part] = []
        self._manager.start()
        self._accepts = True

    def stop(self, patience: float = 30) -> None:
        """Take no more requests, finish those that run, for at most `patience` seconds."""
        self._accepts = False
        self._manager.stop(block=True, timeout=patience)
        self._open.close()

    def listen(self, take: Callable[[Heard | Alarm], None]) -> None:
        """Have `take` called, in the engine's thread, with all readings and alarms."""
        self._listeners.append(take)

    def check_free(self) -> None:
        """Raises `Busy` or `ServerError` where `submit` would for any request."""
        if self.trouble:
            raise ServerError(self.trouble)
        if len(self._slots) >= self._rows + self._most_waiting:
            raise Busy(f"{len(self._slots)} requests are running or waiting already; ask again in a while.")

    async def submit(self, request: Request) -> AsyncGenerator[Event]:
        """What comes of a request; leaving the iterator gives its place free.

        Raises:
            Busy: no more requests may wait.
            ServerError: the engine is stopping.
            TooLong: prompt and reply are more than the model takes, or than the cache has room for.
        """
        self.check_free()
        check_room(self.model, [request.prompt], request.most)
        if len(request.prompt) + request.most > self.room:
            raise TooLong(
                f"A prompt of {len(request.prompt):,} tokens and a reply of up to {request.most:,} are more than the "
                f"{self.room:,} that this server keeps at a time; ask for fewer, or start it with more --room."
            )
        loop, events = asyncio.get_running_loop(), asyncio.Queue[Event]()
        number = next(self._numbers)
        id = f"request-{number}"

        def tell(event: Event) -> None:
            with contextlib.suppress(RuntimeError):  # whoever asked has closed its loop
                loop.call_soon_threadsafe(events.put_nowait, event)

        writes = list(request.steering.writes(self.model)) if request.steering else []
        slot = self._slots[id] = Slot(id, number, request, writes, tell, self.model.tokenizer.backend_tokenizer)
        try:
            ends = list(self.monitor.following.ends) or -1
            if self._manager.add_request(request.prompt.ids, id, max(1, request.most), eos_token_id=ends) is None:
                raise ServerError(self.trouble or "The engine takes no requests at present; ask again in a while.")
            while True:
                event = await events.get()
                yield event
                if isinstance(event, Finished):
                    return
        finally:
            if not slot.over:
                slot.over = True
                self._manager.cancel_request(id)
            self._slots.pop(id, None)
            self._left.append(number)

    def broke_off(self, id: str, problem: object) -> None:
        """A request has failed in the scheduler."""
        slot = self._slots.get(id)
        if slot is not None and not slot.over:
            _log.error("A request broke off: %s", problem)
            slot.fail()

    def parts(self) -> Iterator[Part]:
        """Whose tokens the running pass holds, in their order."""
        for future in self._manager.batch_processor.inputs_and_outputs.requests_in_batch:
            state, length = future.state, future.query_length
            slot = self._slots.get(state.request_id)
            yield Part(slot, state.position_offset - length, length, future.has_new_token)

    @property
    def _here(self) -> bool:
        """Whether the pass is one of the engine's own; another thread's that uses the same model is none of its business."""
        return threading.current_thread() is self._manager._generation_thread

    def _begin(self, _decoder: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if not self._here:
            return
        ids: Int[Tensor, "1 token"] = kwargs["input_ids"] if "input_ids" in kwargs else args[0]
        self._ids, self._parts = ids[0].cpu().numpy().copy(), list(self.parts())
        self._found: list[Float[np.ndarray, "token emotion"]] = []
        following = self.monitor.following
        while self._left:
            following.end(self._left.popleft())
        for part in self._parts:
            slot = part.slot
            if slot is not None and not slot.begun:  # where the cache was full, a prompt may come a second time
                slot.begun = True
                following.begin(slot.row, slot.request.prompt, slot.request.conversation)

    def _reader(self, k: int) -> Callable[[Residual], None]:
        def read(hidden: Residual) -> None:
            if not self._here:
                return
            self._found.append(self.monitor.readings(hidden[0], k))
            if k == len(self.monitor.layers) - 1:
                self._take()

        return read

    def _take(self) -> None:
        """Hand what was read to the monitor. What goes wrong there ends the replies of this pass, unwatched as they are."""
        try:
            for heard, alarms in self.monitor.take(list(self._blocks(np.stack(self._found, 1)))):
                self._tell(heard, alarms)
        except Exception:
            _log.exception("The monitor failed; the replies that ran are ended, since nobody watches them.")
            for slot in {part.slot for part in self._parts if part.slot and not part.slot.over}:
                self._give_up(slot)

    def _give_up(self, slot: Slot) -> None:
        slot.fail()
        self._manager.cancel_request(slot.id)

    def _tell(self, heard: Heard, alarms: list[Alarm]) -> None:
        """To whoever asked for the reply, and to all who listen; what goes wrong there must not stop the model."""
        slot = next((part.slot for part in self._parts if part.slot and part.slot.row == heard.row), None)
        if slot is not None:
            slot.conversation = heard.conversation
        events: list[Heard | Alarm] = [heard, *alarms]
        for event in events:
            if slot is not None and (slot.request.readings or isinstance(event, Alarm)):
                slot.tell(event)
            for take in self._listeners:
                try:
                    take(event)
                except Exception:
                    _log.exception("A listener of the engine failed; requests go on.")

    def _blocks(self, values: Float[np.ndarray, "token layer emotion"]) -> Iterator[Block]:
        first = 0
        for part in self._parts:
            if part.slot is not None:
                inside = slice(first, first + part.length)
                yield Block(part.slot.row, part.start, self._ids[inside], values[inside], self)
            first += part.length

    def _writer(self, layer: int) -> Callable[[Residual], Residual]:
        def write(hidden: Residual) -> Residual:
            changed, first = hidden, 0
            for part in self._parts if self._here else ():
                for one in part.slot.writes if part.slot else ():
                    if one.layer == layer:
                        changed = hidden.clone() if changed is hidden else changed
                        own = changed[0, first : first + part.length]
                        own[_inside(one.span, part)] += one.vector.to(hidden)
                first += part.length
            return changed

        return write

    def choose(self, scores: Float[Tensor, "request vocabulary"]) -> Float[Tensor, "request vocabulary"]:
        """Scores that leave one token to each request."""
        left = torch.full_like(scores, -torch.inf)
        for row, part in enumerate(part for part in self._parts if part.chooses):
            slot, following = part.slot, self.monitor.following
            if slot is None or slot.over:
                left[row, 0] = 0
                continue
            conversation = following.rows.get(slot.row)
            try:
                id = slot.choose(scores[row], following.ends, conversation is not None and conversation.stopped)
            except Exception:  # one request's trouble is not the others'
                _log.exception("A request failed where its next token is chosen; the others go on.")
                self._give_up(slot)
                left[row, 0] = 0
                continue
            left[row, id] = 0
            if slot.over and id not in following.ends and slot.written < slot.request.most:
                self._manager.cancel_request(slot.id)
        return left


def _inside(span: Any, part: Part) -> Sequence[bool]:
    """Which tokens of the part a span holds."""
    prompt = len(part.slot.request.prompt) if part.slot else 0
    places = range(part.start, part.start + part.length)
    if span == "all":
        return [True] * part.length
    if isinstance(span, slice):
        return [(span.start or 0) <= place and (span.stop is None or place < span.stop) for place in places]
    return [(place < prompt) == (span == "prompt") for place in places]


class _Chooser(LogitsProcessor):  # type: ignore[misc]  # transformers has no types here
    """Where continuous batching asks for its next tokens."""

    supports_continuous_batching = True

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:  # noqa: ARG002
        """One token a request is left."""
        return self._engine.choose(scores)


class _Router:
    """In the place of transformers' router, which keeps what nobody asks for and needs event loops that stay open."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def deliver(self, output: Any) -> None:
        """Tokens are told when they are chosen, so only faults are news."""
        if output.error:
            self._engine.broke_off(output.request_id, output.error)

    def deliver_batch(self, outputs: Sequence[Any]) -> None:
        """As `deliver`, each."""
        for output in outputs:
            self.deliver(output)

    def fail_and_deliver(self, state: Any, error: Exception) -> None:
        """A request that cannot go on."""
        self._engine.broke_off(state.request_id, error)
