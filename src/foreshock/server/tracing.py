"""Spans by OpenTelemetry's conventions for generative AI, without any words of the messages.

Where the program that starts the server has set up no exporter, and the environment names none, spans are nothing.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Literal

from opentelemetry import trace
from opentelemetry.trace import SpanKind, Status, StatusCode

from foreshock.errors import MissingExtra
from foreshock.monitor.store import Alarm
from foreshock.server.requests import Finished, Request

Operation = Literal["chat", "text_completion"]
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


class Traced:
    """One call's span."""

    def __init__(self, span: trace.Span) -> None:
        self._span, self._reasons, self._prompt, self._written = span, list[str](), 0, 0

    def finished(self, reply: Finished) -> None:
        """One of its replies is over."""
        self._reasons.append(reply.reason)
        self._prompt, self._written = reply.prompt_tokens, self._written + reply.completion_tokens
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
    """Around one call; what it raises is the span's error, by its type alone."""
    asked = {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": "foreshock",
        "gen_ai.request.model": model,
        "gen_ai.response.model": model,
        "gen_ai.request.max_tokens": request.most,
        "gen_ai.request.temperature": request.temperature,
        "gen_ai.request.top_p": request.top_p,
    }
    own = trace.get_tracer("foreshock").start_span(f"{operation} {model}", kind=SpanKind.SERVER, attributes=asked)
    try:
        yield Traced(own)
    except BaseException as problem:
        own.set_attribute("error.type", type(problem).__name__)
        own.set_status(Status(StatusCode.ERROR))
        raise
    finally:
        own.end()


def set_up() -> None:
    """Send spans where the environment says, by the OTLP variables.

    Raises:
        MissingExtra: the environment names an endpoint, and OpenTelemetry's SDK is not installed.
    """
    if not any(os.environ.get(name) for name in _ENDPOINTS):
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as problem:
        raise MissingExtra("Spans are to be exported, which needs pip install 'foreshock[trace]'.") from problem
    provider = TracerProvider(resource=Resource.create({"service.name": "foreshock"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
