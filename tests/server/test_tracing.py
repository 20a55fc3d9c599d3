"""Spans by the conventions for generative AI, and no words in them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from openai import OpenAI
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from foreshock.server import tracing


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer", provider.get_tracer)
    yield exporter
    provider.shutdown()


def test_a_chat_is_a_span_with_its_usage_and_without_its_words(client: OpenAI, spans: InMemorySpanExporter) -> None:
    found = client.chat.completions.create(model="any", messages=[{"role": "user", "content": "w77 w78"}], max_tokens=3, temperature=0)  # fmt: skip
    (span,) = (one for one in spans.get_finished_spans() if "gen_ai.operation.name" in (one.attributes or {}))
    assert span.attributes
    told = dict(span.attributes)
    assert told["gen_ai.operation.name"] == "chat" and span.name == f"chat {found.model}"
    assert found.usage and told["gen_ai.usage.input_tokens"] == found.usage.prompt_tokens
    assert told["gen_ai.usage.output_tokens"] == found.usage.completion_tokens
    assert told["gen_ai.response.finish_reasons"] == (found.choices[0].finish_reason,)
    assert "w77" not in span.to_json()


def test_an_exporter_is_set_up_only_where_the_environment_names_one(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[object] = []
    monkeypatch.setattr(trace, "set_tracer_provider", made.append)
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    tracing.set_up()
    assert not made
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    tracing.set_up()
    assert isinstance(made[0], TracerProvider)
    made[0].shutdown()
