"""Cards: one line a study, several side by side, bad files refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from foreshock.errors import StudyError
from foreshock.report.card import SCHEMA, finite, load_card, short, summary_line


def written(path: Path, schema: int = SCHEMA) -> Path:
    finding = {"id": "a", "claim": "c", "verdict": "holds"}
    path.write_text(json.dumps({"schema": schema, "manifest": {"model": {"name": "m"}}, "findings": [finding]}))
    return path


def test_the_summary_line_counts_verdicts() -> None:
    line = summary_line("m", ["holds", "holds", "cannot tell"])
    assert line == "foreshock | m | 2 hold, 0 do not, 1 cannot tell, of 3 claims"


def test_a_path_is_shown_by_its_last_part() -> None:
    assert short("/home/me/models/tiny-q4.gguf") == "tiny-q4" and short("/home/me/tiny") == "tiny"
    assert short("Qwen/Qwen3-0.6B") == "Qwen/Qwen3-0.6B"


def test_a_card_is_loaded_from_its_file_or_its_folder(tmp_path: Path) -> None:
    written(tmp_path / "findings.json")
    assert load_card(tmp_path) == load_card(tmp_path / "findings.json")
    assert load_card(tmp_path).model == "m" and "1 hold" in load_card(tmp_path).summary


def test_bad_cards_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="no findings file"):
        load_card(tmp_path)
    with pytest.raises(StudyError, match="update foreshock"):
        load_card(written(tmp_path / "new.json", SCHEMA + 1))
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(StudyError, match="is no findings file"):
        load_card(tmp_path / "bad.json")


def test_nan_becomes_null() -> None:
    assert finite({"a": [float("nan"), 1.0, (float("inf"),)]}) == {"a": [None, 1.0, [None]]}
