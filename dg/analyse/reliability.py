"""Errors by how wrong the detected 2D is: quartiles of the mean distance to the ground truth's projection.

AugLift, section 4.5 (METHODS 4.8): joints that are off by more than 100 pixels are left out of a frame's mean. Needs
targets whose 2D was detected. Not compared with the paper: it gives no figure.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from dg.analyse.base import Comparison
from dg.analyse.checkpoints import AnalysisError
from dg.analyse.stratified import StratifiedAnalysis
from dg.datasets.base import PoseDataset
from dg.settings.config import Positive

LARGEST_PX = 100.0


@dataclass(frozen=True)
class ReliabilityOptions:
    """side_px: pixels of the image side by which 2D was divided, which poses do not carry: 1000 for Human3.6M, 2048 and
    1920 for MPI-INF-3DHP, 1920 for 3DPW divided by its longer side.
    """

    side_px: Positive = 1000.0


def detection_error_px(
    detected: Float[Tensor, "frames joints 2"], truth: Float[Tensor, "frames joints 2"], side_px: float
) -> Float[Tensor, " frames"]:
    """Return the mean 2D distance of a frame's joints, of those that are at most 100 pixels off.

    Args:
        detected: detected joints, normalised by a side of `side_px` pixels, which spans 2.
        truth: projected ground-truth joints, normalised alike.
        side_px: side of the image, pixels.

    Returns:
        Pixels; NaN where all joints are farther off.
    """
    distance = (detected - truth).norm(dim=-1) * (side_px / 2)
    return torch.where(distance <= LARGEST_PX, distance, torch.nan).nanmean(-1)


class Reliability(StratifiedAnalysis):
    """See the module's docstring."""

    Options: ClassVar[type] = ReliabilityOptions
    names = ("Q1 best 2D", "Q2", "Q3", "Q4 worst 2D")
    title = "Error by 2D reliability"
    score_name = "error_2d_px"
    ground_truth = "quartiles from the projected ground truth (an oracle)"

    def score(self, dataset: PoseDataset) -> Float[Tensor, " frames"]:
        """Return the mean 2D detection error of each frame in pixels; targets with ground-truth 2D are refused."""
        if dataset.source_2d == "gt":
            raise AnalysisError(
                f"target {dataset.name} has ground-truth 2D, which has no error; name a target with detected 2D, "
                "targets=[NAME:ARGUMENT]"
            )
        poses = dataset.poses
        truth = poses.camera.project(poses.joints_3d)[:, 0]
        return detection_error_px(poses.joints_2d[:, 0], truth, self.options.side_px)

    def notes(self, comparison: Comparison) -> list[str]:
        """State the image side in pixels and the distance beyond which a joint is ignored."""
        return [f"pixels of an image side of {self.options.side_px:g}; joints more than {LARGEST_PX:g} px off ignored"]
