"""The few kinds of chart that findings are shown with, as Vega-Lite specs in one style."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal

import altair as alt

from foreshock.study.finding import Chart

Rows = Sequence[dict[str, Any]]
BLUE, RED, GREY = "#2f6fb0", "#c2452d", "#8a8f98"
ORANGE = "#d9791e"
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
        order = list(dict.fromkeys(row[series] for row in rows))
        met = alt.Scale(domain=order)  # not `sort`, with which colour and dash would have a legend each
        encoding["color"] = alt.Color(f"{series}:N", scale=met, title=None, legend=legend)
        encoding["strokeDash"] = alt.StrokeDash(f"{series}:N", scale=met, title=None, legend=legend)
    chart: Any = base.encode(**encoding)
    if mark_x is not None:
        rule = alt.Chart(_data([{x: mark_x}])).mark_rule(color=RED, strokeDash=[4, 4]).encode(x=f"{x}:Q")
        chart = chart + rule
    return _chart(name, caption, chart.properties(width="container", height=280))


def banded(name: str, caption: str, rows: Rows, x: str, y: str, series: str, grey: Rows) -> Chart:
    """Lines over x with a band each, from the columns `from` and `to`, over a grey band from the same columns."""
    met = alt.Scale(domain=list(dict.fromkeys(row[series] for row in rows)), scheme="tableau10")
    legend = alt.Legend(orient="bottom", columns=4, symbolType="stroke", symbolOpacity=1, symbolStrokeWidth=3)
    colour = alt.Color(f"{series}:N", scale=met, title=None, legend=legend)

    def over(rows: Rows) -> Any:
        return alt.Chart(_data(rows)).encode(x=alt.X(f"{x}:Q", title=x, scale=alt.Scale(nice=False)))

    behind = over(grey).mark_area(color=GREY, opacity=0.22).encode(y=alt.Y("from:Q", title=y), y2="to:Q")
    bands = over(rows).mark_area(opacity=0.12).encode(y=alt.Y("from:Q", title=y), y2="to:Q", color=colour)
    drawn = over(rows).mark_line(point=alt.OverlayMarkDef(size=24), strokeWidth=2)
    drawn = drawn.encode(y=alt.Y(f"{y}:Q", title=y), color=colour, tooltip=_tips(rows))
    return _chart(name, caption, (behind + bands + drawn).properties(width="container", height=240))


def heatmap(
    name: str,
    caption: str,
    rows: Rows,
    x: str,
    y: str,
    value: str,
    order: Sequence[str],
    limit: float,
    outlined: bool = False,
) -> Chart:
    """A map of coloured cells; x and y in the given order; diverging colours from -limit to limit.

    With an empty order x and y keep the order of the rows. `outlined`: cells whose x is their y have a frame.
    """
    big = len(order) > 60
    high = len(order) or len({row[y] for row in rows})
    sort = list(order) or None
    scale = alt.Scale(scheme=DIVERGING, domain=[-limit, limit], clamp=True)
    axis = alt.Axis(labels=not big, ticks=not big)
    crowded = high > 60 and not big  # many rows, each of which wants its name
    named = alt.Axis(labelFontSize=8, labelOverlap=False, ticks=False) if crowded else axis
    height = 10 * high if crowded else min(760, max(320, 17 * high))
    chart = (
        alt.Chart(_data(rows))
        .mark_rect()
        .encode(
            x=alt.X(f"{x}:N", sort=sort, title=None if sort else x, axis=axis),
            y=alt.Y(f"{y}:N", sort=sort, title=None if sort else y, axis=named),
            color=alt.Color(f"{value}:Q", scale=scale, legend=alt.Legend(orient="right", gradientLength=160)),
            tooltip=_tips(rows),
            **(_frame(x, y) if outlined else {}),
        )
        .properties(width="container", height=height)
    )
    return _chart(name, caption, chart)


def matrix(name: str, caption: str, rows: Rows, x: str, y: str, value: str, limit: float) -> Chart:
    """A small map with its numbers in the cells; x and y keep the order of the rows."""
    base = alt.Chart(_data(rows)).encode(
        x=alt.X(f"{x}:N", sort=None, title=None, axis=alt.Axis(labelAngle=-40)),
        y=alt.Y(f"{y}:N", sort=None, title=None, axis=alt.Axis(labelLimit=240)),
        tooltip=_tips(rows),
    )
    scale = alt.Scale(scheme=DIVERGING, domain=[-limit, limit], clamp=True)
    cells = base.mark_rect().encode(color=alt.Color(f"{value}:Q", scale=scale, legend=None))
    light = alt.condition(f"abs(datum[{value!r}]) > {0.7 * limit}", alt.value("white"), alt.value("#1d2126"))
    numbers = base.mark_text(fontSize=11).encode(text=alt.Text(f"{value}:Q", format="+.1f"), color=light)
    height = max(160, 30 * len({row[y] for row in rows}))
    return _chart(name, caption, (cells + numbers).properties(width="container", height=height))


def _frame(x: str, y: str) -> dict[str, Any]:
    own = f"datum[{x!r}] === datum[{y!r}]"
    return {"stroke": alt.condition(own, alt.value("#1d2126"), alt.value(None)), "strokeWidth": alt.value(1.5)}


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


def ranges(name: str, caption: str, rows: Rows, x: str, y: str, null: str) -> Chart:
    """A point a row over its interval, from the columns `from` and `to`, in the rows' order.

    `null`: the column that says how far from 0, to either side, a row may lie by chance; a grey bar behind it.
    """
    base = alt.Chart(_data([row | {"-": -row[null]} for row in rows]))
    base = base.encode(y=alt.Y(f"{y}:N", sort=None, title=None), tooltip=_tips(rows))
    bars = base.mark_bar(color=GREY, opacity=0.22, height=alt.RelativeBandSize(1))
    zero = alt.Chart(_data([{x: 0.0}])).mark_rule(color=GREY).encode(x=f"{x}:Q")
    reach = base.mark_rule(color=BLUE, strokeWidth=2).encode(x=alt.X("from:Q", title=x), x2="to:Q")
    points = base.mark_circle(color=BLUE, size=50, opacity=1).encode(x=alt.X(f"{x}:Q", title=x))
    chart = bars.encode(x=alt.X("-:Q", title=x), x2=f"{null}:Q") + zero + reach + points
    return _chart(name, caption, chart.properties(width="container", height=max(160, 18 * len(rows))))


def strips(name: str, caption: str, rows: Rows, x: str, y: str) -> Chart:
    """A row of points for each value of y, the highest mean on top; an upright stroke at each mean."""
    sort = alt.EncodingSortField(field=x, op="mean", order="descending")
    base = alt.Chart(_data(rows)).encode(y=alt.Y(f"{y}:N", sort=sort, title=None, axis=alt.Axis(grid=True)))
    points = base.mark_circle(size=60, opacity=0.6, color=BLUE).encode(x=alt.X(f"{x}:Q", title=x), tooltip=_tips(rows))
    means = base.mark_tick(color=RED, thickness=2.5, size=22).encode(x=alt.X(f"mean({x}):Q", title=x))
    height = min(640, max(200, 34 * len({row[y] for row in rows})))
    return _chart(name, caption, (points + means).properties(width="container", height=height))


def panels(
    name: str, caption: str, rows: Rows, x: str, y: str, panel: str, series: str, colour: str, dash: str
) -> Chart:
    """Small panels one below the other on one scale, with a named line for each `series`.

    The panels share one view, so that the chart keeps the width of its page on a telephone too. The first value of
    `colour` in the alphabet is drawn blue, the second orange; lines of the last value of `dash` met are faint and unnamed.

    Args:
        x: steps, counted from 0.
        y: around 0, where each panel has a grey line.
    """
    names, faint = list(dict.fromkeys(row[panel] for row in rows)), rows[-1][dash]
    high, last = max(1e-9, *(abs(row[y]) for row in rows)), max(row[x] for row in rows)
    placed = [row | {"at": 0.4 * row[y] / high - names.index(row[panel])} for row in rows]
    ends = _apart([row for row in placed if row[x] == last and row[dash] != faint])
    legend = alt.Legend(orient="bottom", title=None, symbolType="stroke")
    wide, tall = (
        alt.Scale(domain=[-0.04 * last, 1.28 * last], nice=False),
        alt.Scale(domain=[-len(names) + 0.5, 0.56], nice=False),
    )
    tint = alt.Color(f"{colour}:N", scale=alt.Scale(range=[BLUE, ORANGE]), legend=legend)

    def at(rows: Rows) -> Any:
        base = alt.Chart(_data(rows))
        return base.encode(x=alt.X(f"{x}:Q", scale=wide, axis=None), y=alt.Y("at:Q", scale=tall, axis=None))

    drawn = at(placed).mark_line(strokeWidth=2, point=alt.OverlayMarkDef(size=18))
    drawn = drawn.encode(
        color=tint,
        strokeDash=alt.StrokeDash(f"{dash}:N", scale=alt.Scale(domain=[rows[0][dash], faint]), legend=legend),
        opacity=alt.condition(alt.datum[dash] == faint, alt.value(0.35), alt.value(1)),
        detail=[f"{panel}:N", f"{series}:N"],
        tooltip=_tips(rows),
    )
    named = at(ends).mark_text(align="left", dx=6, fontSize=10).encode(text=f"{series}:N", color=tint)
    heads = [{panel: text, x: 0, "end": last, "at": -k} for k, text in enumerate(names)]
    zero = at(heads).mark_rule(color=GREY, opacity=0.4).encode(x2="end:Q")
    titles = [head | {"at": head["at"] + 0.47} for head in heads]
    head = at(titles).mark_text(align="left", fontSize=11, fontWeight="bold", color=GREY).encode(text=f"{panel}:N")
    chart = zero + drawn + named + head
    return _chart(name, caption, chart.properties(width="container", height=110 * len(names)))


def _apart(rows: Rows, least: float = 0.1) -> list[dict[str, Any]]:
    """Labels moved up and down until none lies on another."""
    shown = sorted((dict(row) for row in rows), key=lambda row: float(row["at"]))
    for _ in range(100):
        for low, high in pairwise(shown):
            overlap = max(0.0, least - (high["at"] - low["at"]))
            low["at"], high["at"] = low["at"] - overlap / 2, high["at"] + overlap / 2
    return shown


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
