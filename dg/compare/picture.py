"""Comparison tables as one picture: a dot and its standard deviation for each row, a panel for each column."""

import statistics
from collections.abc import Sequence
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING

from dg.compare.tables import Column, ComparisonTable
from dg.drawing.figures import COLOURS, GREY, canvas, dress, note, save_png
from dg.tracking.labels import method_label, metric_label
from dg.tracking.names import HIGHER_IS_BETTER

if TYPE_CHECKING:
    from matplotlib.axes import Axes

OURS_COLOUR, PUBLISHED_COLOUR, BEST_COLOUR = COLOURS[0], GREY, COLOURS[1]
_PANEL_INCHES, _ROW_INCHES, _LABEL_INCHES = 3.2, 0.36, 4.2


def write_picture(tables: Sequence[ComparisonTable], path: Path) -> None:
    """Draw every table into a PNG file. Raises ValueError for none."""
    if not tables:
        raise ValueError("expected at least one table to draw, got none")
    heights = [2.0 + _ROW_INCHES * _row_count(t) for t in tables]
    widest = max(len(t.columns) for t in tables)
    figure = canvas(_LABEL_INCHES + _PANEL_INCHES * widest, sum(heights))
    bands = figure.subfigures(len(tables), 1, height_ratios=heights, squeeze=False)[:, 0]
    for band, table in zip(bands, tables, strict=True):
        band.suptitle(fill(table.title, 40 + 40 * widest), fontsize=9, fontweight="bold")
        band.supxlabel(_key(table), fontsize=8)
        panels = band.subplots(1, len(table.columns), sharey=True, squeeze=False)[0]
        for panel, column, header in zip(panels, table.columns, table.headers(), strict=True):
            _draw(panel, table, column, header)
        labels = [_wrapped(table.labels(row)) for row in table.rows]
        labels += [f"{_wrapped([*row.labels, row.settings])}\n{row.source}" for row in table.published]
        panels[0].set_yticks(range(_row_count(table)), labels, fontsize=8)
        panels[0].invert_yaxis()
    save_png(figure, path)


def _draw(panel: "Axes", table: ComparisonTable, column: Column, header: str) -> None:
    best = table.best(column)
    for place, row in enumerate(table.rows):
        values = row.values(column)
        if not values:
            continue
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        colour = BEST_COLOUR if row is best else OURS_COLOUR
        mean = statistics.fmean(values)
        panel.errorbar(mean, place, xerr=spread, fmt="o", color=colour, capsize=3, markersize=5)
        note(panel, f"{mean:.1f}", mean, place)
    for place, row in enumerate(table.published, start=len(table.rows)):
        if column in row.cells:
            panel.plot(row.cells[column], place, "D", color=PUBLISHED_COLOUR, fillstyle="none", markersize=5)
            note(panel, f"{row.cells[column]:.1f}", row.cells[column], place)
    for row in table.rows:
        if row.method == table.baseline and row.values(column):
            panel.axvline(statistics.fmean(row.values(column)), color="#bbbbbb", linestyle=":", linewidth=1, zorder=0)
    better = "higher is better" if table.metric in HIGHER_IS_BETTER else "lower is better"
    panel.margins(x=0.18)
    panel.set_ylim(-0.6, _row_count(table) - 0.4)
    title = f"{header}\n{fill(table.protocol_of(column).replace('/', ' / '), 46)}"
    dress(panel, title, f"{metric_label(table.metric)}, {better}", grid="x", fontsize=7)


def _row_count(table: ComparisonTable) -> int:
    return len(table.rows) + len(table.published)


def _wrapped(words: Sequence[str]) -> str:
    return fill(" · ".join(word for word in words if word), 76)


def _key(table: ComparisonTable) -> str:
    words = ["dots: ours, mean ± standard deviation over seeds, the best in orange"]
    words += ["diamonds: published"] if table.published else []
    with_baseline = any(row.method == table.baseline for row in table.rows)
    words += [f"dotted: {method_label(table.baseline)}"] if with_baseline else []
    return "; ".join(words)
