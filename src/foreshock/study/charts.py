"""The few kinds of chart that findings are shown with, as Vega-Lite specs in one style."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import altair as alt

from foreshock.study.finding import Chart

Rows = Sequence[dict[str, Any]]
BLUE, RED, GREY = "#2f6fb0", "#c2452d", "#8a8f98"
DIVERGING: Literal["blueorange"] = "blueorange"


def lines(
    name: str, caption: str, rows: Rows, x: str, y: str, series: str | None = None, mark_x: float | None = None
) -> Chart:
    """Lines over x, one for each value of `series`; `mark_x` draws an upright rule."""
    base = alt.Chart(_data(rows)).mark_line(point=alt.OverlayMarkDef(size=28), strokeWidth=2)
    encoding: dict[str, Any] = {
        "x": alt.X(f"{x}:Q", title=x, scale=alt.Scale(nice=False)),
        "y": alt.Y(f"{y}:Q", title=y, scale=alt.Scale(zero=False)),
        "tooltip": _tips(rows),
    }
    if series:
        legend = alt.Legend(orient="bottom", columns=2, symbolType="stroke")
        encoding["color"] = alt.Color(f"{series}:N", title=None, legend=legend)
        encoding["strokeDash"] = alt.StrokeDash(f"{series}:N", title=None, legend=legend)
    chart: Any = base.encode(**encoding)
    if mark_x is not None:
        rule = alt.Chart(_data([{x: mark_x}])).mark_rule(color=RED, strokeDash=[4, 4]).encode(x=f"{x}:Q")
        chart = chart + rule
    return _chart(name, caption, chart.properties(width="container", height=280))


def heatmap(
    name: str, caption: str, rows: Rows, x: str, y: str, value: str, order: Sequence[str], limit: float
) -> Chart:
    """A map of coloured cells; x and y in the given order; diverging colours from -limit to limit."""
    big = len(order) > 60
    scale = alt.Scale(scheme=DIVERGING, domain=[-limit, limit], clamp=True)
    axis = alt.Axis(labels=not big, ticks=not big)
    chart = (
        alt.Chart(_data(rows))
        .mark_rect()
        .encode(
            x=alt.X(f"{x}:N", sort=list(order), title=None, axis=axis),
            y=alt.Y(f"{y}:N", sort=list(order), title=None, axis=axis),
            color=alt.Color(f"{value}:Q", scale=scale, legend=alt.Legend(orient="right", gradientLength=160)),
            tooltip=_tips(rows),
        )
        .properties(width="container", height=min(760, max(320, 17 * len(order))))
    )
    return _chart(name, caption, chart)


def scatter(
    name: str, caption: str, rows: Rows, x: str, y: str, label: str, colour: str, kind: Literal["N", "Q"] = "N"
) -> Chart:
    """Labelled points; many labels are thinned to the tooltip."""
    colours = (
        alt.Color(f"{colour}:N", legend=alt.Legend(orient="bottom", columns=2), scale=alt.Scale(scheme="tableau10"))
        if kind == "N"
        else alt.Color(
            f"{colour}:Q", scale=alt.Scale(scheme="redyellowgreen", domainMid=0), legend=alt.Legend(orient="right")
        )
    )
    base = alt.Chart(_data(rows)).encode(x=alt.X(f"{x}:Q", title=x), y=alt.Y(f"{y}:Q", title=y), tooltip=_tips(rows))
    text = base.mark_text(dy=-9, fontSize=10 if len(rows) <= 60 else 7).encode(text=f"{label}:N", color=alt.value(GREY))
    unrated = base.mark_point(size=50, color=GREY)  # shows where `colour` is missing
    points = base.mark_circle(size=70 if len(rows) <= 60 else 35, opacity=0.9).encode(color=colours)
    return _chart(name, caption, (unrated + points + text).properties(width="container", height=460))


def bars(name: str, caption: str, rows: Rows, x: str, y: str, null: float | None = None) -> Chart:
    """Sorted horizontal bars; `null` draws an upright rule."""
    chart: Any = (
        alt.Chart(_data(rows))
        .mark_bar(color=BLUE)
        .encode(
            x=alt.X(f"{x}:Q", title=x),
            y=alt.Y(f"{y}:N", sort="-x", title=None, axis=alt.Axis(labels=len(rows) <= 60, ticks=False)),
            tooltip=_tips(rows),
        )
    )
    if null is not None:
        chart = chart + alt.Chart(_data([{x: null}])).mark_rule(color=RED, strokeDash=[4, 4]).encode(x=f"{x}:Q")
    return _chart(name, caption, chart.properties(width="container", height=min(640, max(200, 16 * len(rows)))))


def _tips(rows: Rows) -> list[alt.Tooltip]:
    """Every column on hover, numbers with three decimals."""
    return [
        alt.Tooltip(f"{key}:Q", format=".3f") if isinstance(value, float) else alt.Tooltip(f"{key}:N")
        for key, value in rows[0].items()
    ]


def _data(rows: Rows) -> alt.Data:
    values = [{key: _short(value) for key, value in row.items()} for row in rows]
    return alt.Data(values=values)  # type: ignore[no-untyped-call]


def _short(value: Any) -> Any:
    return round(value, 4) if isinstance(value, float) else value


def _chart(name: str, caption: str, chart: Any) -> Chart:
    return Chart(name, caption, chart.to_dict())
