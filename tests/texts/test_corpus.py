"""A corpus is streamed, document by document, and bad rows come as the errors they are."""

from __future__ import annotations

import json
from pathlib import Path

import polars
import pytest

from foreshock.errors import TextError
from foreshock.texts.corpus import PARAGRAPH, documents, identity


def test_every_kind_of_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "one"}\n{"messages": [{"role": "user", "content": "two"}]}\n')
    (tmp_path / "b.csv").write_text("text,n\nthree,1\n")
    polars.DataFrame({"text": ["four"]}).write_parquet(tmp_path / "c.parquet")
    (tmp_path / "d.txt").write_text("five\nfive\n\n\nsix\n")
    (tmp_path / "ignored.bin").write_bytes(b"\0")
    found = [document for _, document in documents(tmp_path)]
    assert found[0] == "one" and found[1][0].content == "two" and found[2:] == ["three", "four", "five\nfive", "six"]  # type: ignore[index]


def test_bad_rows_come_as_errors_between_the_good_ones(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "one"}\n{oops\n{"other": 1}\n' + json.dumps({"text": "two"}))
    found = list(documents(path))
    assert [document for _, document in found if isinstance(document, str)] == ["one", "two"]
    assert all(isinstance(document, TextError) for _, document in found[1:3]) and "line 2" in str(found[1][1])


def test_a_text_without_paragraphs_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("x" * (2 * PARAGRAPH + 5))
    assert [len(document) for _, document in documents(path) if isinstance(document, str)] == [PARAGRAPH, PARAGRAPH, 5]


def test_what_is_no_corpus_is_said(tmp_path: Path) -> None:
    with pytest.raises(TextError, match="is no corpus"):
        list(documents(tmp_path / "none.jsonl"))
    with pytest.raises(TextError, match="is no corpus"):
        list(documents(tmp_path))


def test_a_corpus_is_told_from_others_and_from_itself_after_a_change(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "train.txt").write_text("one")
    before = identity(tmp_path / "a")
    assert before == identity(tmp_path / "a") != identity(tmp_path / "b")
    (tmp_path / "a" / "train.txt").write_text("one and more")
    assert identity(tmp_path / "a") != before
