"""Spans by the conventions for generative AI."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from openai import OpenAI
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes as names
from opentelemetry.semconv.attributes.error_attributes import ERROR_TYPE
from opentelemetry.trace import SpanKind, StatusCode

from foreshock.errors import ServerError, TooLong
from foreshock.model.planted import Planted
from foreshock.monitor.store import Alarm
from foreshock.server import tracing
from foreshock.server.requests import Finished, Request
from foreshock.server.tracing import span

SECRET = "what the user said"


@pytest.fixture
def request_(plant: Planted) -> Request:
    prompt = plant.model.encode("w1 w2 w3")
    return Request(prompt, 9, temperature=0.5, top_p=0.9, seed=7, stop=(SECRET,), conversation="c")


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """A provider of the test's own, in the place of the process's."""
    exporter, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer", provider.get_tracer)
    yield exporter
    provider.shutdown()


def only(exporter: InMemorySpanExporter) -> ReadableSpan:
    (found,) = exporter.get_finished_spans()
    return found


def test_a_call_is_a_span_by_the_conventions(request_: Request, exporter: InMemorySpanExporter) -> None:
    with span("chat", "planted", request_) as traced:
        traced.alarm(Alarm("c", "rise", 5, 4, 0.01, 3, 0, "user", SECRET, datetime.now(UTC)))
        traced.finished(Finished("stop", 3, 5, "c"))
        traced.finished(Finished("length", 3, 9, "c"))
    found = only(exporter)
    assert found.name == "chat planted" and found.kind is SpanKind.INTERNAL
    assert found.status.status_code is StatusCode.UNSET
    assert dict(found.attributes or {}) == {
        names.GEN_AI_OPERATION_NAME: names.GenAiOperationNameValues.CHAT.value,
        names.GEN_AI_PROVIDER_NAME: "foreshock",
        names.GEN_AI_REQUEST_MODEL: "planted",
        names.GEN_AI_RESPONSE_MODEL: "planted",
        names.GEN_AI_REQUEST_MAX_TOKENS: 9,
        names.GEN_AI_REQUEST_TEMPERATURE: 0.5,
        names.GEN_AI_REQUEST_TOP_P: 0.9,
        names.GEN_AI_REQUEST_PRESENCE_PENALTY: 0,
        names.GEN_AI_REQUEST_FREQUENCY_PENALTY: 0,
        names.GEN_AI_REQUEST_SEED: 7,
        names.GEN_AI_RESPONSE_FINISH_REASONS: ("stop", "length"),
        names.GEN_AI_USAGE_INPUT_TOKENS: 6,
        names.GEN_AI_USAGE_OUTPUT_TOKENS: 14,
        names.GEN_AI_CONVERSATION_ID: "c",
    }
    assert [(event.name, event.attributes["rule"]) for event in found.events if event.attributes] == [("foreshock.alarm", "rise")]  # fmt: skip
    assert SECRET not in found.to_json()


def test_the_server_makes_one_of_a_chat(client: OpenAI, exporter: InMemorySpanExporter) -> None:
    asked = [{"role": "user", "content": "w77 w78"}]
    found = client.chat.completions.create(model="any", messages=asked, max_tokens=3, temperature=0)  # type: ignore[arg-type]
    (own,) = (one for one in exporter.get_finished_spans() if names.GEN_AI_OPERATION_NAME in (one.attributes or {}))
    told = dict(own.attributes or {})
    assert found.usage and own.name == f"chat {found.model}"
    assert told[names.GEN_AI_USAGE_INPUT_TOKENS] == found.usage.prompt_tokens
    assert told[names.GEN_AI_USAGE_OUTPUT_TOKENS] == found.usage.completion_tokens
    assert told[names.GEN_AI_RESPONSE_FINISH_REASONS] == (found.choices[0].finish_reason,)
    assert "w77" not in own.to_json()


def test_an_error_is_named_by_its_type_alone(request_: Request, exporter: InMemorySpanExporter) -> None:
    with pytest.raises(ExceptionGroup), span("text_completion", "planted", request_):
        raise ExceptionGroup(SECRET, [TooLong(SECRET)])
    found = only(exporter)
    assert found.attributes and found.attributes[ERROR_TYPE] == "TooLong"
    assert found.status.status_code is StatusCode.ERROR and SECRET not in found.to_json()


def test_nothing_is_recorded_where_nothing_is_set_up(request_: Request, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OTEL_TRACES_EXPORTER", *tracing._ENDPOINTS):
        monkeypatch.delenv(name, raising=False)
    tracing.set_up()
    assert isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
    with span("chat", "planted", request_) as traced:
        assert not traced._span.is_recording()
        traced.finished(Finished("stop", 3, 5, "c"))
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
    tracing.set_up()
    assert isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "pigeon")
    with pytest.raises(ServerError, match="'pigeon'; set it to one of otlp, console, none"):
        tracing.set_up()


PROCESS = """
from opentelemetry import trace
from foreshock.server.tracing import set_up
set_up(); first = trace.get_tracer_provider(); set_up()
assert trace.get_tracer_provider() is first
trace.get_tracer("foreshock").start_span("chat planted").end()
"""


def test_the_environment_names_the_exporter_and_the_end_sends_what_waits() -> None:
    """In a process of its own, as a provider can be set once."""
    environment = os.environ | {"OTEL_TRACES_EXPORTER": "console", "OTEL_SERVICE_NAME": "watched"}
    done = subprocess.run([sys.executable, "-c", PROCESS], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and not done.stderr, done.stderr
    assert '"name": "chat planted"' in done.stdout and '"service.name": "watched"' in done.stdout
