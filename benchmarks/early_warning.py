"""Does anything warn before misconduct shows? The experiment early-warning alone, on a finished study.

Run: python -m benchmarks.early_warning [STUDY] — a study's folder, by default study/embedded-full.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.measuring import save, show
from foreshock.cli.options import short_name
from foreshock.model import open_model
from foreshock.report.card import finite
from foreshock.report.page import figure, interval
from foreshock.study.experiments import early_warning
from foreshock.study.finding import Finding, corrected
from foreshock.study.subject import Subject
from foreshock.texts import builtin_library, stories
from foreshock.vectors import EmotionVectors


def main(study: Path) -> None:
    """Measure, print and save."""
    vectors = EmotionVectors.load(study / "vectors.safetensors")
    model = open_model(vectors.manifest["model"]["name"])
    vectors.check_model(model.fingerprint, model.name)
    subject = Subject(model, builtin_library(stories(set(vectors.emotions))), store=study / "activations")
    subject.vectors = vectors
    findings = corrected(early_warning.run(subject))
    print(f"Early warning on {model.name}, layer {vectors.reading_layer}")
    for finding in findings:
        told(finding)
    save(
        "early_warning" if model.name.startswith("SmolLM2") else f"early_warning_{short_name(model.name)}",
        {finding.id: finding.estimate for finding in findings},
        {"model": model.name, "layer": vectors.reading_layer, "findings": [finite(f.to_json()) for f in findings]},
    )


def told(finding: Finding) -> None:
    """A finding with its table, in as many parts as the screen is wide."""
    print(f"\n{finding.claim}: {finding.verdict}. {figure(finding.estimate)} {interval(finding.interval)}, floor {figure(finding.floor)}")  # fmt: skip
    for title, columns in parts(finding):
        show(title, columns, [[figure(row[column]) for column in columns] for row in finding.table])
    print(*finding.notes, sep="\n")


def parts(finding: Finding) -> Iterator[tuple[str, list[str]]]:
    """The columns that stand together: those of one false-alarm rate, or a few warners."""
    columns = list(finding.table[0])
    fixed = columns[:2]
    if finding.id == "early-warning-alarms":
        for rate in ("5 %", "1 %"):
            yield f"at {rate}", [*fixed, *(c for c in columns if rate in c)]
    elif finding.id == "early-warning-false-alarms":
        for start in range(2, len(columns), 6):
            yield "alarms in a thousand at 5 %", [*fixed, *columns[start : start + 6]]
    else:
        yield finding.id, columns


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "study/embedded-full"))
