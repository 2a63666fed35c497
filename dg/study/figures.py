"""The picture of a study: error against what it varies, a panel for each target."""

import io
from collections.abc import Sequence
from textwrap import fill
from typing import TYPE_CHECKING

from dg.study.lines import FRAMES, Axis, Line, shared_labels, shown_labels, ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("#1f6fb4", "#c8501e", "#3a923a", "#8a56a0", "#8a8a8a", "#b8860b")
STYLES = (("o", "-"), ("s", "--"), ("^", ":"), ("D", "-."))
ACROSS = 2
_PANEL_INCHES = (5.4, 3.5)


def error_figure(lines: Sequence[Line], metric: str, heading: str, along: Axis = FRAMES) -> bytes:
    """A PNG: one panel a target, one line for each of its lines, error bars of one standard deviation over the seeds.

    The first label in which lines differ picks the colour, the others marker and dashes; a single one picks both.
    """
    from matplotlib.figure import Figure

    targets = list(dict.fromkeys(line.labels["target"] for line in lines))
    across = min(ACROSS, len(targets))
    down = -(-len(targets) // across)
    size = (_PANEL_INCHES[0] * across, _PANEL_INCHES[1] * down + 1.0)
    figure = Figure(figsize=size, layout="constrained")
    common = shared_labels(lines)
    title = f"{heading} (bars: standard deviation over the seeds)" + (f" · {common}" if common else "")
    figure.suptitle(fill(title, int(12 * size[0])), fontsize=10, fontweight="bold")
    axes = figure.subplots(down, across, squeeze=False).flatten().tolist()
    labels = [name for name in shown_labels(lines) if name != "target"]
    for axis, target in zip(axes, targets, strict=False):
        _draw(axis, [line for line in lines if line.labels["target"] == target], lines, labels)
        axis.set_xlabel(along.label, fontsize=9)
        axis.set_title(target, fontsize=9)
        axis.set_ylabel(metric, fontsize=9)
    for axis in axes[len(targets) :]:
        axis.set_visible(False)
    handles = {label: h for axis in axes for h, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    if labels:
        rows = min(2, len(labels))
        figure.legend(
            list(handles.values()), list(handles), loc="outside lower center", ncols=1 + rows, fontsize=8, frameon=False
        )
    picture = io.BytesIO()
    # No version of the drawing library inside: the same results give the same file.
    figure.savefig(picture, dpi=130, format="png", metadata={"Software": None})
    return picture.getvalue()


def _draw(axis: "Axes", own: Sequence[Line], every: Sequence[Line], labels: Sequence[str]) -> None:
    places = ticks(every)
    for line in own:
        own_places = sorted(line.values)
        marker, dashes = STYLES[_rank(line, every, labels[1:] or labels) % len(STYLES)]
        axis.errorbar(
            [places.index(x) for x in own_places],
            [line.mean(x) or 0.0 for x in own_places],
            yerr=[line.spread(x) for x in own_places],
            color=COLOURS[_rank(line, every, labels[:1]) % len(COLOURS)],
            marker=marker,
            linestyle=dashes,
            markersize=4,
            linewidth=1.4,
            capsize=3,
            label=", ".join(line.labels[name] for name in labels),
        )
    axis.set_xticks(range(len(places)), [str(x) for x in places], fontsize=8)
    axis.tick_params(axis="y", labelsize=8)
    axis.margins(x=0.08, y=0.12)
    axis.grid(axis="y", color="#eeeeee", zorder=0)
    axis.set_axisbelow(True)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)


def _rank(line: Line, every: Sequence[Line], labels: Sequence[str]) -> int:
    """Which of the values that some labels take together this line has."""
    values = list(dict.fromkeys(tuple(other.labels.get(n) for n in labels) for other in every))
    return values.index(tuple(line.labels.get(n) for n in labels))
