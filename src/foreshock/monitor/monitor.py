"""The monitor: readings of a running model, alarms by calibrated rules, and what is done about them.

    with Monitor(model, vectors, Calibration.load("rules.json"), sinks=[JsonLines("alarms.jsonl")]) as monitor:
        model.model.generate(...)          # or any loop of your own over `model.model`
    print(monitor.alarms)

Inside of the context every forward pass is read, whoever starts it; outside, nothing is left on the model. Prompts whose
roles are to be known, and conversations that are to have a name, are announced with `expect` before they run. Passes
have to go forward: beam search and assisted generation, which take tokens back, are not followed.
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from foreshock.errors import MonitorError
from foreshock.guard import Guard
from foreshock.model import LanguageModel, Tokens
from foreshock.monitor.alarms import Tracker
from foreshock.monitor.calibration import Calibration
from foreshock.monitor.drift import LEAST, Drift, drift
from foreshock.monitor.following import KEPT, Following, Heard
from foreshock.monitor.keeping import Keeper
from foreshock.monitor.sinks import Sink
from foreshock.monitor.store import Store
from foreshock.monitor.store.records import Alarm
from foreshock.monitor.watching import Block, Watch
from foreshock.vectors import EmotionVectors

Review = Callable[[Alarm], bool]
"""Looks at an alarm while the model waits; True lets the reply go on, False ends it."""
OnAlarm = Literal["note", "stop"] | Guard | Review
SURE = 1000.0
"""Added to the highest logit for the end of a stopped reply: certain at any temperature up to 100."""
NEWEST = 1000
"""Alarms that are remembered."""
_log = logging.getLogger(__name__)


class DriftWarning(UserWarning):
    """Live conversations no longer look like those that the thresholds came from, so the false-alarm rate is unknown."""


class Monitor:
    """Reads every pass of a model, and raises alarms.

    Also a `LogitsProcessor`: `generate(..., logits_processor=[monitor])` ends stopped replies in loops that make their
    logits past `model.model`; elsewhere it is not needed.

    Args:
        rules: calibrated rules, or their file; None reads without alarms.
        sinks: called with every alarm (see `monitor.sinks`); one that fails is logged, counted, and the model goes on.
        on_alarm: `note` does nothing more; `stop` ends the reply; a `Guard` watches and counters from the first alarm on;
            a function is asked while the model waits, and False from it ends the reply.
        on_tokens: called with the readings of every pass, a conversation at a time, before the alarms in them.
        layers: read besides the rules' layer; left out: that one, or the vectors' reading layer where there are no rules.
        store: conversations, readings and alarms are kept there.
        source: what the store says about where conversations come from.

    Raises:
        WrongModel: the vectors were made on another model.
        CalibrationError: the rules were calibrated with another model, vectors or chat template.
        MonitorError: replies are to be ended, and the model has no token for that.
    """

    def __init__(
        self,
        model: LanguageModel,
        vectors: EmotionVectors,
        rules: Calibration | Path | str | None = None,
        *,
        sinks: Sequence[Sink] = (),
        on_alarm: OnAlarm = "note",
        on_tokens: Callable[[Heard], None] | None = None,
        layers: Sequence[int] | None = None,
        store: Store | None = None,
        source: str = "monitor",
    ) -> None:
        self.rules = Calibration.load(rules) if isinstance(rules, Path | str) else rules
        if self.rules is not None:
            self.rules.check(model, vectors)
            layers = {self.rules.layer, *(layers or ())}  # type: ignore[assignment]  # Watch sorts them
        self._watch = Watch(model, vectors, layers)
        self._model, self._on_alarm, self._on_tokens = model, on_alarm, on_tokens
        self._sinks: list[Sink] = list(sinks)
        self._keeper = Keeper(store, model.name, source, self.layers, self.emotions) if store else None
        if self._keeper:
            self._sinks.append(self._keeper.alarm)
        self.following = Following(model)
        """The conversations that are followed."""
        if on_alarm != "note" and not isinstance(on_alarm, Guard) and not self.following.ends:
            raise MonitorError(f"{model.name} has no token that ends a reply, so alarms cannot stop it; use 'note'.")
        self._trackers: OrderedDict[str, Tracker] = OrderedDict()
        self._begun, self._look = 0, LEAST
        """Conversations so far, and how many there are to be when drift is looked at next."""
        self._guarding: Literal["no", "next pass", "yes"] = "no"
        self._attached: contextlib.ExitStack | None = None
        self.alarms: deque[Alarm] = deque(maxlen=NEWEST)
        """The newest alarms, in order."""
        self.failed = 0
        """Alarms that a sink did not take."""

    @property
    def layers(self) -> tuple[int, ...]:
        """The layers that are read, in the order of readings."""
        return self._watch.layers

    @property
    def emotions(self) -> tuple[str, ...]:
        """The emotions that are read, in the order of readings."""
        return self._watch.emotions

    def expect(self, prompts: Sequence[Tokens], names: Sequence[str] | None = None) -> None:
        """Announce prompts that run next, in the order of their rows.

        With that every token of a prompt has its role and turn, as in a finished transcript. Of prompts that come
        unannounced, rules see the replies alone.

        Args:
            names: of their conversations; a name that was heard before goes on with that conversation.

        Raises:
            MonitorError: names of another number than the prompts, an empty one, or one of over 190 characters.
        """
        self.following.expect(prompts, names)

    def drift(self) -> Drift | None:
        """How far the newest conversations are from the calibration's; None below 20 of them, or without rules."""
        trackers = list(self._trackers.values())  # asked from other threads too
        live = [means for tracker in trackers if (means := tracker.means) is not None]
        return drift(self.rules, live) if self.rules else None

    def attach(self) -> None:
        """Begin to read, as entering the context does. Raises `MonitorError` where it has begun already."""
        if self._attached:
            raise MonitorError("This monitor is attached already; detach it first, or make another one.")
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._watch.on(self.take))
            handle = self._model.model.register_forward_hook(self._after)
            stack.callback(handle.remove)
            if self._keeper:
                stack.enter_context(self._keeper.running())
            self._attached = stack.pop_all()

    @contextlib.contextmanager
    def packed(self) -> Iterator[None]:
        """For an engine that packs tokens of many requests into one row, and hands over what it has read with `take`.

        Within the context nothing is attached to the model: the engine reads with `readings`, says with
        `following.begin` and `end` which rows come and go, and ends the replies whose conversation is `stopped`.
        """
        self.following.packed = True
        try:
            with self._keeper.running() if self._keeper else contextlib.nullcontext():
                yield
        finally:
            self.following.packed = False

    def readings(self, hidden: Float[Tensor, "token hidden"], k: int) -> Float[np.ndarray, "token emotion"]:
        """Readings of residuals after the k-th watched layer."""
        return self._watch.readings(hidden, k)

    def detach(self) -> None:
        """Stop reading and hand to the store what it has not got yet."""
        if self._attached:
            attached, self._attached, self._guarding = self._attached, None, "no"
            attached.close()

    def __enter__(self) -> Self:
        self.attach()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.detach()

    def __call__(
        self,
        input_ids: Int[Tensor, "batch token"],  # noqa: ARG002 (transformers' signature)
        scores: Float[Tensor, "batch vocabulary"],
    ) -> Float[Tensor, "batch vocabulary"]:
        """The scores, with the end all but certain in rows whose reply is to end."""
        return self._ended(scores.clone())

    def take(self, blocks: list[Block]) -> list[tuple[Heard, list[Alarm]]]:
        """Take in the readings of a pass: conversations are told apart, kept, and rules applied.

        Returns what was heard, a conversation each, with the alarms in it.
        """
        found = []
        for heard in self.following.heard(blocks):
            if self._keeper:
                self._keeper.take(heard)
            if self._on_tokens:
                self._on_tokens(heard)
            alarms = self._tracked(heard)
            for alarm in alarms:
                self._raise(alarm, heard.row)
            found.append((heard, alarms))
        return found

    def _tracked(self, heard: Heard) -> list[Alarm]:
        if self.rules is None:
            return []
        tracker = self._trackers.pop(heard.conversation, None)
        if tracker is None:
            tracker = Tracker(self.rules, heard.conversation)
            self._watch_drift()
        self._trackers[heard.conversation] = tracker
        while len(self._trackers) > KEPT:
            self._trackers.popitem(last=False)
        values = heard.values[:, self.layers.index(self.rules.layer)]
        # Of a prompt that was not announced nobody knows which words are the template's, so none of them count.
        counted = [own and role != "prompt" for own, role in zip(heard.content, heard.roles, strict=True)]
        return tracker.feed(heard.start, values, self.emotions, counted, heard.roles, heard.turns, heard.quote)

    def _watch_drift(self) -> None:
        """Looked at seldom, at twice as many conversations each time: many looks would find something by chance."""
        self._begun += 1
        if self._begun <= self._look:
            return
        self._look *= 2
        if (found := self.drift()) and found.warned:
            warnings.warn(
                f"The last {found.live} conversations do not look like those that the rules were calibrated on (rule "
                f"{found.rule!r}, p = {found.p:.2g}), so the false-alarm rate may be another; calibrate again on such traffic.",
                DriftWarning,
                stacklevel=2,
            )

    def _raise(self, alarm: Alarm, row: int) -> None:
        self.alarms.append(alarm)
        for sink in self._sinks:
            try:
                sink(alarm)
            except Exception:
                self.failed += 1
                _log.exception("An alarm sink failed; the others have the alarm.")
        conversation = self.following.rows.get(row)
        if conversation is None:
            return
        if isinstance(self._on_alarm, Guard):
            self._guarding = "next pass" if self._guarding == "no" else self._guarding
        elif callable(self._on_alarm):
            conversation.stopped = conversation.stopped or not self._on_alarm(alarm)
        else:
            conversation.stopped = conversation.stopped or self._on_alarm == "stop"

    def _after(self, _module: Any, _args: Any, output: Any) -> None:
        """Once a pass is over: end replies, or let the guard take over from the next pass on."""
        if self._guarding == "next pass" and isinstance(self._on_alarm, Guard) and self._attached:
            self._attached.enter_context(self._on_alarm.on(self._model))
            self._guarding = "yes"
        if not any(conversation.stopped for conversation in self.following.rows.values()):
            return
        logits = output[0] if isinstance(output, tuple) else getattr(output, "logits", None)
        if logits is not None:
            self._ended(logits[:, -1])

    @torch.no_grad()
    def _ended(self, scores: Float[Tensor, "batch vocabulary"]) -> Float[Tensor, "batch vocabulary"]:
        """Changed in place. The end is made likelier than all else, so that where it is forbidden the model's words stay."""
        for row, conversation in self.following.rows.items():
            if conversation.stopped and row < len(scores):
                scores[row, self.following.ends[0]] = scores[row].max() + SURE
        return scores
