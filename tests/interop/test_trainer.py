"""Real short fine-tunes: the profile moves the right way, and training with the callback is training without it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from foreshock.errors import StudyError, UnknownEmotion, WrongModel
from foreshock.interop.trainer import EmotionProfileCallback
from foreshock.model.planted import CUES, TOPICS, Planted, cue, planted
from foreshock.vectors import EmotionVectors
from tests.exact_vectors import exact

STEPS = 12


def texts(emotion: str, seed: int = 0) -> list[str]:
    """Little stories: fillers, the emotion's cues of all topics, and its word."""
    random = np.random.default_rng(seed)
    own = [cue(emotion, topic, k) for topic in range(TOPICS) for k in range(CUES)]
    return [
        " ".join(random.permutation([*random.choice(own, 6), *[emotion] * 8, *(f"w{k}" for k in random.integers(0, 120, 10))]))
        for _ in range(32)
    ]  # fmt: skip


def arguments(folder: Path, **more: Any) -> TrainingArguments:
    given = {"max_steps": STEPS, "per_device_train_batch_size": 8, "learning_rate": 3e-3, "logging_steps": 4}
    quiet = {"report_to": [], "disable_tqdm": True, "save_strategy": "no", "use_cpu": True, "seed": 0}
    return TrainingArguments(str(folder), **(given | quiet | more))


def examples(plant: Planted, some: list[str]) -> list[dict[str, list[int]]]:
    encoded = [plant.model.encode(text).ids for text in some]
    return [{"input_ids": ids, "labels": ids, "attention_mask": [1] * len(ids)} for ids in encoded]


def vectors_of(plant: Planted) -> EmotionVectors:
    return exact(plant.model, plant.directions, [3])


def prompts(plant: Planted) -> list:
    return [dialogue.turns[:1] for dialogue in plant.neutral[:8]]


@pytest.mark.parametrize(("taught", "other"), [("sad", "happy"), ("happy", "sad")])
def test_a_fine_tune_on_one_emotion_raises_its_reading(
    taught: str, other: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plant = planted()
    callback = EmotionProfileCallback(
        vectors_of(plant), plant.model.tokenizer, ["sad", "happy"], prompts(plant), every=5
    )
    trainer = Trainer(plant.model.model, arguments(tmp_path), train_dataset=examples(plant, texts(taught)))
    callback.attach(trainer)
    trainer.train()
    logged = [entry for entry in trainer.state.log_history if "foreshock/sad" in entry]
    assert [entry["step"] for entry in logged] == [0, 5, 10, STEPS]
    moved = {word: logged[-1][f"foreshock/{word}"] - logged[0][f"foreshock/{word}"] for word in ("sad", "happy")}
    assert moved[taught] > 0.1
    assert moved[taught] > 3 * abs(moved[other])
    assert (
        sum("loss" in entry for entry in trainer.state.log_history) == STEPS // 4
    )  # the trainer's own logs are all there
    assert f"'foreshock/{taught}'" in capsys.readouterr().out  # and its reporters have the readings


class Stop(TrainerCallback):
    """Ends training after a step."""

    def __init__(self, after: int) -> None:
        self.after = after

    def on_step_end(self, _args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        control.should_training_stop = state.global_step == self.after


@pytest.mark.parametrize("attached", [True, False])
@pytest.mark.parametrize(("after", "steps"), [(7, [0, 5, 7]), (5, [0, 5])])
def test_training_that_stops_early_is_read_where_it_ended(
    after: int, steps: list[int], attached: bool, plant: Planted, tmp_path: Path
) -> None:
    callback = EmotionProfileCallback(vectors_of(plant), plant.model.tokenizer, ["sad"], prompts(plant), every=5)
    trainer = Trainer(with_dropout(plant), arguments(tmp_path), train_dataset=examples(plant, texts("sad")))
    callback.attach(trainer) if attached else trainer.add_callback(callback)
    trainer.add_callback(Stop(after))
    trainer.train()
    logged = [entry for entry in trainer.state.log_history if "foreshock/sad" in entry]
    assert [entry["step"] for entry in logged] == steps
    assert callback.profile(trainer.model)["foreshock/sad"] == logged[-1]["foreshock/sad"]


def with_dropout(plant: Planted) -> LlamaForCausalLM:
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=plant.model.anatomy.vocabulary,
        hidden_size=128,
        intermediate_size=64,
        num_hidden_layers=4,
        num_attention_heads=4,
        attention_dropout=0.2,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=5,
    )
    return LlamaForCausalLM(config)


@pytest.mark.parametrize("attached", [True, False])
def test_training_with_the_callback_gives_the_same_weights_to_the_bit(
    attached: bool, plant: Planted, tmp_path: Path
) -> None:
    ends, modes = [], []
    for watched in (False, True):
        model = with_dropout(plant)
        trainer = Trainer(model, arguments(tmp_path), train_dataset=examples(plant, texts("sad")))
        if watched:
            callback = EmotionProfileCallback(vectors_of(plant), plant.model.tokenizer, prompts=prompts(plant), every=1)
            callback.attach(trainer) if attached else trainer.add_callback(callback)
        trainer.train()
        modes.append([module.training for module in model.modules()])
        ends.append({name: weight.clone() for name, weight in model.state_dict().items()})
        assert sum("foreshock/calm" in entry for entry in trainer.state.log_history) == watched * (STEPS + 1)
    assert modes[0] == modes[1] and all(modes[1])
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_reading_leaves_modes_gradients_and_random_states_alone(plant: Planted) -> None:
    model = with_dropout(plant).train()
    model.model.layers[1].eval()  # a part that someone froze
    modes = [module.training for module in model.modules()]
    torch.manual_seed(7)
    wanted = torch.rand(3)
    torch.manual_seed(7)
    EmotionProfileCallback(vectors_of(plant), plant.model.tokenizer, prompts=prompts(plant)).profile(model)
    assert torch.equal(torch.rand(3), wanted)
    assert [module.training for module in model.modules()] == modes
    assert all(weight.grad is None and weight.requires_grad for weight in model.parameters())


def test_mistakes_are_said_before_training_begins(plant: Planted, tmp_path: Path) -> None:
    vectors = vectors_of(plant)
    with pytest.raises(UnknownEmotion):
        EmotionProfileCallback(vectors, plant.model.tokenizer, ["bored"])
    with pytest.raises(StudyError):
        EmotionProfileCallback(vectors, plant.model.tokenizer, prompts=[])
    small = exact(plant.model, plant.directions[:, :64], [3])
    trainer = Trainer(with_dropout(plant), arguments(tmp_path), train_dataset=examples(plant, texts("sad")))
    EmotionProfileCallback(small, plant.model.tokenizer, prompts=prompts(plant)).attach(trainer)
    with pytest.raises(WrongModel):
        trainer.train()
