"""Charts of a report as SVG: they need no script, print sharp, and tell their numbers under the mouse."""

import html
import statistics
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from dg.compare.tables import Column, ComparisonTable
from dg.drawing.figures import COLOURS, colour
from dg.tracking.labels import metric_label

_ROW, _LEFT, _PANEL, _TOP, _BOTTOM, _GAP = 24, 330, 300, 34, 34, 30
_WIDE, _HIGH, _SIDE = 460, 250, 52
_TICKS, _NAME_WIDTH = 4, 34


def comparison_chart(table: ComparisonTable) -> str:
    """Draw a comparison: a dot and its standard deviation for each row, a panel for each column."""
    height = _TOP + _ROW * len(table.rows) + _BOTTOM
    width = _LEFT + len(table.columns) * (_PANEL + _GAP)
    parts = []
    for place, row in enumerate(table.rows):
        label = " · ".join(word for word in table.labels(row) if word and word != "ours")
        parts.append(_text(_LEFT - 12, _TOP + _ROW * (place + 0.5) + 4, label, anchor="end"))
    for number, (column, head) in enumerate(zip(table.columns, table.headers(), strict=True)):
        parts += _panel(table, column, head, _LEFT + number * (_PANEL + _GAP))
    return _svg(width, height, parts)


def _panel(table: ComparisonTable, column: Column, head: str, left: float) -> list[str]:
    found = {id(row): row.values(column) for row in table.rows if row.values(column)}
    if not found:
        return []
    ends = [v for values in found.values() for v in _span(values)]
    at = _scale(min(ends), max(ends), left, left + _PANEL)
    bottom = _TOP + _ROW * len(table.rows)
    parts = [_text(left + _PANEL / 2, 14, f"{head}, {metric_label(table.metric)}", anchor="middle", weight="bold")]
    parts += _ticks(min(ends), max(ends), at, bottom)
    best = table.best(column)
    for place, row in enumerate(table.rows):
        values = found.get(id(row))
        if not values:
            continue
        y, shade = _TOP + _ROW * (place + 0.5), COLOURS[1] if row is best else COLOURS[0]
        low, high = _span(values)
        seeds = ", ".join(f"seed {seed}: {value:.1f}" for seed, value in row.by_seed(column).items())
        told = f"{statistics.fmean(values):.1f} ({seeds})"
        parts.append(_line(at(low), y, at(high), y, shade, 2))
        parts.append(_dot(at(statistics.fmean(values)), y, shade, told, radius=5))
    return parts


Lines = Mapping[str, Sequence[tuple[float, float]]]


def curves_chart(title: str, lines: Lines, y: str, x: str = "epoch", dots: Lines = MappingProxyType({})) -> str:
    """Draw lines over epochs, or over another quantity.

    Args:
        title: above the chart.
        lines: name -> points (place, value); a line without points is left out, and keeps its colour.
        y: name of the vertical axis with its unit.
        x: name of the horizontal axis with its unit.
        dots: single points of each line; where there are any, every place of theirs is named below.
    """
    points = [point for line in (*lines.values(), *dots.values()) for point in line]
    if not points:
        return ""
    across = _scale(min(points)[0], max(points)[0], _SIDE, _WIDE - 12)
    values = [v for _, v in points]
    up = _scale(min(values), max(values), _HIGH - _BOTTOM, _TOP)
    parts = [
        _text(_WIDE / 2, 14, title, anchor="middle", weight="bold"),
        _text(_WIDE / 2, _HIGH - 4, x, "middle"),
    ]
    parts += [_text(_SIDE - 6, up(v) + 4, f"{v:.0f}", "end") for v in _marks(min(values), max(values))]
    parts += [_line(_SIDE, up(v), _WIDE - 12, up(v), "#eeeeee", 1) for v in _marks(min(values), max(values))]
    named = {at for line in dots.values() for at, _ in line} or {min(points)[0], max(points)[0]}
    parts += [_text(across(at), _HIGH - 18, f"{at:.4g}", "middle") for at in _thinned(sorted(named), across)]
    parts.append(_text(4, _TOP - 6, y))
    for number, (name, line) in enumerate(lines.items()):
        if not line:
            continue
        path = " ".join(f"{across(x):.1f},{up(v):.1f}" for x, v in line)
        told = f"{name}: {line[-1][1]:.1f} at the end, {min(v for _, v in line):.1f} at best"
        parts.append(
            f'<polyline points="{path}" fill="none" stroke="{colour(number)}" stroke-width="2">'
            f"<title>{html.escape(told)}</title></polyline>"
        )
        parts += [_dot(across(x), up(v), colour(number), f"{name}: {v:.1f}") for x, v in dots.get(name, ())]
    return _svg(_WIDE, _HIGH, parts)


def legend(names: Sequence[str]) -> str:
    """The colours of the lines of `curves_chart`, in their order."""
    marks = [f'<span><i style="background:{colour(n)}"></i>{html.escape(name)}</span>' for n, name in enumerate(names)]
    return f'<p class="legend">{" ".join(marks)}</p>'


def _span(values: Sequence[float]) -> tuple[float, float]:
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    return statistics.fmean(values) - spread, statistics.fmean(values) + spread


def _scale(low: float, high: float, start: float, end: float):  # noqa: ANN202 - a function of one number
    margin = 0.08 * (high - low) or 1.0
    low, high = low - margin, high + margin
    return lambda value: start + (end - start) * (value - low) / (high - low)


def _marks(low: float, high: float) -> list[float]:
    if high <= low:
        return [low]
    return [low + (high - low) * i / (_TICKS - 1) for i in range(_TICKS)]


def _ticks(low: float, high: float, at, bottom: float) -> list[str]:  # noqa: ANN001 - what `_scale` returns
    parts = []
    for value in _marks(low, high):
        parts.append(_line(at(value), _TOP, at(value), bottom, "#eeeeee", 1))
        parts.append(_text(at(value), bottom + 16, f"{value:.1f}", "middle"))
    return parts


def _thinned(places: Sequence[float], across: Callable[[float], float]) -> list[float]:
    """Those that can be named without overlap, the first among them."""
    kept: list[float] = []
    for place in places:
        if not kept or across(place) - across(kept[-1]) >= _NAME_WIDTH:
            kept.append(place)
    return kept


def _dot(x: float, y: float, shade: str, told: str, radius: int = 3) -> str:
    title = f"<title>{html.escape(told)}</title>"
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{shade}">{title}</circle>'


def _line(x0: float, y0: float, x1: float, y1: float, shade: str, width: float) -> str:
    return f'<line x1="{x0:.1f}" y1="{y0:.1f}" x2="{x1:.1f}" y2="{y1:.1f}" stroke="{shade}" stroke-width="{width}"/>'


def _text(x: float, y: float, text: str, anchor: str = "start", weight: str = "normal") -> str:
    shade = "#222222" if weight == "bold" else "#444444"
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}" fill="{shade}" font-size="12">'
        f"{html.escape(text)}</text>"
    )


def _svg(width: float, height: float, parts: Sequence[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" '
        f'height="{height:.0f}" font-family="sans-serif">{"".join(parts)}</svg>'
    )
