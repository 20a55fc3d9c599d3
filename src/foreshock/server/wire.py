"""What goes over the wire: OpenAI's chat and text completions, with Foreshock's extension when it is asked for."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

Name = Annotated[str, StringConstraints(min_length=1, max_length=190)]
Word = Annotated[str, StringConstraints(min_length=1, max_length=60)]
Stop = Annotated[str, StringConstraints(max_length=200)]


class Extension(BaseModel):
    """Foreshock's part of a request."""

    model_config = ConfigDict(extra="forbid")

    readings: bool | Annotated[list[Word], Field(max_length=500)] = False
    """True for all emotions, or those that are wanted."""
    steer: Annotated[dict[Word, float], Field(max_length=50)] = {}
    """Emotion → strength, in mean residual norms."""
    conversation: Name | None = None
    """Goes on with the conversation of that name; left out: told by its words."""


class Part(BaseModel):
    """A part of a message's content; only text can be read."""

    type: Literal["text", "refusal"]
    text: str = ""
    refusal: str = ""


class Called(BaseModel):
    """A function that the model calls."""

    name: str
    arguments: str = "{}"
    """JSON."""


class ToolCall(BaseModel):
    """A call of a tool."""

    id: str
    type: Literal["function"] = "function"
    function: Called


class ChatMessage(BaseModel):
    """A message of a conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[Part] | None = None
    name: str | None = None
    refusal: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None

    @property
    def words(self) -> str:
        """The text of all parts."""
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text or part.refusal for part in self.content or []) or self.refusal or ""


class StreamOptions(BaseModel):
    """How to stream."""

    include_usage: bool = False


class Kind(BaseModel):
    """The form of a reply; only plain text can be promised."""

    type: Literal["text"]


class Common(BaseModel):
    """What chat and text completions have in common. Fields that OpenAI knows and that change no reply are let pass."""

    model: Annotated[str, StringConstraints(max_length=500)]
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    n: Annotated[int, Field(ge=1)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    stop: Stop | Annotated[list[Stop], Field(max_length=4)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    logit_bias: Annotated[
        dict[Annotated[str, StringConstraints(pattern=r"^\d{1,9}$")], Annotated[float, Field(ge=-100, le=100)]],
        Field(max_length=1000),
    ] | None = None  # fmt: skip
    foreshock: Extension | None = None

    @model_validator(mode="before")
    @classmethod
    def _whole_characters(cls, sent: Any) -> Any:
        """JSON may hold half of a character (a lone surrogate), which no tokenizer and no store can take."""
        try:
            json.dumps(sent if isinstance(sent, dict) else None, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise ValueError("a text holds half of a character (a lone surrogate); mend its encoding") from None
        return sent


class ChatRequest(Common):
    """POST /v1/chat/completions."""

    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    tools: Annotated[list[dict[str, Any]], Field(max_length=128)] | None = None
    tool_choice: Literal["auto", "none"] | None = None
    response_format: Kind | None = None


class TextRequest(Common):
    """POST /v1/completions."""

    prompt: Annotated[str, StringConstraints(min_length=1)] | Annotated[
        list[Annotated[str, StringConstraints(min_length=1)]], Field(min_length=1, max_length=16)
    ]  # fmt: skip
    max_tokens: Annotated[int, Field(ge=1)] | None = 16
    logprobs: Annotated[int, Field(ge=0, le=5)] | None = None
    echo: Literal[False] | None = None
    best_of: Literal[1] | None = None
    suffix: Literal[""] | None = None


class Likely(BaseModel):
    """A token with its natural log-probability."""

    token: str
    logprob: float
    bytes: list[int]


class TokenLogprob(Likely):
    """A token of the reply, with the likeliest at its place."""

    top_logprobs: list[Likely] = []


class Logprobs(BaseModel):
    """Of a chat reply."""

    content: list[TokenLogprob]
    refusal: None = None


class TextLogprobs(BaseModel):
    """Of a text completion."""

    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]]
    text_offset: list[int]


class AlarmRaised(BaseModel):
    """A rule's alarm; it asks somebody to look."""

    conversation: str
    rule: str
    score: float | None
    threshold: float | None
    p: float
    token: int
    turn: int
    role: str
    text: str
    at: str


class TokenRead(BaseModel):
    """A token that the model has run over, with its readings."""

    token: int
    """Its place in the conversation, from 0, as an alarm's `token` has it."""
    text: str
    role: str
    turn: int
    own: bool
    """False for tokens of the chat template."""
    readings: dict[str, float]


class Readings(BaseModel):
    """Foreshock's part of a reply."""

    layer: int
    conversation: str = ""
    tokens: list[TokenRead] = []
    alarms: list[AlarmRaised] = []
    mean: dict[str, float] | None = None
    """Over the reply's own tokens."""
    note: str | None = None


class Usage(BaseModel):
    """Tokens."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


Reason = Literal["stop", "length", "content_filter", "tool_calls"]


class Reply(BaseModel):
    """The assistant's message."""

    role: Literal["assistant"] = "assistant"
    content: str | None
    refusal: None = None
    tool_calls: list[ToolCall] | None = None


class Choice(BaseModel):
    """One reply."""

    index: int
    message: Reply
    logprobs: Logprobs | None = None
    finish_reason: Reason
    foreshock: Readings | None = None


class ChatCompletion(BaseModel):
    """The answer of /v1/chat/completions."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: Usage


class TextChoice(BaseModel):
    """One continuation."""

    index: int
    text: str
    logprobs: TextLogprobs | None = None
    finish_reason: Reason
    foreshock: Readings | None = None


class TextCompletion(BaseModel):
    """The answer of /v1/completions."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: list[TextChoice]
    usage: Usage


class Model(BaseModel):
    """The served model."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "foreshock"


class Models(BaseModel):
    """All served models: one."""

    object: Literal["list"] = "list"
    data: list[Model]


class Fault(BaseModel):
    """What was wrong."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorAnswer(BaseModel):
    """OpenAI's form of an error."""

    error: Fault
