"""Inspect AI's logs as rows of chat messages: each sample is a conversation."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foreshock.errors import MissingExtra, TextError

if TYPE_CHECKING:
    from inspect_ai.log import EvalSample
    from inspect_ai.model import ChatMessage

Found = tuple[str, dict[str, Any] | TextError]
"""A sample as a row for `documents.parse_transcript`, or the error that it is, with its place."""
_UNREAD = {"events", "events_data", "store", "timelines", "scores", "output"}
"""Parts of a sample that hold none of its messages, and are often the largest."""


def is_log(path: Path) -> bool:
    """Whether this is an Inspect log: an `.eval` file, or a `.json` file that begins as one."""
    if path.suffix.lower() != ".json":
        return path.suffix.lower() == ".eval"
    with open(path, "rb") as file:
        begun = file.read(4096)
    return begun.lstrip().startswith(b"{") and all(key in begun for key in (b'"version"', b'"status"', b'"eval"'))


def log_rows(source: Path) -> Iterator[Found]:
    """Every sample of a log, or of all logs in a folder and below; its place is `FILE, sample ID, epoch N`.

    A log or a sample that cannot be read comes as the error it is. Of an `.eval` file one sample at a time is in memory.

    Raises:
        TextError: the folder holds no logs.
        MissingExtra: Inspect AI is not installed.
    """
    if find_spec("inspect_ai") is None:
        raise MissingExtra(
            "Inspect logs are read by Inspect AI, which is not installed: pip install 'foreshock[evals]'"
        )
    if not source.is_dir():
        return _rows(source)
    files = (path for path in source.rglob("*") if path.suffix.lower() in (".eval", ".json") and path.is_file())
    logs = [path for path in sorted(files) if is_log(path)]
    if not logs:
        raise TextError(f"The folder {source} holds no Inspect logs; give a file, or a folder with .eval files.")
    return (found for path in logs for found in _rows(path))


def _rows(path: Path) -> Iterator[Found]:
    from inspect_ai.log import read_eval_log

    try:
        log = read_eval_log(path, header_only=path.suffix.lower() == ".eval", resolve_attachments="core")
        samples: Iterator[tuple[str, EvalSample | Exception]] = (
            _one_by_one(path)
            if path.suffix.lower() == ".eval"
            else ((_place(path, sample.id, sample.epoch), sample) for sample in log.samples or [])
        )
        for place, sample in samples:
            if isinstance(sample, Exception):
                yield place, TextError(f"{place} cannot be read ({sample}); run it again, or leave it out.")
            else:
                yield place, _row(sample, log.eval.model, place)
    except Exception as problem:  # whatever a damaged archive or a schema of another age makes of Inspect's reader
        said = str(problem).strip().splitlines()
        yield str(path), TextError(f"{path} is no Inspect log that can be read ({said[0] if said else problem!r}).")


def _one_by_one(path: Path) -> Iterator[tuple[str, EvalSample | Exception]]:
    from inspect_ai.log import read_eval_log_sample, read_eval_log_sample_summaries

    for one in read_eval_log_sample_summaries(path):
        place = _place(path, one.id, one.epoch)
        try:
            yield (
                place,
                read_eval_log_sample(path, one.id, one.epoch, resolve_attachments="core", exclude_fields=_UNREAD),
            )
        except Exception as problem:
            yield place, problem


def _place(path: Path, sample: str | int, epoch: int) -> str:
    return f"{path}, sample {sample}, epoch {epoch}"


def _row(sample: EvalSample, model: str, place: str) -> dict[str, Any] | TextError:
    try:
        return {"id": f"{sample.id}", "model": model, "messages": [_message(message) for message in sample.messages]}
    except (AttributeError, TypeError, ValueError) as problem:
        return TextError(f"{place} cannot be read ({problem}); leave it out.")


def _message(message: ChatMessage) -> dict[str, Any]:
    """In OpenAI's form, with the model's reasoning before its words, where it is not encrypted."""
    content = message.content if isinstance(message.content, list) else []
    reasoning = [part.reasoning for part in content if part.type == "reasoning" and not part.redacted]
    calls = (message.tool_calls or []) if message.role == "assistant" else []
    return {
        "role": message.role,
        "content": "\n".join(part for part in (*reasoning, message.text) if part),
        "tool_calls": [{"function": {"name": call.function, "arguments": call.arguments}} for call in calls],
    }
