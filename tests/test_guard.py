"""The closed loop: it acts on what reads high, lets go again, stays within its bound, and else leaves all as it is."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from foreshock.activations import read_passages
from foreshock.errors import SteeringError, UnknownEmotion, VectorsError, WrongModel
from foreshock.guard import Action, Guard
from foreshock.model import LanguageModel, Site
from foreshock.model.planted import EMOTIONS, Planted, cue, planted
from foreshock.steering import BeyondRange, Steering
from foreshock.texts import stories
from foreshock.texts.schema import Turn
from foreshock.vectors import EmotionVectors
from foreshock.vectors.fitting import fit_vectors
from tests.exact_vectors import exact

FILLERS = [f"w{k}" for k in range(14)]
CUE = cue("desperate", 0, 0)
LOW, HIGH = " ".join(FILLERS), " ".join([*FILLERS, *[CUE] * 4])
NORM = 2.0
"""What the vectors say is the mean residual norm."""


@pytest.fixture(scope="module")
def vectors(plant: Planted) -> EmotionVectors:
    """The planted directions themselves, at every layer; steering at 1, reading at 3."""
    return exact(plant.model, plant.directions, (0, 1, 2, 3), norms=[NORM] * 4, steering_layer=1)


def guarding(vectors: EmotionVectors, **changed: Any) -> Guard:
    given: dict[str, Any] = {"watch": "desperate", "above": 1.5, "below": 1.0, "counter": {"desperate": -0.2}}
    return Guard(vectors, **(given | {"most": 0.5, "window": 4} | changed))


def measured(guard: Guard, hidden: torch.Tensor) -> list[float]:
    """The watched reading at each token, not smoothed."""
    _, w, b = guard.readout()
    return (hidden.float() @ w + b).tolist()


@torch.inference_mode()
def fed(model: LanguageModel, prompt: Sequence[int], then: Sequence[int], guard: Guard, layer: int = 3) -> list[float]:
    """Readings of one row after `layer`: of the prompt's tokens, and of those fed after it, one a pass."""
    seen: list[float] = []
    with model.hooked({Site(layer): lambda hidden: seen.extend(measured(guard, hidden[0]))}):
        cache = model.model(torch.tensor([prompt]), use_cache=True).past_key_values
        for token in then:
            cache = model.model(torch.tensor([[token]]), past_key_values=cache, use_cache=True).past_key_values
    return seen


@torch.inference_mode()
def told(model: LanguageModel, prompts: Sequence[Sequence[int]], most: int = 10, **how: Any) -> Any:
    """What is generated for prompts of any lengths, padded on the left, with the logits of each token."""
    longest, pad = max(map(len, prompts)), model.tokenizer.pad_token_id
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in prompts])
    ids = torch.tensor([[pad] * (longest - len(row)) + list(row) for row in prompts])
    given = {"do_sample": False, "max_new_tokens": most, "eos_token_id": None, "pad_token_id": pad} | how
    out = model.model.generate(ids, attention_mask=mask, output_logits=True, return_dict_in_generate=True, **given)
    return out.sequences, torch.stack(out.logits, 1)


def test_it_acts_from_the_first_new_token_on_and_the_reading_falls(plant: Planted, vectors: EmotionVectors) -> None:
    guard, model = guarding(vectors, below=0.0), plant.model
    prompt, then = model.encode(HIGH).ids, model.encode("w5 " * 10).ids
    plain = fed(model, prompt, then, guard)
    with guard.on(model):
        held = fed(model, prompt, then, guard)
    count = len(prompt)
    assert held[:count] == plain[:count]  # the prompt is read, not written to
    assert held[count] < plain[count] - 0.3 and np.mean(held[count:]) < np.mean(plain[count:]) - 0.3
    assert guard.actions[0] == Action(0, count - 1, pytest.approx(np.mean(plain[count - 4 : count])), 0.2, 0)
    assert fed(model, prompt, then, guard) == plain  # left without a trace


def test_hysteresis_grows_holds_and_lets_go(plant: Planted, vectors: EmotionVectors) -> None:
    """At layer 0 a token's reading is its own, about 1.36 for a cue and 0.12 else; two are averaged."""
    guard, model = guarding(vectors, read_at=0, window=2, above=1.0, below=0.5), plant.model
    prompt = model.encode(LOW).ids
    with guard.on(model):
        fed(model, prompt, model.encode(f"{CUE} {CUE} w1 {CUE} w1 w1 w1").ids, guard)
    # 0.74 on the way up: nothing yet. 1.36: a step. 0.74 three times: it stays. 0.12: gone.
    assert [(a.token, a.strength) for a in guard.actions] == [(len(prompt) + 1, 0.2), (len(prompt) + 5, 0.0)]


