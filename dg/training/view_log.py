"""What a run tells of its augmentation: percentiles of viewpoint and place, a figure, and a warning when it is off."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from dg.augment.viewpoint import QUANTITIES, view_quantities
from dg.datasets.base import PoseDataset
from dg.drawing.figures import legend_below, png_bytes, row
from dg.methods.base import DGMethod
from dg.methods.diagnosis import Diagnosis, diagnose, percentiles
from dg.pose.batch import PoseBatch

MOST_POSES = 4096
_RANGES = {"azimuth_deg": (-180, 180), "elevation_deg": (-90, 90), "tilt_deg": (0, 180), "scale_2d": (0.0, 2.0)}
_TITLES = {
    "azimuth_deg": "azimuth of the camera (deg)",
    "elevation_deg": "elevation against the trunk (deg)",
    "tilt_deg": "tilt of the trunk (deg)",
    "root_depth_m": "root depth (m)",
    "scale_2d": "size of the 2D box (frame = 2)",
}
_SOURCE, _AUGMENTED = "#111111", "#e8a27c"
_COLOURS = ("#1f6fb4", "#3a923a", "#8a56a0", "#b8860b", "#c03a6b", "#2aa5a5", "#7a5a3a")
_COLUMNS = 8


class ViewLog:
    """Looks at a method's proposals at each evaluation.

    Targets stand beside the proposals for people to see: their 3D is an oracle, and decides nothing.
    """

    def __init__(self, method: DGMethod, batch_size: int, report: Callable[[dict[str, Any]], None]) -> None:
        self.method, self.batch_size, self.report = method, batch_size, report
        self.last: Diagnosis | None = None
        self.known: dict[str, dict[str, Tensor]] = {}
        self._warned: set[str] = set()

    def look(self, source: PoseBatch, targets: Sequence[PoseDataset]) -> dict[str, float]:
        """Diagnose the method now; metrics to log, none where it makes no poses yet. Each warning is told once.

        Args:
            source: what the method trains on, on its device.
            targets: of the run.
        """
        diagnosis = diagnose(self.method, source, self.batch_size)
        if diagnosis is None:
            return {}
        self.last, metrics = diagnosis, diagnosis.metrics()
        if not self.known:
            sets = {"source": source} | {t.name: t.poses for t in targets}
            self.known = {name: view_quantities(evenly_spaced(poses, MOST_POSES)) for name, poses in sets.items()}
            for name, views in self.known.items():
                metrics |= percentiles(name, views)
        for kind, text in diagnosis.warnings.items():
            if kind not in self._warned:
                self._warned.add(kind)
                self.report({"kind": "note", "text": f"warning: {text}"})
        return metrics

    def summary(self) -> dict[str, Any]:
        """The last diagnosis, for `summary.json`."""
        return {} if self.last is None else {**self.last.metrics(), "warnings": sorted(self.last.warnings)}

    def figure(self) -> bytes | None:
        """The last diagnosis as a PNG, None before the first."""
        if self.last is None:
            return None
        return draw_views({"augmented": self.last.views} | self.known)


def evenly_spaced(poses: PoseBatch, most: int) -> PoseBatch:
    """At most so many of the valid poses."""
    kept = poses[poses.valid]
    return kept[:: max(1, -(-len(kept) // most))]


def draw_views(sets: Mapping[str, Mapping[str, Float[Tensor, " poses"]]]) -> bytes:
    """A PNG with a panel for each quantity and an outline for each set of poses; the augmented ones are filled."""
    lines = -(-len(sets) // _COLUMNS)  # of the legend
    figure, panels = row(len(QUANTITIES), (15, 2.7 + 0.2 * lines), left=0.08, between=0.08, below=0.3 + 0.2 * lines)
    others = itertools.cycle(_COLOURS)
    own = {"source": _SOURCE, "augmented": _AUGMENTED}
    colours = [own.get(name) or next(others) for name in sets]
    for axis, quantity in zip(panels, QUANTITIES, strict=True):
        low, high = _RANGES.get(quantity) or _span([views[quantity] for views in sets.values()])
        for (name, views), colour in zip(sets.items(), colours, strict=True):
            values = views[quantity].cpu()
            share = torch.histc(values, 36, low, high) / len(values)
            edges, made = torch.linspace(low, high, 37), name == "augmented"
            axis.stairs(share, edges, color=colour, label=name, fill=made, linewidth=1.6 if name == "source" else 1.0)
        axis.set_title(_TITLES[quantity], fontsize=9)
        axis.set_yticks([])
        axis.tick_params(labelsize=7)
    legend_below(figure, panels[:1], _COLUMNS)
    return png_bytes(figure, 90)


def _span(values: Sequence[Tensor]) -> tuple[float, float]:
    """What holds 99 % of every set."""
    return min(float(v.quantile(0.005)) for v in values), max(float(v.quantile(0.995)) for v in values)
