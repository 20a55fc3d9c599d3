"""From what a client sends to what the engine is asked."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from foreshock.emotions import lookup
from foreshock.errors import SteeringError, TextError, TooLong
from foreshock.model import LanguageModel, Tokens
from foreshock.server.requests import Request
from foreshock.server.settings import Served
from foreshock.server.wire import ChatMessage, ChatRequest, Common, Extension, TextRequest
from foreshock.steering import Steering
from foreshock.texts import Turn
from foreshock.vectors import STRONGEST


@dataclass(frozen=True)
class Asked:
    """Requests of one call, and what is told besides."""

    requests: list[Request]
    emotions: tuple[str, ...] | None
    """Whose readings are wanted; None where the extension is not asked for."""
    note: str | None = None


def chat(served: Served, body: ChatRequest) -> Asked:
    """The replies that a chat asks for.

    Raises:
        TextError: messages that the model's template does not take, or more than the server allows.
        TooLong: they leave no room for a reply.
        UnknownEmotion, VectorsError, SteeringError: the extension asks for what is not there.
    """
    if len(body.messages) > served.settings.messages:
        raise TextError(f"A conversation has at most {served.settings.messages} messages here; one has {len(body.messages)}.")  # fmt: skip
    tools = body.tools if body.tool_choice != "none" else None
    prompt = chat_prompt(served.engine.model, body.messages, tools)
    likeliest = (body.top_logprobs or 0) if body.logprobs else None
    return _asked(served, body, [prompt], body.max_completion_tokens or body.max_tokens, likeliest)


def text(served: Served, body: TextRequest) -> Asked:
    """The continuations that a text completion asks for. Raises as `chat`."""
    prompts = [body.prompt] if isinstance(body.prompt, str) else body.prompt
    return _asked(served, body, [served.engine.model.encode(own) for own in prompts], body.max_tokens, body.logprobs)


def chat_prompt(
    model: LanguageModel, messages: Sequence[ChatMessage], tools: Sequence[Mapping[str, Any]] | None
) -> Tokens:
    """A conversation up to where the reply begins."""
    told = [message for message in messages if message.tool_calls or message.role in ("tool", "function")]
    if not tools and not told:
        turns = [Turn(role=_role(message), content=message.words) for message in messages]
        try:
            return model.encode_transcript(turns, reply=True)
        except TooLong:
            raise
        except TextError:
            if not model.has_chat_template:
                raise
            # A template that rewrites messages: their tokens are told apart by the other way.
    return model.encode_messages([_open(message) for message in messages], tools)


def _role(message: ChatMessage) -> str:
    return "system" if message.role == "developer" else message.role


def _open(message: ChatMessage) -> dict[str, Any]:
    """As chat templates know messages: what a call is given is an object there, where OpenAI has JSON."""
    found = message.model_dump(exclude_none=True) | {"role": _role(message), "content": message.words}
    for call in found.get("tool_calls", ()):
        with contextlib.suppress(ValueError, RecursionError):
            given = json.loads(call["function"]["arguments"])
            call["function"]["arguments"] = given if isinstance(given, dict) else call["function"]["arguments"]
    return found


def _asked(served: Served, body: Common, prompts: Sequence[Tokens], most: int | None, likeliest: int | None) -> Asked:
    extension = body.foreshock or Extension()
    steering, note = _steering(served, extension.steer)
    given = [body.stop] if isinstance(body.stop, str) else body.stop or []
    stop = tuple(one for one in given if one)
    count = body.n or 1
    if count * len(prompts) > served.settings.choices:
        raise TextError(f"A request gets at most {served.settings.choices} replies here; {count * len(prompts)} are asked for.")  # fmt: skip
    bias = {int(id): value for id, value in (body.logit_bias or {}).items()}
    if wrong := [id for id in bias if id >= len(served.engine.model.tokenizer)]:
        raise TextError(f"logit_bias names token {wrong[0]}, and the model has {len(served.engine.model.tokenizer):,}.")
    requests = [
        Request(
            prompt,
            _most(served, prompt, most),
            temperature=1.0 if body.temperature is None else body.temperature,
            top_p=1.0 if body.top_p is None else max(body.top_p, 1e-9),  # 0 takes the likeliest
            seed=None if body.seed is None else (body.seed + k) % 2**63,
            stop=stop,
            logprobs=likeliest,
            steering=steering,
            presence_penalty=body.presence_penalty or 0.0,
            frequency_penalty=body.frequency_penalty or 0.0,
            logit_bias=bias,
            conversation=extension.conversation,
            readings=bool(extension.readings),
        )
        for prompt in prompts
        for k in range(count)
    ]
    return Asked(requests, wanted(served, extension.readings) if body.foreshock else None, note)


def _most(served: Served, prompt: Tokens, asked: int | None) -> int:
    """New tokens: as many as are asked for, else as there is room for."""
    engine, allowed = served.engine, served.settings.tokens
    if asked is not None and asked > allowed:
        raise TextError(f"A reply has at most {allowed:,} tokens here; {asked:,} are asked for.")
    room = min(engine.room, engine.model.context or engine.room) - len(prompt)
    return asked or max(1, min(allowed, room))


def wanted(served: Served, asked: bool | Sequence[str]) -> tuple[str, ...]:
    """Emotions whose readings are told: all, none, or those that are named.

    Raises:
        UnknownEmotion, VectorsError: one that is not there.
    """
    if isinstance(asked, bool):
        return served.engine.monitor.emotions if asked else ()
    words = [lookup(word).word for word in asked]
    served.vectors.readout(served.engine.layer, words)  # raises where the vectors lack one
    return tuple(dict.fromkeys(words))


def _steering(served: Served, doses: Mapping[str, float]) -> tuple[Steering | None, str | None]:
    found = {lookup(word).word: strength for word, strength in doses.items()}
    for word, strength in found.items():
        if not (math.isfinite(strength) and abs(strength) <= STRONGEST):
            raise SteeringError(f"The strength of {word!r} is {strength}; give one between {-STRONGEST:g} and {STRONGEST:g}, e.g. 0.05.")  # fmt: skip
    if not found:
        return None, None
    steering = Steering(found, served.vectors)
    return steering, steering.beyond()
