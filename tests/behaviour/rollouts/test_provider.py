"""A study's model inside real Inspect evaluations: steered by config and arguments, read, and clear about mistakes."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from inspect_ai._util.error import PrerequisiteError
from inspect_ai.log import EvalLog
from inspect_ai.model import ChatMessageSystem, ChatMessageUser, GenerateConfig, Model, get_model
from inspect_ai.tool import tool

from foreshock.behaviour.rollouts.asked import Asked, asked, doses
from foreshock.errors import ModelError, SteeringError, UnknownEmotion
from foreshock.model.planted import EMOTIONS

PROMPTS = [f"w{k} w{k + 1} w{k + 2}" for k in range(20)]
Run = Callable[..., EvalLog]


def opened(study: Path, **more: Any) -> Model:
    return get_model(f"foreshock/{study}", dtype="float32", **more)


def texts(log: EvalLog) -> list[str]:
    assert log.status == "success", log.error
    return [sample.output.completion for sample in log.samples or []]


def steered(strength: float, **more: Any) -> dict[str, Any]:
    return {"foreshock": {"steer": {"calm": strength}, **more}}


def test_steering_through_the_config_changes_the_text_and_strength_0_does_not(plant_study: Path, run: Run) -> None:
    model = opened(plant_study)
    plain = texts(run(PROMPTS, model, max_tokens=6))
    assert texts(run(PROMPTS, model, max_tokens=6, extra_body=steered(0.0))) == plain
    calm = texts(run(PROMPTS, model, max_tokens=6, extra_body=steered(2.0)))
    assert sum("calm" in text for text in calm) > sum("calm" in text for text in plain) + 10
    by_argument = texts(run(PROMPTS, opened(plant_study, steer="calm=2.0"), max_tokens=6))
    assert by_argument == calm
    back = texts(run(PROMPTS, opened(plant_study, steer="calm=2.0"), max_tokens=6, extra_body=steered(0.0)))
    assert back == plain


def test_calls_of_one_batch_have_steerings_of_their_own(plant_study: Path) -> None:
    asyncio.run(own_steerings(plant_study))


async def own_steerings(plant_study: Path) -> None:
    model = opened(plant_study)
    doses = [{"calm": 2.0}, {}, {"angry": 2.0}, {"calm": -1.0, "happy": 2.0}]
    configs = [GenerateConfig(max_tokens=5, extra_body={"foreshock": {"steer": dose}}) for dose in doses]
    together = await asyncio.gather(*(model.generate("w1 w2 w3", config=config) for config in configs))
    alone = [await model.generate("w1 w2 w3", config=config) for config in configs]
    assert [output.completion for output in together] == [output.completion for output in alone]
    assert "calm" in together[0].completion and "angry" in together[2].completion


def test_readings_stand_in_the_samples_metadata(plant_study: Path, run: Run) -> None:
    log = run(PROMPTS[:3], opened(plant_study), max_tokens=6, extra_body=steered(2.0, span="reply"))
    for sample in log.samples or []:
        found = sample.metadata["foreshock"]
        assert found == sample.output.metadata["foreshock"]
        assert found["steering"] == {"calm": 2.0} and found["span"] == "reply" and found["layers"] == [1]
        assert len(found["readings"]) == 5 and set(found["readings"]) <= set(EMOTIONS)
        assert list(found["readings"].values()) == sorted(found["readings"].values(), reverse=True)
        assert set(found["readings_of_steered"]) == {"calm"}
        assert found["surprise"] > 0 and "beyond 0.5" in found["warning"]
        usage = sample.output.usage
        assert usage.output_tokens <= 6 and usage.total_tokens == usage.input_tokens + usage.output_tokens
        assert usage.input_tokens == 6  # [user] w w w [end] [assistant]


def test_steering_shows_in_the_readings_and_in_the_surprise(plant_study: Path, run: Run) -> None:
    def shown(strength: float) -> list[dict[str, Any]]:
        log = run(PROMPTS, opened(plant_study), max_tokens=6, temperature=1.0, seed=1, extra_body=steered(strength))
        return [sample.metadata["foreshock"] for sample in log.samples or []]

    plain, calm = shown(0.0), shown(2.0)
    assert "warning" not in plain[0] and plain[0]["seed"] == 1
    assert sum(one["surprise"] for one in calm) > sum(one["surprise"] for one in plain)


def test_system_messages_and_stop_strings_reach_the_model(plant_study: Path) -> None:
    model = opened(plant_study)

    async def ask() -> None:
        turns = [ChatMessageSystem(content="w9"), ChatMessageUser(content="w1 w2 w3")]
        output = await model.generate(turns, config=GenerateConfig(max_tokens=5))
        assert output.usage.input_tokens == 9 and output.stop_reason == "max_tokens"
        stop = output.completion.split()[1]
        cut = await model.generate(turns, config=GenerateConfig(max_tokens=5, stop_seqs=[stop]))
        assert cut.completion == output.completion.partition(stop)[0].strip() and cut.stop_reason == "stop"

    asyncio.run(ask())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"steer": "despairate=0.1"}, "no emotion 'despairate'.*did you mean desperate"),
        ({"steer": "calm"}, "steering 'calm' cannot be read"),
        ({"steer": "calm=nan"}, "cannot be read"),
        ({"span": "middle"}, "no span 'middle'"),
        ({"speed": 2}, "No model argument speed"),
        ({"config": GenerateConfig(extra_body={"foreshock": {"ster": {}}})}, "keys steer and span"),
    ],
)
def test_a_mistake_is_said_in_a_sentence_before_the_first_sample(
    plant_study: Path, arguments: dict[str, Any], said: str
) -> None:
    with pytest.raises(PrerequisiteError) as problem:
        opened(plant_study, **arguments)
    assert re.search(said, str(problem.value.message))


def test_a_study_that_is_not_there_is_named() -> None:
    with pytest.raises(PrerequisiteError) as problem:
        get_model("foreshock/study/nowhere")
    assert "no study at 'study/nowhere'" in str(problem.value.message)


def test_tools_and_prompts_beyond_the_context_are_refused(plant_study: Path, run: Run) -> None:
    log = run([" ".join(["w1"] * 500)], opened(plant_study))
    assert log.status == "error" and "shorten the prompt" in log.error.message

    @tool
    def add() -> Any:
        async def execute(x: int) -> int:
            """Adds.

            Args:
                x: a number.
            """
            return x

        return execute

    with pytest.raises(ModelError, match="calls no tools"):
        asyncio.run(opened(plant_study).generate("w1", tools=[add()]))


def test_what_is_asked_for_is_read_from_lists_texts_and_mappings() -> None:
    assert (
        doses("desperate=0.05,calm=-.02")
        == doses(["desperate=0.05", "calm=-.02"])
        == {"desperate": 0.05, "calm": -0.02}
    )
    default = Asked({"calm": 0.1}, "reply")
    assert asked(None, default) == default
    assert asked({"foreshock": {"steer": {}}, "other": 1}, default) == Asked({}, "reply")
    assert asked({"foreshock": {"span": "prompt"}}, default) == Asked({"calm": 0.1}, "prompt")
    with pytest.raises(SteeringError, match="keys steer and span"):
        asked({"foreshock": [1]}, default)


def test_an_unknown_emotion_in_one_call_fails_that_call(plant_study: Path) -> None:
    config = GenerateConfig(extra_body={"foreshock": {"steer": {"despairate": 1}}})
    with pytest.raises(UnknownEmotion, match="despairate"):
        asyncio.run(opened(plant_study).generate("w1", config=config))
