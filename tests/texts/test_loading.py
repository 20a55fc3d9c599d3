"""A user's own texts: three formats, and one clear sentence for whatever is wrong."""

from __future__ import annotations

import io
import json
from pathlib import Path

import polars
import pytest

from foreshock.errors import TextError, UnknownEmotion
from foreshock.texts import Turn, load_passages, loading
from foreshock.texts.documents import parse_document, parse_transcript, same_model
from foreshock.texts.norms import load_norms

ROWS = [
    {"text": "He laughed.", "emotion": "Happy", "topic": "a"},
    {"text": "Er weinte, über alles", "emotion": "sad", "topic": ""},
]


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_three_formats_give_the_same_passages(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"own.{kind}"
    if kind == "jsonl":
        path.write_text("\ufeff" + "\n\n".join(json.dumps(row) for row in ROWS), encoding="utf-8")
    elif kind == "csv":
        polars.DataFrame(ROWS).write_csv(path)
    else:
        polars.DataFrame(ROWS).write_parquet(path)
    passages = load_passages(path)
    assert [(p.text, p.emotion, p.topic) for p in passages] == [
        ("He laughed.", "happy", "a"),
        (ROWS[1]["text"], "sad", ""),
    ]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"text": "x"}', "line 1: emotion: field required.*text, emotion"),
        ('{"text": " ", "emotion": "sad"}', "line 1: text"),
        ('{"text": "x", "emotion": "sad", "tpoic": "y"}', "line 1: tpoic"),
        ("{nonsense", "line 1 is not JSON"),
        ("[1, 2]", "line 1 is a JSON list"),
        ('{"text": "x", "emotion": "sad", "split": "train"}', "line 1: split"),
        ("", "holds no rows"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text(line)
    with pytest.raises(TextError, match=said):
        load_passages(path)


def test_unknown_emotions_bad_encodings_and_wrong_files_are_said(tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text('{"text": "x", "emotion": "angrry"}')
    with pytest.raises(UnknownEmotion, match="line 1: .*did you mean angry"):
        load_passages(path)
    path.write_bytes(b'{"text": "\xff", "emotion": "sad"}')
    with pytest.raises(TextError, match="line 1 is not UTF-8"):
        load_passages(path)
    with pytest.raises(TextError, match="does not exist"):
        load_passages(tmp_path / "none.csv")
    with pytest.raises(TextError, match=r"\.docx file"):
        load_passages(tmp_path / "story.docx")
    (tmp_path / "bad.parquet").write_text("no")
    with pytest.raises(TextError, match="not a Parquet file"):
        load_passages(tmp_path / "bad.parquet")
    (tmp_path / "bad.csv").write_text("text,emotion\na,b,c\n")
    with pytest.raises(TextError, match="line 2 has more cells"):
        load_passages(tmp_path / "bad.csv")


def test_documents_are_text_or_messages() -> None:
    assert parse_document({"text": "hi"}, "here") == "hi"
    parts = [{"type": "text", "text": "a"}, {"type": "image_url"}, {"type": "text", "text": "b"}]
    assert parse_document({"messages": [{"role": "user", "content": parts}]}, "here") == [
        Turn(role="user", content="ab")
    ]
    for row in ({}, {"text": "a", "messages": []}, {"text": 3}, {"text": " "}, {"messages": []}, {"messages": [3]},
                {"messages": [{"role": "user"}]}, {"messages": [{"role": "user", "content": ""}]}, {"text": "\ud83d"}):  # fmt: skip
        with pytest.raises(TextError, match="here"):
            parse_document(row, "here")


def test_messages_of_every_role_keep_their_words_and_their_numbers() -> None:
    call = {"function": {"name": "run", "arguments": '{"x": 1}'}}
    messages = [
        {"role": "developer", "content": "d"},
        {"role": "user", "content": "u"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "t", "tool_call_id": "1"},
        {"role": "assistant", "content": ""},
        {"role": "assistant", "content": None, "function_call": {"name": "old", "arguments": "{}"}},
        {"role": "function", "content": "f", "name": "old"},
        {"role": "assistant", "content": None, "refusal": "No."},
    ]
    found = parse_transcript({"messages": messages, "model": "gpt-9", "id": 3}, "here")
    assert [(turn.role, turn.content) for turn in found.document] == [  # type: ignore[union-attr]
        ("system", "d"),
        ("user", "u"),
        ("assistant", 'run({"x": 1})'),
        ("tool", "t"),
        ("assistant", "old({})"),
        ("function", "f"),
        ("assistant", "No."),
    ]
    assert (found.messages, found.written_by, found.id) == ((0, 1, 2, 3, 5, 6, 7), "gpt-9", 3)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"messages": [{"role": "user", "content": "a"}, {"role": "boss", "content": "b"}]}, "message 2 has the role 'boss'"),
        ({"messages": [{"role": "user", "content": ""}, {"role": "assistant", "content": None}]}, "no message has text"),
        ({"messages": [{"role": "user", "content": 7}]}, "message 1: `content` must be text"),
        ({"messages": [{"role": "user", "content": "a \ud83d"}]}, "message 1 holds half of a character"),
        ({"text": "a", "model": {"name": "x"}}, "`model` must be the name"),
        ({"text": "a", "id": "\ud83d"}, "half of a character"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_transcript_is_said_with_its_place(row: dict, said: str) -> None:
    with pytest.raises(TextError, match=f"here.*{said}"):
        parse_transcript(row, "here")


@pytest.mark.parametrize(
    ("name", "other", "same"),
    [("hf/Org/Name", "org/name", True), ("Name", "org/name", True), ("a/name", "b/name", False), ("me", "name", False)],
)
def test_names_of_one_model(name: str, other: str, same: bool) -> None:
    assert same_model(name, other) == same_model(other, name) == same


def test_a_huge_line_is_named_and_the_others_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "LONGEST", 100)
    lines = b'{"a": 1}\n' + b"x" * 345 + b"\n" + b"y" * 99 + b"\n\xff\n" + b"z" * 101
    found = list(loading.each_line(io.BytesIO(lines), "f"))
    assert [line for _, line in found if isinstance(line, str)] == ['{"a": 1}', "y" * 99]
    assert [str(line).split(";")[0] for _, line in found if not isinstance(line, str)] == [
        "f, line 2 is longer than 0 MB",
        "f, line 4 is not UTF-8 text",
        "f, line 5 is longer than 0 MB",
    ]


