"""Inspect's logs, written by Inspect itself: every sample is a conversation, and what cannot be read is named."""

from __future__ import annotations

from pathlib import Path

import pytest
from inspect_ai import Task, eval
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import (
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageTool,
    ChatMessageUser,
    ContentImage,
    ContentReasoning,
    ContentText,
    ModelOutput,
    ModelUsage,
    get_model,
)
from inspect_ai.solver import generate
from inspect_ai.tool import ToolCall

from foreshock.errors import TextError
from foreshock.texts.documents import Transcript, parse_transcript
from foreshock.texts.inspect_logs import is_log, log_rows

PICTURE = "data:image/png;base64,iVBORw0KGgo="
LONG = "All sold out. " * 100  # long enough for Inspect to keep it apart from the message
MESSAGES: list[ChatMessage] = [
    ChatMessageSystem(content="Be brief."),
    ChatMessageUser(content=[ContentText(text="Look"), ContentImage(image=PICTURE), ContentText(text="here.")]),
    ChatMessageAssistant(
        content="", tool_calls=[ToolCall(id="1", function="send", arguments={"to": "Ann", "text": "pay"})]
    ),
    ChatMessageTool(content=LONG, tool_call_id="1", function="send"),
    ChatMessageAssistant(content=[ContentReasoning(reasoning="He must not know."), ContentText(text="Done.")]),
    ChatMessageAssistant(content=""),
    ChatMessageUser(content="And now?"),
]


def answered(text: str) -> ModelOutput:
    made = ModelOutput.from_content("mockllm/model", text)
    made.usage = ModelUsage()  # else Inspect counts tokens, with a tokenizer from the net
    return made


@pytest.fixture(scope="module", params=["eval", "json"])
def log(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two samples, two epochs each."""
    model = get_model("mockllm/model", custom_outputs=[answered(f"Answer {k}.") for k in range(4)])
    samples = [Sample(id="a/1", input=MESSAGES), Sample(id=2, input="Hello?")]
    folder = tmp_path_factory.mktemp("logs")
    task = Task(dataset=MemoryDataset(samples), solver=[generate()])
    eval(task, model=model, log_dir=str(folder), log_format=request.param, display="none", epochs=2)
    (path,) = folder.glob(f"*.{request.param}")
    return path


def read(source: Path) -> dict[str, Transcript]:
    found = {}
    for place, row in log_rows(source):
        assert not isinstance(row, TextError), row
        found[place] = parse_transcript(row, place)
    return found


def test_each_sample_and_epoch_is_a_conversation_with_its_place(log: Path) -> None:
    found = read(log)
    assert set(found) == {f"{log}, sample {name}, epoch {epoch}" for name in ("a/1", "2") for epoch in (1, 2)}
    assert {one.written_by for one in found.values()} == {"mockllm/model"}
    answers = {one.document[-1].content for one in found.values()}  # type: ignore[union-attr]
    assert answers == {f"Answer {k}." for k in range(4)}


def test_parts_calls_reasoning_and_what_tools_said_are_kept(log: Path) -> None:
    found = read(log)[f"{log}, sample a/1, epoch 1"]
    said = [(turn.role, turn.content) for turn in found.document]  # type: ignore[union-attr]
    assert said[:-1] == [
        ("system", "Be brief."),
        ("user", "Look\nhere."),
        ("assistant", 'send({"to": "Ann", "text": "pay"})'),
        ("tool", LONG),
        ("assistant", "He must not know.\nDone."),
        ("user", "And now?"),
    ]
    assert found.messages == (0, 1, 2, 3, 4, 6, 7) and found.id == "a/1"


def test_a_folder_is_read_whole_and_a_damaged_log_is_named(log: Path, tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / log.name).write_bytes(log.read_bytes())
    (tmp_path / "bad.eval").write_bytes(log.read_bytes()[: log.stat().st_size // 2])
    (tmp_path / "notes.json").write_text('{"about": "no log"}')
    found = list(log_rows(tmp_path))
    wrong = [row for _, row in found if isinstance(row, TextError)]
    assert len(found) == 5 and len(wrong) == 1 and "bad.eval is no Inspect log" in str(wrong[0])


def test_a_folder_without_logs_is_said(tmp_path: Path) -> None:
    with pytest.raises(TextError, match="holds no Inspect logs"):
        log_rows(tmp_path)
    (tmp_path / "a.json").write_text("[]")
    assert not is_log(tmp_path / "a.json")
