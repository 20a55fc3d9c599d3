"""Inspect's provider `foreshock`: a study's model, steered by the generate config, with readings beside each reply."""

from __future__ import annotations

import random
import warnings
from typing import Any, get_args

from inspect_ai._util.error import PrerequisiteError  # the one error that Inspect prints without a traceback
from inspect_ai.model import (
    ChatCompletionChoice,
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageTool,
    GenerateConfig,
    ModelAPI,
    ModelOutput,
    ModelUsage,
)
from inspect_ai.tool import ToolChoice, ToolInfo
from rich.markup import escape

from foreshock.behaviour.rollouts.asked import KEY, Asked, asked, doses, spanned
from foreshock.behaviour.rollouts.batching import ROWS
from foreshock.behaviour.rollouts.subject import Reply, opened
from foreshock.behaviour.rollouts.writing import Request
from foreshock.errors import ForeshockError, ModelError
from foreshock.model.generation import check_room
from foreshock.model.opening import Dtype
from foreshock.steering import BeyondRange, Steering
from foreshock.texts.schema import Turn

MOST = 400
"""Most new tokens where a task asks for no other number."""
TOP = 5
"""Emotions whose readings are returned, besides those that are steered."""


class Foreshock(ModelAPI):
    """The model of a study: `--model foreshock/study/embedded`.

    Args:
        model_name: a study's folder, its vectors.safetensors, or the name of a folder in `study/`.
        steer: the steering of every generate call that asks for none itself (see `asked`).
        span: `all`, `prompt` or `reply`.
        model_path: where the model lies now, when it is elsewhere than when the study was made.

    Raises:
        PrerequisiteError: what Foreshock's own error says; Inspect prints it without a traceback.
    """

    def __init__(
        self,
        model_name: str,
        base_url: str | None = None,
        api_key: str | None = None,
        config: GenerateConfig = GenerateConfig(),  # noqa: B008 (Inspect's signature)
        steer: Any = None,
        span: str = "all",
        model_path: str | None = None,
        dtype: Dtype = "auto",
        device: str | None = None,
        **unknown: Any,
    ) -> None:
        super().__init__(model_name, base_url, api_key, [], config)
        try:
            if unknown or dtype not in get_args(Dtype):
                given = ", ".join(unknown) or f"dtype={dtype}"
                raise ModelError(f"No model argument {given}; there are steer, span, model_path, dtype and device.")
            self.default = Asked(doses(steer), spanned(span))
            self.subject = opened(model_name, model_path, dtype, device)
            self._steering(config)  # a mistake in it is said before the first sample
        except ForeshockError as problem:
            raise PrerequisiteError(escape(str(problem))) from problem

    async def generate(
        self,
        input: list[ChatMessage],
        tools: list[ToolInfo],
        tool_choice: ToolChoice,  # noqa: ARG002
        config: GenerateConfig,
    ) -> ModelOutput:
        """A reply, with Foreshock's part in `metadata["foreshock"]`.

        Raises:
            ModelError: tools are to be called. SteeringError, UnknownEmotion: the steering cannot be done.
            TooLong: the prompt leaves no room for the reply.
        """
        if tools or any(isinstance(message, ChatMessageTool) for message in input):
            raise ModelError("The foreshock provider calls no tools; use a task without them.")
        steering = self._steering(config)
        request = self._request(input, config, steering)
        reply = await self.subject.answer(request)
        told, asked_for = reply.written, len(request.prompt)
        message = ChatMessageAssistant(content=told.text, model=self.model_name, source="generate")
        return ModelOutput(
            model=self.model_name,
            choices=[ChatCompletionChoice(message=message, stop_reason="stop" if told.finished else "max_tokens")],
            usage=ModelUsage(
                input_tokens=asked_for, output_tokens=len(told.ids), total_tokens=asked_for + len(told.ids)
            ),
            metadata={KEY: self._shown(steering, request, reply)},
        )

    def _steering(self, config: GenerateConfig) -> Steering:
        own = asked(config.extra_body, self.default)
        return Steering(own.steer, self.subject.vectors, span=own.span)

    def _request(self, input: list[ChatMessage], config: GenerateConfig, steering: Steering) -> Request:
        model = self.subject.model
        turns = [Turn(role=message.role, content=message.text) for message in input]
        with warnings.catch_warnings(action="ignore", category=BeyondRange):  # it is said in the reply's metadata
            writes = steering.writes(model)
        request = Request(
            prompt=model.encode_transcript(turns, reply=True),
            writes=writes,
            most=config.max_tokens or MOST,
            temperature=config.temperature or 0.0,
            top_p=0.95 if config.top_p is None else config.top_p,
            seed=random.getrandbits(32) if config.seed is None else config.seed,
            stops=tuple(config.stop_seqs or ()),
        )
        check_room(model, [request.prompt], request.most)
        return request

    def _shown(self, steering: Steering, request: Request, reply: Reply) -> dict[str, Any]:
        """What the viewer shows: the steering in force, the highest readings and those of the steered emotions."""
        shown: dict[str, Any] = {"steering": dict(steering.doses), "span": steering.span}
        if any(steering.doses.values()):
            shown["layers"] = list(steering.where)
        if reply.readings is not None and reply.surprise is not None:
            words = self.subject.vectors.emotions
            ranked = sorted(zip(words, reply.readings.tolist(), strict=True), key=lambda pair: -pair[1])
            every = {word: round(value, 3) for word, value in ranked}
            shown["readings"] = dict(list(every.items())[:TOP])
            shown["readings_of_steered"] = {word: every[word] for word in steering.doses}
            shown["surprise"] = round(reply.surprise, 3)
        if request.temperature:
            shown["seed"] = request.seed
        if sentence := steering.beyond():
            shown["warning"] = sentence
        return shown

    def max_tokens(self) -> int:
        """Most new tokens where a task asks for no other number."""
        return MOST

    def max_connections(self) -> int:
        """As many as a batch has rows."""
        return ROWS

    def collapse_user_messages(self) -> bool:
        """Many chat templates take no two user messages in a row."""
        return True

    def collapse_assistant_messages(self) -> bool:
        """Nor two assistant messages."""
        return True