def test_rows_after_a_bad_one_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n{oops\n{"text": "b"}\n')
    (tmp_path / "b.csv").write_text(f'text\na\nx,y\n"{"long " * 40_000}"\n')
    for name in ("a.jsonl", "b.csv"):
        rows = [row for _, row in loading.each_row(tmp_path / name)]
        assert [isinstance(row, TextError) for row in rows] == [False, True, False]
        with pytest.raises(TextError):
            list(loading.rows_of(tmp_path / name))


def test_norms_of_either_published_form_load(tmp_path: Path) -> None:
    warriner, nrc = tmp_path / "w.csv", tmp_path / "n.txt"
    warriner.write_text(",Word,V.Mean.Sum,A.Mean.Sum\n1,happy,8.5,6.0\n2,table,5,3\n3,sad,2.1,3.5\n")
    nrc.write_text("term\tvalence\tarousal\nhappy\t1.0\t0.7\nsad\t0.2\t0.3\n")
    assert load_norms(warriner)["valence"] == {"happy": 8.5, "sad": 2.1}
    assert load_norms(nrc)["arousal"] == {"happy": 0.7, "sad": 0.3}
    nrc.write_text("a\tb\n1\t2\n")
    with pytest.raises(TextError, match="has the columns a, b"):
        load_norms(nrc)
    nrc.write_text("word\tvalence\tarousal\ntable\t1\t2\n")
    with pytest.raises(TextError, match="rates none"):
        load_norms(nrc)
    with pytest.raises(TextError, match="no ratings file"):
        load_norms(tmp_path / "none.csv")
