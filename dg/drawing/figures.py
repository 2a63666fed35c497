"""Figures: one set of colours, one canvas and one look of axes for whatever a command draws.

They are made without pyplot, which would choose a backend for the whole process. Matplotlib loads with the first one.
"""

import io
from collections.abc import Iterable
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any, Literal

from dg.files.atomic import write_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which any colour vision tells apart; then two more for the seventh and eighth line.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8a8a8a", "#222222")
GREY = COLOURS[6]
DOTS_PER_INCH = 130


def colour(number: int) -> str:
    """The colour of the n-th line or group of bars; they repeat after eight."""
    return COLOURS[number % len(COLOURS)]


def canvas(width: float, height: float, heading: str = "") -> "Figure":
    """An empty figure.

    Args:
        width: inches.
        height: inches, without the lines of the heading beyond its first.
        heading: stands above everything, wrapped to the width.
    """
    from matplotlib.figure import Figure

    text = fill(heading, int(13 * width))
    figure = Figure(figsize=(width, height + 0.2 * text.count("\n")), dpi=DOTS_PER_INCH, layout="constrained")
    if text:
        figure.suptitle(text, fontsize=10, fontweight="bold")
    return figure


def panels(count: int, heading: str, size: tuple[float, float] = (6.2, 3.6)) -> "tuple[Figure, list[Axes]]":
    """A figure of `count` panels in rows of two, and their axes.

    Args:
        count: at least 1.
        heading: stands above all panels.
        size: width and height of one panel, inches.
    """
    across = min(2, count)
    down = -(-count // across)
    figure = canvas(size[0] * across, size[1] * down + 0.6, heading)
    axes = figure.subplots(down, across, squeeze=False).flatten().tolist()
    for axis in axes[count:]:
        axis.set_visible(False)
    return figure, axes[:count]


def row(
    count: int, size: tuple[float, float], heading: str = "", *, left: float, between: float, below: float
) -> "tuple[Figure, list[Axes]]":
    """A figure of panels side by side whose margins are given, and their axes.

    Measuring all words to make room for them takes most of a picture's time: this is for pictures that every run draws.

    Args:
        count: of the panels, at least 1.
        size: width and height of the figure, inches.
        heading: one line, above everything.
        left: room for the words at the first panel's left side, inches.
        between: likewise for those between two panels.
        below: room for what stands below the panels, inches.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, dpi=DOTS_PER_INCH)
    above = 0.25
    if heading:
        figure.text(0.5, 1 - 0.04 / size[1], heading, ha="center", va="top", fontsize=10, fontweight="bold")
        above += 0.22
    panel = (size[0] - left - 0.08 - (count - 1) * between) / count
    sides = {"left": left / size[0], "right": 1 - 0.08 / size[0], "wspace": between / panel}
    axes = figure.subplots(
        1, count, squeeze=False, gridspec_kw={**sides, "bottom": below / size[1], "top": 1 - above / size[1]}
    )
    return figure, axes[0].tolist()


def dress(
    axis: "Axes",
    title: str = "",
    x: str = "",
    y: str = "",
    grid: Literal["x", "y", "both", ""] = "y",
    **title_style: Any,  # noqa: ANN401 - what Matplotlib takes
) -> None:
    """Give an axis the look of all figures: small words, a faint grid behind the marks, no frame above and right.

    Args:
        axis: the one to dress.
        title: above it; its lines are wrapped.
        x: name of the horizontal axis with its unit.
        y: name of the vertical axis with its unit.
        grid: the axis that grid lines start from, `x`, `y` or `both`; empty: none.
        title_style: further settings of the title.
    """
    axis.set_title("\n".join(fill(line, 70) for line in title.splitlines()), **{"fontsize": 9, **title_style})
    axis.set_xlabel(x, fontsize=9)
    axis.set_ylabel(y, fontsize=9)
    axis.tick_params(labelsize=8)
    if grid:
        axis.grid(axis=grid, color="#eeeeee", zorder=0)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)


def legend_below(figure: "Figure", axes: "Iterable[Axes]", columns: int) -> None:
    """Draw one legend for all panels below them; marks of equal name are listed once.

    Args:
        figure: gets the legend.
        axes: the panels whose marks are listed.
        columns: entries side by side.
    """
    handles = {label: h for axis in axes for h, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    # "outside" makes room; in a figure whose margins are given there is room.
    place = "lower center" if figure.get_layout_engine() is None else "outside lower center"
    figure.legend(list(handles.values()), list(handles), loc=place, ncols=columns, fontsize=8, frameon=False)


def note(axis: "Axes", text: str, x: float, y: float) -> None:
    """Write small text just above a mark.

    Args:
        axis: the panel.
        text: what to write.
        x: place of the mark, in the units of the panel's axis.
        y: likewise.
    """
    axis.annotate(text, (x, y), xytext=(0, 4), textcoords="offset points", ha="center", fontsize=7)


def png_bytes(figure: "Figure", dpi: int = DOTS_PER_INCH) -> bytes:
    """The figure as a PNG file's content.

    No version of the drawing library stands in it: the same results give the same file.

    Args:
        figure: one that belongs to no window.
        dpi: pixels per inch.
    """
    return _drawn(figure, dpi)


def _drawn(figure: "Figure", dpi: int) -> bytes:
    engine = figure.get_layout_engine()
    if engine is not None:
        # `savefig` would go through a whole drawing first, for its layout.
        figure.dpi = dpi
        engine.execute(figure)
        figure.set_layout_engine(None)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=dpi, metadata={"Software": None})
    return picture.getvalue()


def save_png(figure: "Figure", path: Path) -> Path:
    """Write a figure as a PNG file, whole or not at all.

    Args:
        figure: one that belongs to no window.
        path: of the file; its folder is made where it does not exist.

    Returns:
        The path.
    """
    write_file(path, png_bytes(figure))
    return path
