"""How much depth a lifter needs: its depth channel replaced by coarse ground truth, an oracle.

AugLift, appendix E and Table 10 (METHODS 4.8): ground-truth z in bins of 1, 10 or 25 cm, or in front of, at, or behind
the pelvis, as an extra input channel. The paper trains with the channel (TCN, 1 frame, Human3.6M to MPI-INF-3DHP: 52.6,
54.2 and 61.2 mm). Here the channel of a trained xyd lifter is replaced at test time, so that what is measured is how
coarse the depth of this lifter may become; its scale normalisation keeps its own depth of the pelvis.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from dg.analyse.base import Analysis, Comparison, Findings, Table, Value
from dg.analyse.checkpoints import AnalysisError, TrainedRun
from dg.analyse.figures import grouped_bars
from dg.analyse.stratified import error_of_variants
from dg.datasets.base import PoseDataset
from dg.pose.batch import PoseBatch
from dg.pose.ordinal_depth import DepthBins

EXACT = "exact"


@dataclass(frozen=True)
class OrdinalDepthOptions:
    """bins: what the ground truth is made to, a width such as `10cm`, or `three` (0.1 m about the pelvis)."""

    bins: tuple[str, ...] = ("1cm", "10cm", "25cm", "three")

    def __post_init__(self) -> None:
        for text in self.bins:
            DepthBins.parse(text)


def with_relative_depth(poses: PoseBatch, depth: Float[Tensor, "batch frames joints"]) -> PoseBatch:
    """Return the poses with another depth of the joints relative to the root; the root keeps its own depth.

    Args:
        poses: with a depth channel, metres.
        depth: of each joint relative to the root, metres.
    """
    assert poses.depth is not None
    root = poses.skeleton.root
    return poses.replace(depth=poses.depth[..., root : root + 1] + (depth - depth[..., root : root + 1]))


def relative_depth_error_m(poses: PoseBatch) -> float:
    """Mean distance of the depth channel, before it is clipped, from ground truth."""
    assert poses.depth is not None
    root = poses.skeleton.root
    relative = poses.depth - poses.depth[..., root : root + 1]
    return float((relative - poses.root_relative[..., 2]).abs().mean())


class OrdinalDepth(Analysis):
    """See the module's docstring."""

    Options: ClassVar[type] = OrdinalDepthOptions

    def run(self, comparison: Comparison) -> Findings:
        """Evaluate every checkpoint with its own depth channel, with exact ground truth, and with each bin size."""
        for run in comparison.runs:
            if run.config.inputs != "xyd":
                raise AnalysisError(
                    f"{run.path}: its lifter sees inputs={run.config.inputs}, without a depth channel to replace; give "
                    "checkpoints of inputs=xyd"
                )
        ticks = ["as trained", *(f"truth\n{name}" for name in (EXACT, *self.options.bins))]
        rows, panels = error_of_variants(comparison, "depth", ticks, self._given)
        side_by_side = ("bins", "depth_error_m", "mean", "change_percent")
        notes = [
            "ORACLE: all rows but the first are given ground-truth depth relative to the pelvis",
            "bins: occupied in a frame, on average; depth_error_m: of the channel against the joints' own depth, which "
            "is not the surface's; change: of the mean, against the depth that the checkpoint was trained with",
            *comparison.protocols(),
        ]
        table = Table("ordinal_depth", "Coarse ordinal depth at test time", rows, side_by_side, notes)
        heading = "Depth channel replaced at test time by ground truth (an oracle), exact and in bins"
        figure = grouped_bars(panels, f"mean {comparison.quantity}", heading)
        truth = comparison.oracles("the depth channel itself, in all rows but the first")
        return Findings([table], truth, {"ordinal_depth": figure})

    def _given(self, run: TrainedRun, target: str) -> dict[str, tuple[PoseDataset, dict[str, Value]]]:
        """The target with each depth, the run's own first."""
        own = run.with_depth(run.target(target))
        truth = own.poses.joints_3d[..., 2]
        root = own.poses.skeleton.root
        trained = f"as trained: {run.config.depth['name']}"
        given: dict[str, tuple[PoseBatch, float | None]] = {
            trained: (own.poses, None),
            f"ground truth, {EXACT}": (with_relative_depth(own.poses, truth), None),
        }
        for text in self.options.bins:
            bins = DepthBins.parse(text)
            coarse = with_relative_depth(own.poses, bins.quantise(truth, root))
            given[f"ground truth, {text}"] = (coarse, float(bins.count(truth, root).float().mean()))
        return {
            name: (replace(own, poses=poses), {"bins": count, "depth_error_m": relative_depth_error_m(poses)})
            for name, (poses, count) in given.items()
        }
