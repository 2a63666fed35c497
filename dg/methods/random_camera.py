"""Random cameras: every source pose seen by a camera of its own, in 2D as a detector would have found it.

No paper's method; what a lifter for photographs needs that a benchmark does not. Focal length, distance, height and
direction of the camera are drawn (`dg.augment.virtual_views`), the breadth of the trunk and the limbs' lengths vary
(`dg.augment.body_shape`: performers of one data set are alike, and where markers lie is its own choice), and the 2D has
a detector's errors (`dg.augment.detector_errors`). Inputs with detections of their own (`xyc`, `uadd`) keep those.

A window of several frames is seen by one camera, and is one body and one detector's person.

With `dscale2d=box` the lifter sees neither focal length nor distance but by the perspective in the pose.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch

from dg.augment.body_shape import ShapeRanges, vary_shape
from dg.augment.detector_errors import DetectorErrors
from dg.augment.virtual_views import DRAWS, CameraRanges, CameraVerticals, place_views, square_camera
from dg.methods.base import DGMethod, MethodContext, StepKey, Update
from dg.methods.mixing import mixed
from dg.pose.batch import PoseBatch


@dataclass(frozen=True)
class RandomCameraOptions(CameraRanges, ShapeRanges, DetectorErrors):
    """Those of the three ranges, and: source: share of a batch that stays as the source has it."""

    source: float = 0.0
    fill: tuple[float, float] = (0.3, 0.95)

    def __post_init__(self) -> None:
        if not 0 <= self.source < 1:
            raise ValueError(f"source must be in [0, 1), got {self.source!r}")
        for name in ("focal", "fill", "height_m", "distance_m", "hips", "shoulders", "limbs", "widths"):
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise ValueError(f"{name} must be two positive numbers, the smaller first, got {[low, high]}")


class RandomCamera(DGMethod):
    """See the module's docstring."""

    Options: ClassVar[type] = RandomCameraOptions
    takes_windows: ClassVar[bool] = True
    takes_answers: ClassVar[bool] = True

    def __init__(self, context: MethodContext, options: RandomCameraOptions) -> None:
        super().__init__(context)
        self.options = options
        self.vertical = CameraVerticals(context.source.poses)

    @torch.no_grad()
    def propose(self, source: PoseBatch, key: StepKey) -> PoseBatch | None:
        """See the batch, less the part that stays as it is, by random cameras."""
        if self.pretraining:
            return None
        source = source[: len(source) - int(self.options.source * len(source))]
        random = key.generator("random camera", source.joints_3d.device)
        frames, root = source.joints_3d.shape[1], source.skeleton.root
        joints = source.joints_3d - source.joints_3d[:, frames // 2, root, None, None]
        joints = vary_shape(joints, source.skeleton, self.options, random)
        draw = torch.rand(len(source), DRAWS, generator=random, device=joints.device)
        focal, placed = place_views(joints.flatten(1, 2), self.vertical(source), draw, self.options)
        return source.replace(camera=square_camera(focal)).with_joints(placed.view_as(joints)).augmented()

    def update(self, source: PoseBatch, proposed: PoseBatch | None, key: StepKey) -> Update:
        """Make one lifter step on the seen poses, with the part of the source that stays."""
        if proposed is None or len(proposed.only_usable()) < 2:
            return Update({"loss/lifter": self.step_lifter(source)}, 1)
        metrics = {"augment/valid_share": proposed.valid.float().mean()}
        rest = source[len(proposed) :]
        if proposed.detection_error is None:
            random = key.generator("detector", proposed.joints_2d.device)
            true = proposed.joints_2d
            found = self.options.detected(true.flatten(0, 1), proposed.skeleton, random, true.shape[1])
            proposed = proposed.replace(detection_error=found.view_as(true) - true).knowing_as(proposed)
            rest = rest.replace(detection_error=torch.zeros_like(rest.joints_2d)).knowing_as(rest)
        batch = mixed(proposed, rest) if len(rest) else proposed
        return Update(metrics | {"loss/lifter": self.step_lifter(batch)}, 1)
