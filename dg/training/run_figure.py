"""The figure of a run: its error by joint, by the camera's elevation, and where its augmented poses are seen from."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from dg.drawing.figures import COLOURS, GREY, colour, dress, legend_below, png_bytes, row
from dg.evaluation.details import ELEVATION_STEP_DEG
from dg.training.view_log import ViewLog

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SIZE, _DPI = (15.0, 4.2), 90
_BINS, _COLUMNS = 36, 6


def draw_run(details: Mapping[str, Any], views: ViewLog) -> bytes | None:
    """Draw the run's figure.

    Args:
        details: as `dg.training.run_record.load_details` returns them.
        views: of the run's augmentation.

    Returns:
        A PNG; None where there is nothing to draw.
    """
    targets = details.get("targets", {})
    if not targets:
        return None
    lines = -(-(len(targets) + 2) // _COLUMNS)  # of the legend
    heading = f"Errors at epoch {details['epoch']}, chosen by source validation"
    size, below = (_SIZE[0], _SIZE[1] + 0.2 * (lines - 1)), 0.52 + 0.2 * lines
    count = 2 if views.last is None else 3
    figure, panels = row(count, size, heading, left=0.9, between=0.65, below=below)
    _draw_joints(panels[0], targets)
    _draw_elevation(panels[1], targets)
    if views.last is not None:
        _draw_views(panels[2], views)
    legend_below(figure, panels, _COLUMNS)
    return png_bytes(figure, _DPI)


def _draw_joints(axis: "Axes", targets: Mapping[str, Any]) -> None:
    width = 0.8 / len(targets)
    for number, (name, found) in enumerate(targets.items()):
        places = [i + (number - (len(targets) - 1) / 2) * width for i in range(len(found["joints"]))]
        axis.barh(places, list(found["joints"].values()), width, color=colour(number), label=name)
    names = list(next(iter(targets.values()))["joints"])
    axis.set_yticks(range(len(names)), [name.replace("_", " ") for name in names], fontsize=7)
    axis.invert_yaxis()
    dress(axis, "error by joint", x="MPJPE (mm)", grid="x")
    axis.tick_params(axis="y", labelsize=7)


def _draw_elevation(axis: "Axes", targets: Mapping[str, Any]) -> None:
    for number, (name, found) in enumerate(targets.items()):
        rows = found["elevation"]
        places = [row["from_deg"] + ELEVATION_STEP_DEG / 2 for row in rows]
        axis.plot(places, [row["mpjpe_mm"] for row in rows], "o-", color=colour(number), label=name, markersize=4)
    dress(axis, "error by the camera's elevation", x="elevation against the trunk (deg)", y="MPJPE (mm)")
    axis.set_ylim(bottom=0)


def _draw_views(axis: "Axes", views: ViewLog) -> None:
    assert views.last is not None
    edges = torch.linspace(-90, 90, _BINS + 1)
    numbers = {name: number for number, name in enumerate(name for name in views.known if name != "source")}
    for name, found in ({"augmented": views.last.views} | views.known).items():
        values = found["elevation_deg"].cpu()
        share = torch.histc(values, _BINS, -90, 90) / len(values)
        made = name == "augmented"
        shade = GREY if made else COLOURS[7] if name == "source" else colour(numbers[name])
        axis.stairs(share, edges, color=shade, fill=made, label=name if name in ("augmented", "source") else None)
    dress(axis, "viewpoints: augmented, source and targets", x="elevation against the trunk (deg)", y="share of poses")
