"""The figure of a study: error against what it varies, a panel for each target."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dg.drawing.figures import colour, dress, legend_below, panels, png_bytes

if TYPE_CHECKING:
    from pandas import DataFrame, Series

STYLES = (("o", "-"), ("s", "--"), ("^", ":"), ("D", "-."))


def error_figure(
    frame: "DataFrame", metric: str, heading: str, x_name: str, labels: Sequence[str], common: str = ""
) -> bytes:
    """A PNG: one panel a target, one line for each of its lines, error bars of one standard deviation over the seeds.

    The first label in which lines differ picks the colour, the others marker and dashes; a single one picks both.

    Args:
        frame: as `dg.study.results.frame_of` makes it.
        metric: name of the vertical axis.
        heading: above the panels.
        x_name: name of the horizontal axis.
        labels: in which the lines differ.
        common: what all lines have in common.
    """
    title = f"{heading} (bars: standard deviation over the seeds)" + (f" · {common}" if common else "")
    targets = list(frame["target"].unique())
    figure, axes = panels(len(targets), title, (5.4, 3.5))
    names = [name for name in labels if name != "target"]
    frame = frame.assign(colour=_ranks(frame, names[:1]), style=_ranks(frame, names[1:] or names))
    ticks = sorted(frame["x"].unique())
    for axis, target in zip(axes, targets, strict=True):
        for _, line in frame[frame["target"] == target].groupby("line"):
            first, errors = line.iloc[0], line.groupby("x")["error"].agg(["mean", "std"]).fillna(0.0)
            marker, dashes = STYLES[first["style"] % len(STYLES)]
            axis.errorbar(
                [ticks.index(x) for x in errors.index],
                errors["mean"],
                yerr=errors["std"],
                color=colour(int(first["colour"])),
                marker=marker,
                linestyle=dashes,
                markersize=4,
                linewidth=1.4,
                capsize=3,
                label=", ".join(first[name] for name in names),
            )
        axis.set_xticks(range(len(ticks)), [str(x) for x in ticks])
        axis.margins(x=0.08, y=0.12)
        dress(axis, target, x_name, metric)
    if names:
        legend_below(figure, axes, 1 + min(2, len(names)))
    return png_bytes(figure)


def _ranks(frame: "DataFrame", names: Sequence[str]) -> "Series | int":
    """Which of the values that some labels take together each row has."""
    return frame.groupby(list(names), sort=False).ngroup() if names else 0
