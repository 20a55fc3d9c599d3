"""The vLLM plug-in: its parts that need no vLLM, and (slow, where vLLM is installed) all of it in the real engine."""

from __future__ import annotations

import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks import vllm_running
from benchmarks.vllm_invariants import Bench, invariants
from foreshock.errors import ForeshockError, NotADecoder, ServerError, SteeringError, UnknownEmotion
from foreshock.interop.vllm_layers import blocks_of, is_fused
from foreshock.interop.vllm_plugin import layers
from foreshock.interop.vllm_readings import Watched
from foreshock.interop.vllm_request import Asked, added, asked, check_fits
from foreshock.steering import Steering
from foreshock.vectors import STRONGEST, EmotionVectors

WORDS = ("calm", "desperate", "sad")


@pytest.fixture(scope="module")
def vectors() -> EmotionVectors:
    draw = np.random.default_rng(0)
    return EmotionVectors(
        WORDS, (0, 1), draw.standard_normal((2, 3, 8)).astype(np.float32), mean=np.zeros((2, 8), np.float32),
        spread=np.ones((2, 3), np.float32), residual_norm=np.array([3.0, 5.0], np.float32),
        neutral=(np.zeros((0, 8)),) * 2, reading_layer=1, steering_layer=0,
    )  # fmt: skip


def test_a_request_says_what_it_wants_as_an_object_or_as_json(vectors: EmotionVectors) -> None:
    wish = {"readings": ["sad"], "steer": {"calm": 0.05, "desperate": 0}, "span": "reply"}
    found = asked({"foreshock": wish}, vectors)
    assert found == Asked(("sad",), {"calm": 0.05}, "reply")
    as_text = '{"readings": ["sad"], "steer": {"calm": 0.05, "desperate": 0}, "span": "reply"}'
    assert asked({"foreshock": as_text}, vectors) == found
    assert asked({"foreshock": found.to_json()}, vectors) == found
    assert asked({"foreshock": {"readings": True}}, vectors) == Asked(WORDS)
    assert asked({"foreshock": {"readings": ["sad", "sad"], "prompt": False}}, vectors) == Asked(("sad",), prompt=False)
    assert asked({"foreshock": {"steer": {"calm": -STRONGEST}}}, vectors) == Asked(steer={"calm": -STRONGEST})


@pytest.mark.parametrize("extra", [None, {}, {"other": 1}, {"foreshock": {}}, {"foreshock": {"steer": {"calm": 0.0}}}])
def test_a_request_that_wants_nothing_is_left_alone(vectors: EmotionVectors, extra: dict | None) -> None:
    assert asked(extra, vectors) is None


@pytest.mark.parametrize(
    ("wish", "error"),
    [
        ("{no json", ServerError),
        ({"reading": True}, ServerError),
        ({"readings": "sad"}, ServerError),
        ({"readings": ["wistfulness beyond words"]}, UnknownEmotion),
        ({"steer": {"hostile": 0.1}}, UnknownEmotion),
        ({"steer": {"calm": float("nan")}}, SteeringError),
        ({"steer": {"calm": True}}, SteeringError),
        ({"steer": {"calm": 2.01}}, SteeringError),
        ({"steer": {"calm": -1e300}}, SteeringError),
        ({"steer": {"calm": 10**400}}, SteeringError),
        ({"readings": True, "prompt": "no"}, ServerError),
        ({"readings": True, "prompt": 1}, ServerError),
        ('{"steer": {"calm": ' + "9" * 5000 + "}}", ServerError),
        ({"steer": 3}, SteeringError),
        ({"steer": {"calm": 0.1}, "span": "middle"}, SteeringError),
    ],
)
def test_a_mistake_is_told_in_a_sentence(vectors: EmotionVectors, wish: object, error: type[ForeshockError]) -> None:
    with pytest.raises(error, match=r"\w+ .*\."):
        asked({"foreshock": wish}, vectors)


def test_only_steered_requests_keep_a_prefix_cache_of_their_own() -> None:
    assert Asked(("sad",)).salt(None) is None
    assert Asked(("sad",)).salt("own") == "own"
    salts = {
        Asked(steer={"calm": 0.1}).salt(None),
        Asked(steer={"calm": 0.2}).salt(None),
        Asked(steer={"sad": 0.1}).salt(None),
        Asked(steer={"calm": 0.1}, span="reply").salt(None),
        Asked(steer={"calm": 0.1}).salt("own"),
    }
    assert len(salts) == 5
    one, other = {"calm": 0.1, "sad": 0.2}, {"sad": 0.2, "calm": 0.1}
    assert Asked(steer=one).salt(None) == Asked(steer=other).salt(None)


