"""A study's folder: `vectors.safetensors`, `findings.json`, `report.html` and `charts/*.png`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foreshock.files import write_bytes, write_text
from foreshock.report.card import SCHEMA, finite, summary_line
from foreshock.report.page import png, render, render_comparison, tinted

if TYPE_CHECKING:
    from foreshock.study.finding import Finding
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
    _write_findings(study.findings, manifest, {"seconds": study.seconds}, folder)
    page = folder / "report.html"
    write_text(page, render(study.findings, manifest, [tinted(p, r) for p, r in study.gallery], study.seconds))
    return page


def write_comparison(findings: Sequence[Finding], manifest: dict[str, Any], folder: Path) -> Path:
    """Write `findings.json`, `charts/*.png` and the page of two models compared.

    Args:
        manifest: the two models as `first` and `second`, `vectors`, `prompts`, `reading_layer`, `versions`, and as `model`
            the name that a card gives the pair.

    Returns:
        the path of the page.

    Raises:
        OutputError: the folder cannot be written.
    """
    _write_findings(findings, manifest, {}, folder)
    page = folder / "report.html"
    write_text(page, render_comparison(findings, manifest))
    return page


def _write_findings(findings: Sequence[Finding], manifest: dict[str, Any], more: dict[str, Any], folder: Path) -> None:
    """The card as JSON, and the charts as pictures."""
    card = {
        "schema": SCHEMA,
        "summary": summary_line(manifest["model"]["name"], [f.verdict for f in findings]),
        "manifest": manifest,
        **more,
        "findings": [finite(f.to_json()) for f in findings],
    }
    write_text(folder / "findings.json", json.dumps(card, indent=1, allow_nan=False))
    for finding in findings:
        for chart in finding.charts:
            write_bytes(folder / "charts" / f"{chart.name}.png", png(chart))
