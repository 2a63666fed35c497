"""The pictures that analyses share: bars in groups, and curves, a panel for each target."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from textwrap import fill
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#1f6fb4", "#c8501e", "#3a923a", "#8a56a0", "#8a8a8a", "#b8860b", "#17a2b8", "#d6589b")
PANELS_ACROSS = 2
_PANEL_INCHES = (6.2, 3.6)


@dataclass(frozen=True)
class Panel:
    """One target: for each checkpoint a bar at every tick; None leaves a bar out."""

    title: str
    ticks: Sequence[str]
    bars: Mapping[str, Sequence[float | None]]


@dataclass(frozen=True)
class Curves:
    """One target: for each checkpoint x and y values, and the words behind its name in the legend."""

    title: str
    lines: Mapping[str, tuple[Sequence[float], Sequence[float]]]
    words: Mapping[str, str]


def grouped_bars(panels: Sequence[Panel], quantity: str, heading: str) -> "Figure":
    """Bars from zero with their values; one legend."""
    bars = max(len(p.ticks) for p in panels) * max(len(p.bars) for p in panels)
    figure, axes = _sheet(len(panels), heading, width=max(_PANEL_INCHES[0], 0.42 * bars + 1.5))
    for axis, panel in zip(axes, panels, strict=True):
        _draw_bars(axis, panel)
        _dress(axis, panel.title)
        axis.set_ylabel(quantity, fontsize=9)
    _legend(figure, axes[0])
    return figure


def curves(panels: Sequence[Curves], x_name: str, y_name: str, heading: str, marks: Sequence[float] = ()) -> "Figure":
    """A line for each checkpoint. marks: y values with a dotted line."""
    figure, axes = _sheet(len(panels), heading)
    for axis, panel in zip(axes, panels, strict=True):
        for (label, (x, y)), colour in zip(panel.lines.items(), _colours(len(panel.lines)), strict=True):
            axis.plot(x, y, color=colour, linewidth=1.6, label=fill(f"{label}  {panel.words[label]}", 60))
        for y in marks:
            axis.axhline(y, color="#999999", linestyle=":", linewidth=1)
        _dress(axis, panel.title)
        axis.set_xlabel(x_name, fontsize=9)
        axis.set_ylabel(y_name, fontsize=9)
        axis.legend(fontsize=7, frameon=False, loc="lower right")
    return figure


def _sheet(count: int, heading: str, width: float = _PANEL_INCHES[0]) -> "tuple[Figure, list[Axes]]":
    from matplotlib.figure import Figure

    across = min(PANELS_ACROSS, count)
    down = -(-count // across)
    words = fill(heading, int(13 * across * width))
    height = _PANEL_INCHES[1] * down + 0.6 + 0.2 * words.count("\n")
    figure = Figure(figsize=(width * across, height), layout="constrained")
    figure.suptitle(words, fontsize=10, fontweight="bold")
    axes = figure.subplots(down, across, squeeze=False).flatten().tolist()
    for axis in axes[count:]:
        axis.set_visible(False)
    return figure, axes[:count]


def _draw_bars(axis: "Axes", panel: Panel) -> None:
    width = 0.8 / len(panel.bars)
    for number, ((label, values), colour) in enumerate(zip(panel.bars.items(), _colours(len(panel.bars)), strict=True)):
        places = [tick - 0.4 + width * (number + 0.5) for tick in range(len(values))]
        axis.bar(places, [v or 0.0 for v in values], width * 0.92, color=colour, label=fill(label, 60))
        for x, value in zip(places, values, strict=True):
            text = "–" if value is None else f"{value:.1f}"
            axis.annotate(text, (x, value or 0.0), xytext=(0, 2), textcoords="offset points", ha="center", fontsize=7)
    axis.set_xticks(range(len(panel.ticks)), panel.ticks, fontsize=8)
    axis.margins(y=0.12)


def _dress(axis: "Axes", title: str) -> None:
    axis.set_title(fill(title, 70), fontsize=9)
    axis.tick_params(labelsize=8)
    axis.grid(axis="y", color="#eeeeee", zorder=0)
    axis.set_axisbelow(True)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)


def _legend(figure: "Figure", axis: "Axes") -> None:
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(3, len(labels)), fontsize=8, frameon=False)


def _colours(count: int) -> list[str]:
    return [COLOURS[n % len(COLOURS)] for n in range(count)]
