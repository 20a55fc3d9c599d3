"""A callback for transformers' `Trainer` that logs the emotion profile while a model is trained.

    trainer = Trainer(model, args, train_dataset=…, processing_class=tokenizer)
    EmotionProfileCallback(vectors, tokenizer, every=50).attach(trainer)
    trainer.train()        # logs foreshock/desperate, foreshock/calm, …

The vectors are those of the model before training, so what is logged is how far the stream has moved along them (see
`foreshock.profile` for what that means and cannot tell). Training itself is not disturbed: the weights come out the same
to the bit, with and without the callback.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from accelerate.utils import extract_model_from_parallel
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from foreshock.errors import StudyError
from foreshock.model import LanguageModel
from foreshock.profile import NEUTRAL, builtin_prompts, laid_out, read_profile
from foreshock.texts import Turn
from foreshock.vectors import EmotionVectors

PROMPTS = 16
"""Of the built-in neutral ones, read by default."""
EMOTIONS = ("happy", "calm", "proud", "loving", "sad", "afraid", "angry", "desperate")
"""Logged by default, those of them that the vectors have."""


class EmotionProfileCallback(TrainerCallback):  # type: ignore[misc]  # transformers is untyped here
    """Logs the mean reading before the reply to a few prompts, as `foreshock/EMOTION`, every N steps and at both ends.

    Training that is stopped early is read once more where it ended: the weights it leaves, with `load_best_model_at_end` the
    best ones.

    For one process, or data-parallel ones, of which the first reads. Where the weights are sharded (FSDP, DeepSpeed's
    stage 3) a single process cannot read; compare saved checkpoints with `foreshock compare` instead.

    Args:
        vectors: of the model that is trained, made before.
        tokenizer: its tokenizer.
        emotions: what to log; left out: a few core ones.
        prompts: conversations that end with a user's message; left out: some of the built-in neutral ones.
        every: optimiser steps between two readings.
        layer: left out: the reading layer.

    Raises:
        UnknownEmotion: the vectors lack an emotion.
        StudyError: there is nothing to read or to log.
        WrongModel: when training begins, if the model has another shape than the vectors'.
    """

    def __init__(
        self,
        vectors: EmotionVectors,
        tokenizer: Any,
        emotions: Sequence[str] | None = None,
        prompts: Sequence[Sequence[Turn]] | None = None,
        every: int = 100,
        layer: int | None = None,
    ) -> None:
        self.vectors, self.tokenizer, self.every, self.layer = vectors, tokenizer, every, layer
        wanted = emotions if emotions is not None else [word for word in EMOTIONS if word in vectors]
        self.prompts = builtin_prompts()[NEUTRAL][:PROMPTS] if prompts is None else prompts
        if not wanted or not self.prompts or every < 1:
            raise StudyError("The profile needs an emotion to log, a prompt to read, and at least one step in between.")
        self.emotions = vectors.readout(layer, wanted).emotions
        self._columns = [vectors.emotions.index(word) for word in self.emotions]
        self._log: Callable[[dict[str, float]], None] | None = None
        self._last: int | None = None

    def attach(self, trainer: Any) -> EmotionProfileCallback:
        """Add this to a trainer, and log through it, so that its reporters (TensorBoard, …) have the readings too.

        Given in `callbacks=[…]` instead, it writes into the trainer's `state.log_history` only.
        """
        trainer.add_callback(self)
        self._log = trainer.log
        return self

    def profile(self, model: Any) -> dict[str, float]:
        """The readings of a model in training, with its mode and all random states left as they were."""
        with undisturbed(model):
            opened = LanguageModel(model, self.tokenizer)
            read = read_profile(opened, self.vectors, laid_out(opened, {NEUTRAL: self.prompts}), self.layer)
        mean = read.readings(self.vectors, NEUTRAL).mean(0)
        return {f"foreshock/{self.vectors.emotions[k]}": round(float(mean[k]), 4) for k in self._columns}

    def on_train_begin(
        self, _args: TrainingArguments, state: TrainerState, control: TrainerControl, *, model: Any, **_: Any
    ) -> None:
        """The profile before training."""
        self._note(state, control, model)

    def on_step_end(
        self, _args: TrainingArguments, state: TrainerState, control: TrainerControl, *, model: Any, **_: Any
    ) -> None:
        """The profile every N steps and after the last that was planned."""
        if state.global_step % self.every == 0 or state.global_step == state.max_steps:
            self._note(state, control, model)

    def on_train_end(
        self, _args: TrainingArguments, state: TrainerState, control: TrainerControl, *, model: Any, **_: Any
    ) -> None:
        """The profile where training was stopped. The planned end is read in its own step, while reporters are still open."""
        if self._last != state.global_step:
            self._note(state, control, model)

    def _note(self, state: TrainerState, control: TrainerControl, model: Any) -> None:
        self._last = state.global_step
        if not state.is_world_process_zero:
            return
        readings = self.profile(extract_model_from_parallel(model))
        if self._log:
            due = control.should_log
            self._log(readings)
            control.should_log = due  # logging takes it back, and with it the loss that was to be logged at this step
        else:
            state.log_history.append({**readings, "epoch": state.epoch or 0.0, "step": state.global_step})


@contextlib.contextmanager
def undisturbed(model: torch.nn.Module) -> Iterator[None]:
    """Inside, the model is in evaluation mode; afterwards each module's mode and torch's random states are as before."""
    modes = {module: module.training for module in model.modules()}
    devices = sorted({p.device.index or 0 for p in model.parameters() if p.device.type == "cuda"})
    try:
        with torch.random.fork_rng(devices), torch.no_grad():
            model.eval()
            yield
    finally:
        for module, training in modes.items():
            module.training = training