def test_the_strength_is_what_the_stream_gets_and_keeps_to_its_bound(plant: Planted, vectors: EmotionVectors) -> None:
    guard, model = guarding(vectors, read_at=0, window=1, above=1.0), plant.model
    before, after = [], []
    with (
        model.hooked({Site(1): lambda hidden: before.append(hidden[0, -1])}),
        guard.on(model),
        model.hooked({Site(1): lambda hidden: after.append(hidden[0, -1])}),
    ):
        fed(model, model.encode(LOW).ids, model.encode(f"{CUE} " * 5 + "w1 w1").ids, guard)
    lengths = [float((b - a).norm()) / NORM for b, a in zip(before, after, strict=True)]
    # prompt, and the first cue: decided then, written from the next token on
    assert lengths == pytest.approx([0, 0, 0.2, 0.4, 0.5, 0.5, 0.5, 0], abs=1e-5)
    assert [action.strength for action in guard.actions] == [0.2, 0.4, 0.5, 0.0]


def test_rows_are_guarded_each_on_their_own(plant: Planted, vectors: EmotionVectors) -> None:
    guard, model = guarding(vectors), plant.model
    prompts = [model.encode(text).ids for text in (LOW + " w3 w4 w5 w6 w7 w8", HIGH, LOW)]
    _, plain = told(model, prompts)
    with guard.on(model):
        _, held = told(model, prompts)
    together = [replace(action, row=0) for action in guard.actions]
    assert {action.row for action in guard.actions} == {1}
    assert torch.equal(held[0], plain[0]) and torch.equal(held[2], plain[2])
    assert not torch.allclose(held[1], plain[1], atol=1e-3)
    with guard.on(model):
        _, alone = told(model, [prompts[1]])
    assert torch.allclose(held[1], alone[0], atol=1e-4)
    assert [(a.token, a.strength) for a in guard.actions] == [(a.token, a.strength) for a in together]


def test_a_guard_that_never_acts_changes_nothing_to_the_bit(plant: Planted, vectors: EmotionVectors) -> None:
    guard, model = guarding(vectors, above=100.0), plant.model
    prompts = [model.encode(text).ids for text in (HIGH, LOW)]
    ids, plain = told(model, prompts)
    with guard.on(model):
        same, held = told(model, prompts)
    assert torch.equal(held, plain) and torch.equal(same, ids) and not guard.actions


@pytest.mark.parametrize("layer", [0, 1, 2, 3])
def test_only_above_the_steering_layer_the_loop_sees_its_own_write(
    plant: Planted, vectors: EmotionVectors, layer: int
) -> None:
    guard, model = guarding(vectors, read_at=layer, window=1, above=1.0, below=0.5), plant.model
    prompt, then = model.encode(HIGH).ids, model.encode(f"{CUE} " * 6).ids
    plain = fed(model, prompt, then, guard, layer)
    with guard.on(model):
        fed(model, prompt, then, guard, layer)
    first, *later = guard.actions
    assert first.reading == pytest.approx(plain[len(prompt) - 1])  # both see the prompt as it is
    echoes = [abs(action.reading - plain[action.token]) for action in later]
    assert len(echoes) == 2 and (max(echoes) < 1e-5 if layer <= 1 else min(echoes) > 0.1)


def test_a_new_generation_begins_anew(plant: Planted, vectors: EmotionVectors) -> None:
    guard, model = guarding(vectors), plant.model
    high, low, then = (model.encode(text).ids for text in (HIGH, LOW, "w5 " * 6))
    with guard.on(model):
        for prompt in (high, low, high):
            fed(model, prompt, then, guard)
    first, third = ([replace(a, generation=0) for a in guard.actions if a.generation == k] for k in (0, 2))
    assert first and first == third and {a.generation for a in guard.actions} == {0, 2}
    with guard.on(model):
        assert not guard.actions


def test_several_sampled_replies_of_one_prompt_have_a_state_each(plant: Planted, vectors: EmotionVectors) -> None:
    guard, model = guarding(vectors), plant.model
    with guard.on(model):
        ids, _ = told(model, [model.encode(HIGH).ids], num_return_sequences=3, do_sample=True)
    assert len(ids) == 3 and {action.row for action in guard.actions} == {0, 1, 2}


def test_a_row_that_has_ended_is_let_be(plant: Planted, vectors: EmotionVectors) -> None:
    guard, model = guarding(vectors), plant.model
    high = model.encode(HIGH).ids
    for mark in (model.tokenizer.eos_token_id, model.tokenizer.pad_token_id):
        with guard.on(model):
            fed(model, high, [mark] * 5, guard)
        assert [action.token for action in guard.actions] == [len(high) - 1]  # the prompt's own end, and no more


def test_the_first_tokens_and_padding_do_not_count(plant: Planted, vectors: EmotionVectors) -> None:
    guard, model = guarding(vectors, read_at=0, window=4), plant.model
    short = model.encode(f"{CUE} " * 5).ids
    with guard.on(model):
        told(model, [short, model.encode(LOW).ids], most=3)
    assert not guard.actions


