"""The card: a study's findings as JSON, in one line, and several models side by side. No torch here."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foreshock.errors import StudyError

SCHEMA = 2
"""Version of findings.json; docs/findings.md describes it. A card of a newer one is refused."""


@dataclass(frozen=True, slots=True)
class Card:
    """One study's findings.json."""

    model: str
    summary: str
    findings: dict[str, dict[str, Any]]
    """By the finding's id."""


def summary_line(model: str, verdicts: Sequence[str]) -> str:
    """A badge in words: what holds on a model, what does not, what cannot be told."""
    count = Counter(verdicts)
    return (
        f"foreshock | {short(model)} | {count['holds']} hold, {count['does not hold']} do not, "
        f"{count['cannot tell']} cannot tell, of {len(verdicts)} claims"
    )


def short(model: str) -> str:
    """A model's name without the folders of a path; a hub name as it is."""
    return Path(model).stem if model.endswith(".gguf") else model.rsplit("/", 1)[-1] if model.startswith("/") else model


def load_card(path: Path) -> Card:
    """A findings.json, or that of a study's folder.

    Raises:
        StudyError: missing, damaged, or of a newer version.
    """
    path = path / "findings.json" if path.is_dir() else path
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        schema = content["schema"]
    except OSError:
        raise StudyError(f"There is no findings file {path}; give a study's folder, or make one with `foreshock study`.") from None  # fmt: skip
    except (ValueError, KeyError, TypeError):
        raise StudyError(f"{path} is no findings file; give a study's folder or its findings.json.") from None
    if schema > SCHEMA:
        raise StudyError(f"{path} has version {schema} and this Foreshock reads up to {SCHEMA}; update foreshock.")
    findings = {finding["id"]: finding for finding in content["findings"]}
    model = content["manifest"]["model"]["name"]
    return Card(short(model), summary_line(model, [f["verdict"] for f in findings.values()]), findings)


def finite(value: Any) -> Any:
    """Plain data with null in place of NaN and infinity, which JSON does not know."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: finite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(inner) for inner in value]
    return value
