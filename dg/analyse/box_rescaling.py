"""Errors with every 2D pose rescaled to the mean box size of the training set, and without.

AugLift's scale normalisation where the input has no metric depth (METHODS 4.3). Table 8 shows its effect at inference
time, on 3DPW with detected 2D: SimpleBaseline 164.5 to 147.4 mm, PoseFormer 126.7 to 131.8 mm. Not reproduced here:
3DPW was not at hand. Meant for lifters that see 2D as it is (`dscale2d=off`); the others normalise scale already.
"""

from dataclasses import replace

from dg.analyse.base import Analysis, Comparison, Findings, Table, Value
from dg.analyse.checkpoints import AnalysisError, TrainedRun
from dg.analyse.figures import grouped_bars
from dg.analyse.stratified import error_of_variants
from dg.datasets.base import PoseDataset
from dg.pose.boxes import box_size, rescale_boxes

OFF, ON = "as they are", "rescaled"


class BoxRescaling(Analysis):
    """See the module's docstring."""

    def run(self, comparison: Comparison) -> Findings:
        """Evaluate every checkpoint with 2D boxes as they are and rescaled to the mean box of its training set."""
        for run in comparison.runs:
            if run.config.dscale2d_resolved != "off":
                raise AnalysisError(
                    f"{run.path}: its input is normalised in scale already (dscale2d={run.config.dscale2d_resolved}); "
                    "give checkpoints of dscale2d=off"
                )
        sizes = {run.label: float(box_size(run.source("train").poses.joints_2d).mean()) for run in comparison.runs}

        def variants(run: TrainedRun, target: str) -> dict[str, tuple[PoseDataset, dict[str, Value]]]:
            dataset = run.with_depth(run.target(target))
            poses = dataset.poses
            given = {OFF: poses.joints_2d, ON: rescale_boxes(poses.joints_2d, sizes[run.label])}
            return {
                name: (replace(dataset, poses=poses.replace(joints_2d=seen)), {"box": float(box_size(seen).mean())})
                for name, seen in given.items()
            }

        rows, panels = error_of_variants(comparison, "boxes", [f"boxes {OFF}", f"boxes {ON}"], variants)
        notes = [
            *(f"{label}: mean box of its training poses {size:.3f}" for label, size in sizes.items()),
            "box: mean of a pose's width and height, the frame's width being 2; trained without rescaling",
            *comparison.protocols(),
        ]
        table = Table("boxes", "Box rescaling at test time", rows, ("box", "mean", "median", "change_percent"), notes)
        figure = grouped_bars(
            panels, f"mean {comparison.quantity}", "2D boxes rescaled to the training set's mean at test time"
        )
        return Findings([table], comparison.oracles(""), {"boxes": figure})
