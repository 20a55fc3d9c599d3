"""Findings → one self-contained HTML page. No numerical work and no torch here.

Everything a text contributes is escaped by the template engine; the charts' library and data are inlined,
so the page makes no request.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import vl_convert
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from foreshock.study.finding import Chart, Finding

if TYPE_CHECKING:
    from foreshock.readings import Readings
    from foreshock.sweep import Tops
    from foreshock.texts import Passage

TOP = 6
"""Emotions offered for tinting a story: its own and those that read highest."""


@dataclass(frozen=True, slots=True)
class Tinted:
    """One story of the gallery, ready for the page."""

    emotion: str
    topic: str
    offered: list[str]
    top: str
    pieces: list[tuple[str, list[float]]]
    """Each token's text with its readings of the offered emotions."""


def tinted(passage: Passage, readings: Readings) -> Tinted:
    """A story with the readings worth offering."""
    ranked = [word for word, _ in readings.top(len(readings.emotions))]
    offered = [passage.emotion, *[word for word in ranked if word != passage.emotion][: TOP - 1]]
    columns = [readings.emotions.index(word) for word in offered]
    values = [[round(float(row[k]), 2) for k in columns] for row in readings.values]
    place = ranked.index(passage.emotion) + 1
    top = f"{passage.emotion} reads {place} of {len(ranked)}; highest: {', '.join(ranked[:3])}"
    return Tinted(
        passage.emotion, passage.topic, offered, top, list(zip(readings.tokens.pieces(), values, strict=True))
    )


def render(
    findings: Sequence[Finding],
    manifest: dict[str, Any],
    gallery: Sequence[Tinted],
    seconds: Mapping[str, float] | None = None,
) -> str:
    """The whole page as a string.

    Args:
        seconds: how long each step of the study took.
    """
    return (
        environment()
        .get_template("page.html")
        .render(
            findings=findings,
            manifest=manifest,
            gallery=gallery,
            held=sum(finding.verdict == "holds" for finding in findings),
            specs={chart.name: _responsive(chart) for finding in findings for chart in finding.charts},
            vega=Markup(vl_convert.javascript_bundle()),  # type: ignore[call-arg]  # the stub has no default
            provenance=json.dumps(manifest, indent=2),
            seconds=seconds or {},
        )
    )


def render_comparison(findings: Sequence[Finding], manifest: dict[str, Any]) -> str:
    """The page of two models compared, as a string."""
    return (
        environment()
        .get_template("compare.html")
        .render(
            findings=findings,
            manifest=manifest,
            first=manifest["first"],
            second=manifest["second"],
            held=sum(finding.verdict == "holds" for finding in findings),
            specs={chart.name: _responsive(chart) for finding in findings for chart in finding.charts},
            vega=Markup(vl_convert.javascript_bundle()),  # type: ignore[call-arg]  # the stub has no default
            provenance=json.dumps(manifest, indent=2),
        )
    )


def render_sweep(tops: Tops, manifest: dict[str, Any], corpus: str) -> str:
    """The page of a corpus sweep: each emotion's highest passages and tokens, tinted."""
    return (
        environment()
        .get_template("sweep.html")
        .render(
            tops=tops,
            manifest=manifest,
            corpus=corpus,
            words=sorted(tops.by_passage),
            tint=tint,
            provenance=json.dumps(manifest, indent=2),
        )
    )


def tint(value: float) -> str:
    """The background of a token with this reading, in the page's own colours."""
    strength = 0.55 * min(1.0, abs(value) / 6)
    return f"rgba(var({'--cool' if value < 0 else '--warm'}), {strength:.3f})"


def environment() -> Environment:
    """What fills in the templates: everything a text contributes is escaped."""
    environment = Environment(
        loader=PackageLoader("foreshock.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(figure=figure, interval=interval, probability=probability, script=_script, prose=_prose)
    return environment


def figure(value: float | int | str | None) -> str:
    """A number as the page and the terminal show it."""
    if value is None or value != value:
        return "–"
    if isinstance(value, str):
        return value
    if isinstance(value, int) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{round(value, 2) + 0.0:.2f}"  # + 0.0: no minus before a zero


def probability(p: float) -> str:
    """A p-value with its sign before it: `= 0.012`, and `< 0.001` for what three digits would show as 0."""
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"


def interval(bounds: tuple[float, float] | None) -> str:
    """A confidence interval as the page and the terminal show it."""
    return f"[{figure(bounds[0])}, {figure(bounds[1])}]" if bounds else "no interval"


def png(chart: Chart) -> bytes:
    """The chart as a picture, on white, for papers and slides."""
    spec = {**chart.spec, "background": "white", "width": 720, "title": chart.caption}
    return bytes(vl_convert.vegalite_to_png(spec, scale=2.0))


def _responsive(chart: Chart) -> dict[str, Any]:
    return {**chart.spec, "background": "transparent", "autosize": {"type": "fit-x", "contains": "padding"}}


def _prose(sentence: str) -> Markup:
    """A sentence, escaped, with *words* set in italics."""
    return Markup(re.sub(r"\*([\w' -]+)\*", r"<i>\1</i>", str(escape(sentence))))


def plain(sentence: str) -> str:
    """The same for a terminal: without the marks."""
    return re.sub(r"\*([\w' -]+)\*", r"\1", sentence)


def _script(value: Any) -> Markup:
    """JSON that may stand inside a script element: no `<` can close it."""
    return Markup(json.dumps(value).replace("<", "\\u003c"))
