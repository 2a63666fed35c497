"""Errors by how much of the person hides itself: quartiles of a geometric occlusion proxy.

AugLift, section 4.5; radii and rule are those of its released code (METHODS 4.8). A joint is occluded where another
one is at least 10 mm nearer to the camera and lies, in the image, within a radius. Code and documentation differ in
whose radius (`radius_of`) and in what it is scaled by (`scale`). Published with PoseFormer, 27 frames, on Fit3D
(medians): 64.5 to 61.9 mm in the first quartile, 79.6 to 72.1 mm in the last. Not reproduced here: Fit3D was not at
hand.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dg.analyse.base import Comparison
from dg.analyse.checkpoints import AnalysisError
from dg.analyse.stratified import StratifiedAnalysis
from dg.datasets.base import PoseDataset
from dg.pose.skeleton import Skeleton

# Pixels at a person whose box has a side of 300.
RADII_PX = {
    "pelvis": 28.0, "spine": 26.0, "thorax": 25.0, "neck": 20.0, "head": 22.0, "shoulder": 18.0, "elbow": 15.0,
    "wrist": 12.0, "hip": 22.0, "knee": 20.0, "ankle": 15.0,
}  # fmt: skip
PERSON_PX = 300.0
NEARER_M = 0.010
_CHUNK = 16_384  # frames at a time


@dataclass(frozen=True)
class OcclusionOptions:
    """radius_of: the disk around which joint counts, `occluded` (released code) or `occluder` (its documentation).
    scale: of the radii, `area` (square root of the box area; released code) or `height` (of the box; documentation).
    """

    radius_of: Literal["occluded", "occluder"] = "occluded"
    scale: Literal["area", "height"] = "area"


def joint_radii(skeleton: Skeleton) -> Float[Tensor, " joints"]:
    """Radii as a part of the person's box side. Raises AnalysisError for a joint that the proxy does not know."""
    parts = [joint.removeprefix("left_").removeprefix("right_") for joint in skeleton.joints]
    unknown = sorted(set(parts) - set(RADII_PX))
    if unknown:
        raise AnalysisError(
            f"the occlusion proxy knows no radius for {unknown} of skeleton {skeleton.name}; it knows {list(RADII_PX)}"
        )
    return torch.tensor([RADII_PX[part] for part in parts]) / PERSON_PX


def occluded_joints(
    joints_3d: Float[Tensor, "frames joints 3"],
    joints_2d: Float[Tensor, "frames joints 2"],
    skeleton: Skeleton,
    options: OcclusionOptions = OcclusionOptions(),
) -> Bool[Tensor, "frames joints"]:
    """Return which joints are hidden by another joint of the same person.

    Args:
        joints_3d: camera frame, metres; z forward.
        joints_2d: any unit, the same for both axes.
        skeleton: names of the joints, which set the radii.
        options: whose radius counts, and by what it is scaled.
    """
    low, high = joints_2d.amin(1), joints_2d.amax(1)
    side = (high - low).prod(-1).sqrt() if options.scale == "area" else (high - low)[:, 1]
    radius = side[:, None] * joint_radii(skeleton).to(joints_2d)
    distance = torch.cdist(joints_2d, joints_2d)  # [frames, occluded, occluder]
    reach = radius[:, :, None] if options.radius_of == "occluded" else radius[:, None, :]
    z = joints_3d[..., 2]
    nearer = z[:, :, None] - z[:, None, :] >= NEARER_M
    return (nearer & (distance <= reach)).any(-1)


class Occlusion(StratifiedAnalysis):
    """See the module's docstring."""

    Options: ClassVar[type] = OcclusionOptions
    names = ("Q1 clear", "Q2", "Q3", "Q4 most occluded")
    title = "Error by self-occlusion"
    score_name = "occluded_share"
    ground_truth = "quartiles from ground-truth 3D and its projection (an oracle)"

    def score(self, dataset: PoseDataset) -> Float[Tensor, " frames"]:
        """The share of a frame's joints that are occluded; its 2D is the projected ground truth."""
        parts = []
        for start in range(0, len(dataset), _CHUNK):
            poses = dataset.poses[start : start + _CHUNK]
            joints_2d = poses.camera.project(poses.joints_3d)[:, 0]
            hidden = occluded_joints(poses.joints_3d[:, 0], joints_2d, poses.skeleton, self.options)
            parts.append(hidden.float().mean(-1))
        return torch.cat(parts)

    def notes(self, comparison: Comparison) -> list[str]:
        """Name the joint and the box scale that set the radius of occlusion."""
        options = self.options
        return [
            f"radius of the {options.radius_of} joint, scaled by the box's {options.scale}; equal scores stay together"
        ]
