"""The figures that analyses share: bars in groups, and curves, a panel for each target."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from textwrap import fill
from typing import TYPE_CHECKING

from dg.drawing.figures import colour, dress, legend_below, panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

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


def grouped_bars(targets: Sequence[Panel], quantity: str, heading: str) -> "Figure":
    """Draw bars from zero with their values, one panel for each target and one legend.

    Args:
        targets: the panels.
        quantity: label of the vertical axis.
        heading: text above the figure.
    """
    bars = max(len(target.ticks) for target in targets) * max(len(target.bars) for target in targets)
    size = (max(_PANEL_INCHES[0], 0.42 * bars + 1.5), _PANEL_INCHES[1])
    figure, axes = panels(len(targets), heading, size)
    for axis, target in zip(axes, targets, strict=True):
        _draw_bars(axis, target)
        dress(axis, target.title, y=quantity)
    legend_below(figure, axes[:1], min(3, len(targets[0].bars)))
    return figure


def curves(targets: Sequence[Curves], x_name: str, y_name: str, heading: str, marks: Sequence[float] = ()) -> "Figure":
    """Draw a line for each checkpoint, one panel for each target.

    Args:
        targets: the panels.
        x_name: label of the horizontal axis.
        y_name: label of the vertical axis.
        heading: text above the figure.
        marks: y values at which a dotted line is drawn.
    """
    figure, axes = panels(len(targets), heading, _PANEL_INCHES)
    for axis, target in zip(axes, targets, strict=True):
        for number, (label, (x, y)) in enumerate(target.lines.items()):
            axis.plot(x, y, color=colour(number), linewidth=1.6, label=fill(f"{label}  {target.words[label]}", 60))
        for y in marks:
            axis.axhline(y, color="#999999", linestyle=":", linewidth=1)
        dress(axis, target.title, x_name, y_name)
        axis.legend(fontsize=7, frameon=False, loc="lower right")
    return figure


def _draw_bars(axis: "Axes", target: Panel) -> None:
    width = 0.8 / len(target.bars)
    for number, (label, values) in enumerate(target.bars.items()):
        places = [tick - 0.4 + width * (number + 0.5) for tick in range(len(values))]
        heights = [value or 0.0 for value in values]
        bars = axis.bar(places, heights, width * 0.92, color=colour(number), label=fill(label, 60))
        axis.bar_label(bars, ["–" if value is None else f"{value:.1f}" for value in values], padding=2, fontsize=7)
    axis.set_xticks(range(len(target.ticks)), target.ticks)
    axis.margins(y=0.12)