def test_what_is_added_is_what_a_steering_adds(vectors: EmotionVectors) -> None:
    doses = {"calm": 0.3, "sad": -0.1}
    assert np.array_equal(added(doses, vectors, 1), Steering(doses, vectors, [1]).vector(1))


def test_what_the_models_numbers_do_not_hold_is_refused(vectors: EmotionVectors) -> None:
    high = replace(vectors, residual_norm=np.array([3.0, 1e5], np.float32))
    vector = added({"calm": 1.0}, high, 1)
    check_fits(vector, torch.finfo(torch.bfloat16).max)
    check_fits(added({"calm": 1.0}, vectors, 1), torch.finfo(torch.float16).max)
    for wrong in (vector, vector * np.inf, vector * np.nan):
        with pytest.raises(SteeringError, match=r"numbers, which end at 6.55e\+04; give smaller strengths"):
            check_fits(wrong, torch.finfo(torch.float16).max)


def test_layers_come_from_the_study_or_the_environment(
    vectors: EmotionVectors, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert layers(vectors) == (1, 0)
    assert layers(replace(vectors, steering_layer=None)) == (1, 1)
    monkeypatch.setenv("FORESHOCK_READING_LAYER", "0")
    assert layers(vectors) == (0, 0)
    monkeypatch.setenv("FORESHOCK_STEERING_LAYER", "last")
    with pytest.raises(ServerError, match="numbers of layers"):
        layers(vectors)


class _Norm(nn.Module):
    """As vLLM's: adds, and gives back what it normed and the new stream; or (`adds` false) as Cohere's."""

    def __init__(self, adds: bool) -> None:
        super().__init__()
        self.adds, self.weight = adds, nn.Parameter(torch.ones(8))

    def forward(self, hidden_states: torch.Tensor, residual: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        stream = hidden_states + residual if self.adds else residual
        return stream * self.weight, stream


class _Pair(nn.Module):
    def __init__(self, adds: bool) -> None:
        super().__init__()
        self.norm = _Norm(adds)

    def forward(self, hidden_states: torch.Tensor, residual: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.norm(hidden_states, residual)


class _Single(nn.Module):
    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return hidden_states


class _Unproved(_Single):
    def forward(self, hidden_states: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        return hidden_states + residual


def test_a_block_of_two_outputs_is_summed_only_where_its_norm_does() -> None:
    assert is_fused(_Pair(adds=True))
    assert not is_fused(_Pair(adds=False))
    assert not is_fused(_Single())
    with pytest.raises(NotADecoder, match="could not be proved"):
        is_fused(_Unproved())


def test_blocks_are_found_by_their_number_and_two_candidates_are_refused() -> None:
    blocks = nn.ModuleList(_Single() for _ in range(3))
    model = nn.Sequential(nn.ModuleList([nn.Linear(2, 2)] * 3), blocks)
    assert blocks_of(model, 3) is blocks
    with pytest.raises(NotADecoder, match="0 lists of 4 blocks"):
        blocks_of(model, 4)
    with pytest.raises(NotADecoder, match="2 lists of 3 blocks"):
        blocks_of(nn.Sequential(blocks, nn.ModuleList(_Single() for _ in range(3))), 3)


def test_what_an_engine_ran_beyond_the_reply_is_cut_off() -> None:
    values = np.arange(10, dtype=np.float32).reshape(5, 2)
    handed = {
        "id": "a", "emotions": ["calm", "sad"], "layer": 1, "first": 3, "tokens": [7, 8, 9, 10, 11], "values": values.tobytes(),
    }  # fmt: skip
    assert np.array_equal(Watched.of(handed).values, values)
    cut = Watched.of(handed, tokens=7)  # positions 3, 4, 5; the last token, 6, is never given to the model
    assert cut.tokens == (7, 8, 9)
    assert np.array_equal(cut.values, values[:3])


def test_an_interpreter_that_cannot_run_the_plug_in_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(vllm_running.ENVIRONMENT, "/nowhere/python")
    assert vllm_running.lacking() == "there is no /nowhere/python"
    if find_spec("vllm") is None:
        monkeypatch.setenv(vllm_running.ENVIRONMENT, sys.executable)
        assert f"{sys.executable} has no vllm" in (vllm_running.lacking() or "")


@pytest.mark.slow
def test_invariants_hold_in_the_real_engine(tmp_path: Path) -> None:
    if why := vllm_running.lacking():
        pytest.skip(f"NO vLLM HERE: the plug-in was not tested in it; {why}.")
    interpreter = vllm_running.made()
    found = list(invariants(Bench(interpreter, tmp_path)))
    assert len(found) >= 26
    assert not [(one.name, one.figure, one.most) for one in found if not one.holds]
