"""Closed loop: a counter-vector that is added while a reading stands too high, and taken away once it has fallen.

    guard = Guard(vectors, watch="desperate", above=2.0, below=1.0, counter={"calm": 0.1}, most=0.2)
    with guard.on(model):
        model.model.generate(...)
    for action in guard.actions: ...

The reading is a moving average over the newest tokens, since single tokens are noisy. In each forward pass it is taken
first and acted on from the next pass on, so the prompt is read and never written to: a reading that is high at its end
counters the first token of the reply. Above `above` the strength grows by one step a pass up to `most`, below `below`
it falls to 0, and in between it stays (hysteresis).

**What the loop sees of itself.** The reading is taken before this token's own write.

- Reading layer above the steering layer: the write has passed through the blocks between, and the reading holds it. The
  reading falls at once, also where nothing but the vector itself moves it, and the strength may go on and off in turn.
- Reading layer at or below the steering layer: no write ever reaches the reading, whose keys and values stand below it.
  The reading falls only when the *words* that the model writes change, and the strength stays until they do.

The second says more about the text, the first acts more briefly. Which of the two reads the misbehaviour earlier is a
question for measurement, not settled here.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from foreshock.activations import SKIP
from foreshock.errors import SteeringError
from foreshock.model import LanguageModel, Site
from foreshock.model.places import Places, placed
from foreshock.model.stream import Residual
from foreshock.steering import Steering, default_layer
from foreshock.vectors import EmotionVectors


@dataclass(frozen=True, slots=True)
class Action:
    """One change of the counter-strength."""

    row: int
    """Row of the batch."""
    token: int
    """Absolute position of the newest token when this was decided; the strength holds from the next token on."""
    reading: float
    """The smoothed reading there, in standard deviations of the fitted passages."""
    strength: float
    """The new length of the counter-vector, in mean residual norms; 0 when it was taken away."""
    generation: int
    """How many generations had begun before this one within the same `on`."""


@dataclass(frozen=True)
class Guard:
    """A threshold on a reading, and what is added while it is crossed.

    Every row of a batch has a state of its own, which a new generation resets. The mean leaves out the first few tokens
    of a text, where the attention sink sits, and a row that has ended is let be. Beam search, which moves rows about, is
    not followed.

    Raises:
        UnknownEmotion: the vectors lack an emotion. VectorsError: they lack a layer.
        SteeringError: thresholds, strengths or the window cannot be meant.
    """

    vectors: EmotionVectors
    watch: str | Mapping[str, float]
    """The emotion whose reading is watched, or several with weights: Σ weight · reading / Σ |weight|."""
    above: float
    """A smoothed reading above this strengthens the counter-vector."""
    below: float
    """One below this takes it away; at most `above`."""
    counter: Mapping[str, float]
    """Emotion → strength of one step, in mean residual norms at the steering layer; negative takes one away."""
    most: float = 0.2
    """The largest length of what is added in all, in mean residual norms."""
    window: int = 8
    """Newest tokens that the reading is averaged over."""
    read_at: int | None = None
    """Layer to read at; None: the vectors' reading layer."""
    write_at: int | None = None
    """Layer after which the counter-vector is added; None: the vectors' steering layer."""
    actions: list[Action] = field(default_factory=list, init=False)
    """What was done since `on` was entered, in order."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.above) and math.isfinite(self.below) and self.below <= self.above):
            raise SteeringError(
                f"A guard lets go below {self.below:g} and acts above {self.above:g}; give two numbers, `below` at most `above`."
            )
        if not (math.isfinite(self.most) and self.most > 0):
            raise SteeringError(f"`most` is {self.most:g}; give the largest strength as a number above 0, e.g. 0.2.")
        if self.window < 1:
            raise SteeringError(f"A window of {self.window} tokens holds none; give at least 1.")
        if not any(self._weights.values()):
            raise SteeringError(
                "A guard has nothing to watch; name an emotion, or several with weights that are not 0."
            )
        self.readout()
        if self.step == 0:
            raise SteeringError("The counter-vector is nothing; give it an emotion and a strength, e.g. {'calm': 0.1}.")

    @property
    def _weights(self) -> Mapping[str, float]:
        return {self.watch: 1.0} if isinstance(self.watch, str) else self.watch

    @property
    def step(self) -> float:
        """The length of one step, in mean residual norms."""
        return self._counter(1.0).strength

    def _counter(self, times: float) -> Steering:
        layer = default_layer(self.vectors) if self.write_at is None else self.write_at
        return Steering({word: times * dose for word, dose in self.counter.items()}, self.vectors, [layer])

    def readout(self) -> tuple[int, Float[Tensor, " hidden"], float]:
        """The reading layer, and w and b of the watched reading: w · residual + b."""
        readout = self.vectors.readout(self.read_at, list(self._weights))
        weights = torch.tensor(list(self._weights.values()))
        weights = weights / weights.abs().sum()
        w, b = weights @ torch.from_numpy(readout.W), weights @ torch.from_numpy(readout.b)
        return readout.layer, w, float(b)

    def next(self, strength: float, reading: float) -> float:
        """The strength for the next token; a reading of NaN (nothing to go by yet) leaves it as it is."""
        if reading > self.above:
            return min(round(strength + self.step, 6), self.most)
        return 0.0 if reading < self.below else strength

    @contextlib.contextmanager
    def on(self, model: LanguageModel) -> Iterator[None]:
        """Every generation inside is guarded; leaving the context leaves no trace on the model.

        Warns with `BeyondRange` where `most` is more than the model's text was measured to bear. Goes together with
        `model.steered(…)`.

        Raises:
            WrongModel: the vectors were made on another model.
            SteeringError: (in the pass) generation without a key-value cache.
        """
        (write,) = self._counter(self.most / self.step).writes(model)
        self.actions.clear()
        decoder: nn.Module = model.anatomy.decoder
        with placed(decoder) as places:
            loop = _Loop(self, places, write.vector, _ends(model))
            reads, writes = {Site(loop.layer, "before"): loop.read}, {write.layer: loop.write}
            handle = decoder.register_forward_pre_hook(loop.begin, with_kwargs=True)
            try:
                with model.hooked(reads, writes):
                    yield
            finally:
                handle.remove()


class _Loop:
    """The state of the running batch's rows: begin a pass, read, write."""

    def __init__(self, guard: Guard, places: Places, vector: Float[Tensor, " hidden"], ends: Tensor) -> None:
        self.guard, self.places, self.vector, self.ends = guard, places, vector, ends
        self.layer, self.w, self.b = guard.readout()
        self.generation = -1
        self.written: list[float] = []
        """Strengths in the running pass, and those decided for the next one."""
        self.decided: list[float] = []
        self.recent: Float[Tensor, "batch token"] = torch.empty(0, 0)
        """Readings of the newest tokens; NaN where there are none to count."""
        self.over: list[bool] = []

    def begin(self, _decoder: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        ids = kwargs.get("input_ids", args[0] if args else None)
        fresh = (self.places.positions == 0).any(1).cpu()
        if self.places.unclear:
            raise SteeringError(f"A guard cannot follow the text: {self.places.unclear}; generate with use_cache=True.")
        if len(fresh) != len(self.decided):
            self.decided, self.recent = [0.0] * len(fresh), torch.empty(len(fresh), 0)
        self.generation += bool(fresh.any())
        self.recent[fresh] = math.nan
        self.decided = [0.0 if new else strength for new, strength in zip(fresh, self.decided, strict=True)]
        self.written = list(self.decided)
        ended = torch.zeros_like(fresh) if ids is None else torch.isin(ids[:, -1].cpu(), self.ends)
        self.over = (ended & ~fresh).tolist()

    def read(self, hidden: Residual) -> None:
        window = self.guard.window
        now = (hidden[:, -window:].float() @ self.w.to(hidden.device) + self.b).cpu()
        positions = self.places.positions[:, -window:].cpu()
        now[positions < SKIP] = math.nan
        self.recent = torch.cat([self.recent, now], 1)[:, -window:]
        smoothed = self.recent.nanmean(1).tolist()
        for row, (reading, strength) in enumerate(zip(smoothed, self.written, strict=True)):
            chosen = strength if self.over[row] else self.guard.next(strength, reading)
            if chosen != strength:
                token = int(positions[row, -1])
                self.guard.actions.append(Action(row, token, reading, chosen, self.generation))
            self.decided[row] = chosen

    def write(self, hidden: Residual) -> Residual:
        """Rows without a strength stay as they are, to the bit."""
        rows = [row for row, strength in enumerate(self.written) if strength]
        if not rows:
            return hidden
        shares = torch.tensor([self.written[row] / self.guard.most for row in rows])
        changed = hidden.clone()
        changed[rows] += (shares[:, None, None] * self.vector).to(hidden)
        return changed


def _ends(model: LanguageModel) -> Tensor:
    """Tokens after which a row of a running batch has ended and is only filled up."""
    known = {*model.ends, model.tokenizer.pad_token_id} - {None}
    return torch.tensor(sorted(known), dtype=torch.long)
