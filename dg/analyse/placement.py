"""How large and where people are seen in the image: the source, what the method makes of it, and the targets.

PoseDA, supplement C and Figure B: histograms of 2D scale and of the root's x and y in the source domain, in the source
domain after global position alignment, and in the target domain. The paper does not define the scale; here it is width
plus height of a pose's 2D box, which the alignment works with, in units of half the image's width. The table adds how
far each distribution lies from the target's (the 1-Wasserstein distance, in the same units). Of PoseDA, parts=gpa shows
the alignment alone, parts=both what the lifter is trained on. Needs a checkpoint-STEP.pt, which holds the method.
"""

from typing import TYPE_CHECKING, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from dg.analyse.base import Analysis, Comparison, Findings, Table, Value
from dg.analyse.stratified import percentile
from dg.analyse.viewpoints import PERCENTS, TARGET, SetsOptions, in_frame, sets_of
from dg.drawing.figures import canvas, colour, dress
from dg.pose.batch import PoseBatch

if TYPE_CHECKING:
    from matplotlib.figure import Figure

QUANTITIES = {"scale": "2D scale", "root_x": "root x", "root_y": "root y"}
_STEPS = 512  # of the quantile functions whose mean distance is taken
_BINS = 40


def placement(poses: PoseBatch) -> dict[str, Float[Tensor, " poses"]]:
    """Measure how large and where poses are seen, by their centre frames.

    Args:
        poses: poses or windows.

    Returns:
        Of each pose the scale (width plus height of its 2D box) and the place of its root, in normalised coordinates.
    """
    flat = poses.seen_2d[:, poses.seen_2d.shape[1] // 2].cpu()
    root = flat[:, poses.skeleton.root]
    return {"scale": (flat.amax(1) - flat.amin(1)).sum(-1), "root_x": root[:, 0], "root_y": root[:, 1]}


def distance(one: Float[Tensor, " poses"], other: Float[Tensor, " others"]) -> float:
    """Compute the 1-Wasserstein distance of two samples: the mean distance of their quantiles."""
    at = (torch.arange(_STEPS, dtype=torch.float64) + 0.5) / _STEPS
    return float((one.double().quantile(at) - other.double().quantile(at)).abs().mean())


class Placement(Analysis):
    """See the module's docstring."""

    Options: ClassVar[type] = SetsOptions

    def run(self, comparison: Comparison) -> Findings:
        """Compare the placement of source poses, of each checkpoint's poses and of the targets."""
        sets = sets_of(comparison, self.options.poses)
        targets = [name for name in sets if name.startswith(TARGET)]
        # Of a target, everybody is tested on.
        seen = {name: poses if name in targets else in_frame(name, poses) for name, poses in sets.items()}
        found = {name: placement(poses) for name, poses in seen.items()}
        rows = [_row(name, q, values, found, targets) for name, values in found.items() for q in QUANTITIES]
        notes = [
            "scale: width plus height of a pose's 2D box; all in half image widths (half longer sides where a data set "
            "is divided by them), x right and y down from the middle",
            "to TARGET: 1-Wasserstein distance of the two distributions",
        ]
        table = Table("placement", "How large and where people are seen", rows, notes=notes)
        truth = "made poses are projected from 3D, and so is a target's 2D where no detector found it (an oracle)"
        return Findings([table], truth, {"placement": draw(found)})


def _row(
    name: str, quantity: str, values: dict[str, Tensor], found: dict[str, dict[str, Tensor]], targets: list[str]
) -> dict[str, Value]:
    own = values[quantity]
    percentiles = {f"p{p}": percentile(own, p) for p in PERCENTS}
    away = {f"to {t.removeprefix(TARGET)}": distance(own, found[t][quantity]) for t in targets}
    return {"set": name, "quantity": QUANTITIES[quantity], "poses": len(own), **percentiles, **away}


def draw(sets: dict[str, dict[str, Tensor]]) -> "Figure":
    """Histograms, a row for each quantity and a column for each set; a row shares its axes."""
    figure = canvas(2.7 * len(sets) + 0.6, 2.0 * len(QUANTITIES) + 0.9, "How large and where people are seen in 2D")
    axes = figure.subplots(len(QUANTITIES), len(sets), squeeze=False, sharex="row", sharey="row")
    for row, (quantity, words) in enumerate(QUANTITIES.items()):
        every = torch.cat([values[quantity] for values in sets.values()])
        low, high = percentile(every, 0.2), percentile(every, 99.8)
        rim = max(0.05 * (high - low), 0.02)
        for column, (name, values) in enumerate(sets.items()):
            own, axis = values[quantity].clamp(low - rim, high + rim), axes[row, column]
            shares = torch.full_like(own, 100 / len(own)).numpy()
            kind = 0 if name.startswith("source") else 2 if name.startswith(TARGET) else 1
            axis.hist(own.numpy(), bins=_BINS, range=(low - rim, high + rim), weights=shares, color=colour(kind))
            axis.axvline(float(values[quantity].median()), color="#222222", linewidth=0.8, linestyle="--")
            title = f"{name}: {len(own):,} poses" if row == 0 else ""
            dress(axis, title, words, "poses (%)" if column == 0 else "")
    return figure
