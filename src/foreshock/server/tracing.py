"""Spans by OpenTelemetry's conventions for generative AI, without any words of the messages.

Where neither the environment names an exporter nor the program that starts the server has set one up, spans are nothing.
Conventions: https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans (in development, as of version 1.41).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from opentelemetry import trace
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.util.types import AttributeValue

from foreshock.errors import MissingExtra, ServerError

if TYPE_CHECKING:
    from foreshock.monitor.store import Alarm
    from foreshock.server.requests import Finished, Request

Operation = Literal["chat", "text_completion"]
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_EXPORTERS = ("otlp", "console", "none")


class Traced:
    """One call's span."""

    def __init__(self, span: trace.Span) -> None:
        self._span, self._reasons, self._prompt, self._written = span, list[str](), 0, 0

    def finished(self, reply: Finished) -> None:
        """One of its replies is over; a prompt that gets several replies is run, and counted, for each."""
        self._reasons.append(reply.reason)
        self._prompt += reply.prompt_tokens
        self._written += reply.completion_tokens
        self._span.set_attributes(
            {
                "gen_ai.response.finish_reasons": self._reasons,
                "gen_ai.usage.input_tokens": self._prompt,
                "gen_ai.usage.output_tokens": self._written,
                "gen_ai.conversation.id": reply.conversation,
            }
        )

    def alarm(self, alarm: Alarm) -> None:
        """An alarm, as an event of the span."""
        self._span.add_event("foreshock.alarm", {"rule": alarm.rule, "p": alarm.p, "token": alarm.token})


@contextlib.contextmanager
def span(operation: Operation, model: str, request: Request) -> Iterator[Traced]:
    """Around one call; what it raises is the span's error, by its type alone, as messages may quote the request."""
    asked: dict[str, AttributeValue] = {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": "foreshock",
        "gen_ai.request.model": model,
        "gen_ai.response.model": model,
        "gen_ai.request.max_tokens": request.most,
        "gen_ai.request.temperature": request.temperature,
        "gen_ai.request.top_p": request.top_p,
        "gen_ai.request.presence_penalty": request.presence_penalty,
        "gen_ai.request.frequency_penalty": request.frequency_penalty,
    }
    if request.seed is not None:
        asked["gen_ai.request.seed"] = request.seed
    # INTERNAL: the conventions' kind for a model that runs in the same process.
    own = trace.get_tracer("foreshock").start_span(f"{operation} {model}", kind=SpanKind.INTERNAL, attributes=asked)
    try:
        yield Traced(own)
    except BaseException as problem:
        own.set_attribute("error.type", type(cause(problem)).__name__)
        own.set_status(Status(StatusCode.ERROR))
        raise
    finally:
        own.end()


def cause(problem: BaseException) -> BaseException:
    """What went wrong first, where several tasks ran together."""
    while isinstance(problem, BaseExceptionGroup):
        problem = problem.exceptions[0]
    return problem


def set_up() -> None:
    """Send spans where the environment says, by OpenTelemetry's variables; nothing where it says nothing.

    `OTEL_TRACES_EXPORTER` is otlp, console or none; an OTLP endpoint alone means otlp, over HTTP. What a program has set
    up before stays. The spans that wait are sent when the process ends.

    Raises:
        MissingExtra: an exporter is named, and OpenTelemetry's SDK is not installed.
        ServerError: the exporter is none of these.
    """
    ends = any(os.environ.get(name) for name in _ENDPOINTS)
    exporter = os.environ.get("OTEL_TRACES_EXPORTER") or ("otlp" if ends else "none")
    if exporter not in _EXPORTERS:
        raise ServerError(f"OTEL_TRACES_EXPORTER is {exporter!r}; set it to one of {', '.join(_EXPORTERS)}.")
    if exporter == "none" or not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter
    except ImportError as problem:
        raise MissingExtra("Spans are to be exported, which needs pip install 'foreshock[trace]'.") from problem
    name = os.environ.get("OTEL_SERVICE_NAME") or "foreshock"
    provider = TracerProvider(resource=Resource.create({"service.name": name}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter() if exporter == "otlp" else ConsoleSpanExporter()))
    trace.set_tracer_provider(provider)
