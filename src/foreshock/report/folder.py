"""A study's folder: `vectors.safetensors`, `findings.json`, `report.html` and `charts/*.png`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from foreshock.files import write_bytes, write_text
from foreshock.report.card import SCHEMA, finite, summary_line
from foreshock.report.page import png, render, tinted

if TYPE_CHECKING:
    from foreshock.study.running import Study


def write_study(study: Study, folder: Path) -> Path:
    """Write everything a study leaves behind; each file whole or not at all.

    Returns:
        the path of the page.

    Raises:
        OutputError: the folder cannot be written.
    """
    manifest = study.vectors.manifest | {"reading_layer": study.vectors.reading_layer}
    study.vectors.save(folder / "vectors.safetensors")
    card = {
        "schema": SCHEMA,
        "summary": summary_line(manifest["model"]["name"], [f.verdict for f in study.findings]),
        "manifest": manifest,
        "seconds": study.seconds,
        "findings": [finite(f.to_json()) for f in study.findings],
    }
    write_text(folder / "findings.json", json.dumps(card, indent=1, allow_nan=False))
    for finding in study.findings:
        for chart in finding.charts:
            write_bytes(folder / "charts" / f"{chart.name}.png", png(chart))
    page = folder / "report.html"
    write_text(page, render(study.findings, manifest, [tinted(p, r) for p, r in study.gallery], study.seconds))
    return page