def test_several_emotions_are_watched_with_weights(plant: Planted, vectors: EmotionVectors) -> None:
    guard = guarding(vectors, watch={"desperate": 3.0, "calm": -1.0})
    layer, w, b = guard.readout()
    wanted = (3 * plant.directions[EMOTIONS.index("desperate")] - plant.directions[EMOTIONS.index("calm")]) / 4
    assert layer == 3 and b == 0 and np.allclose(w, wanted)


def test_it_reads_a_stream_that_is_steered_too(plant: Planted, vectors: EmotionVectors) -> None:
    guard, model = guarding(vectors), plant.model
    prompt, then = model.encode(LOW).ids, model.encode("w5 " * 6).ids
    with guard.on(model):
        fed(model, prompt, then, guard)
    assert not guard.actions
    with model.steered(Steering({"desperate": 1.0}, vectors)), guard.on(model):
        fed(model, prompt, then, guard)
    assert guard.actions


def test_an_exception_takes_the_guard_off(plant: Planted, vectors: EmotionVectors) -> None:
    guard, model = guarding(vectors), plant.model
    prompts = [model.encode(HIGH).ids]
    _, plain = told(model, prompts)
    with contextlib.suppress(RuntimeError), guard.on(model):
        told(model, prompts, most=3)
        raise RuntimeError("stop")
    assert torch.equal(told(model, prompts)[1], plain)
    assert not model.anatomy.decoder._forward_pre_hooks


def test_generating_without_a_cache_is_refused_and_scoring_is_not(plant: Planted, vectors: EmotionVectors) -> None:
    guard, model = guarding(vectors), plant.model
    ids = model.encode(HIGH).ids
    with guard.on(model), pytest.raises(SteeringError, match="use_cache=True"):
        told(model, [ids], use_cache=False)
    with guard.on(model), torch.inference_mode():
        for _ in range(2):
            model.model(torch.tensor([ids]), use_cache=False)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"below": 2.0}, "at most `above`"),
        ({"above": float("nan")}, "at most `above`"),
        ({"most": 0.0}, "a number above 0"),
        ({"window": 0}, "at least 1"),
        ({"counter": {}}, "counter-vector is nothing"),
        ({"counter": {"calm": 0.0}}, "counter-vector is nothing"),
        ({"counter": {"calm": float("inf")}}, "finite number"),
        ({"watch": {}}, "nothing to watch"),
        ({"watch": {"calm": 0.0}}, "nothing to watch"),
    ],
)
def test_what_cannot_be_meant_is_said(vectors: EmotionVectors, changed: dict[str, Any], said: str) -> None:
    with pytest.raises(SteeringError, match=said):
        guarding(vectors, **changed)


def test_emotions_layers_and_models_are_checked(plant: Planted, vectors: EmotionVectors) -> None:
    with pytest.raises(UnknownEmotion, match="did you mean"):
        guarding(vectors, watch="despertae")
    with pytest.raises(UnknownEmotion):
        guarding(vectors, counter={"clam": 0.1})
    for where in ("read_at", "write_at"):
        with pytest.raises(VectorsError, match="no layer 9"):
            guarding(vectors, **{where: 9})
    with pytest.raises(WrongModel), guarding(vectors).on(planted(seed=1).model):
        pass
    weak = replace(vectors, usable_strength=0.3)
    with pytest.warns(BeyondRange, match="beyond 0.3"), guarding(weak).on(plant.model):
        pass


@pytest.mark.slow
def test_on_a_real_model_the_counter_vector_brings_the_reading_down(embedded: LanguageModel) -> None:
    passages = stories(["desperate", "calm", "afraid", "happy", "angry", "sad"])
    means = read_passages(embedded, [embedded.encode(p.text) for p in passages], [15, 20])
    made_on = {"model": {"fingerprint": embedded.fingerprint}}
    vectors = replace(fit_vectors(passages, means, None, 20, manifest=made_on), steering_layer=15)
    message = "My rent is due tonight, nobody answers, and they will put us out on the street. I have nothing left."
    turns = [Turn(role="user", content=message)]
    prompt = embedded.encode(turns, reply=True).ids
    whole = embedded.encode(
        [*turns, Turn(role="assistant", content="Please, I beg you, help me, I have no way out. " * 3)]
    )
    guard = Guard(vectors, "desperate", above=0.3, below=-0.5, counter={"calm": 0.05, "desperate": -0.05}, most=0.15)
    plain = fed(embedded, prompt, whole.ids[len(prompt) :], guard, 20)[len(prompt) :]
    with guard.on(embedded):
        held = fed(embedded, prompt, whole.ids[len(prompt) :], guard, 20)[len(prompt) :]
    assert guard.actions and max(action.strength for action in guard.actions) <= 0.15
    assert np.mean(held) < np.mean(plain) - 0.1
    idle = Guard(vectors, "desperate", above=99, below=0, counter={"calm": 0.05})
    ids, logits = told(embedded, [prompt, prompt[-20:]], most=6)
    with idle.on(embedded):
        same, again = told(embedded, [prompt, prompt[-20:]], most=6)
    assert torch.equal(same, ids) and torch.equal(again, logits)
