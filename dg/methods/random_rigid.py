"""Random rigid augmentation: every source pose turned and moved at random inside the frame of its own camera.

No paper's method, but the baseline that a learned augmentation has to beat (DESIGN 5.1). Rotation about the root: yaw
about the camera's vertical axis, then pitch and roll. Place: root depth uniform in a range, root projection uniform in
the inner part of the frame. A pose that leaves the frame is drawn again, and after that kept as it is.

With windows of several frames a whole clip makes one move, so that its motion stays coherent: it turns about its mean
root, which goes to the drawn place. A clip fits only if all its frames do.
"""

from dataclasses import dataclass
from math import pi
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dg.methods.base import DGMethod, MethodContext, StepKey, Update
from dg.methods.mixing import check_mixing, mixed
from dg.pose.batch import PoseBatch
from dg.pose.rotation import rotation_from_axis_angle


@dataclass(frozen=True)
class RandomRigidOptions:
    """yaw_deg, pitch_deg, roll_deg: half ranges of the uniform angles. depth_m: range of the root's depth. spread: the
    part of the frame's half width and half height in which the root's projection lies. attempts: draws a pose gets.
    mixing: see `dg.methods.mixing`.
    """

    yaw_deg: float = 180.0
    pitch_deg: float = 30.0
    roll_deg: float = 15.0
    depth_m: tuple[float, ...] = (2.0, 8.0)
    spread: float = 0.7
    attempts: int = 4
    mixing: str = "batch"

    def __post_init__(self) -> None:
        if len(self.depth_m) != 2 or not 0 < self.depth_m[0] <= self.depth_m[1]:
            raise ValueError(f"depth_m must be two positive numbers, nearest first, got {list(self.depth_m)}")
        if min(self.yaw_deg, self.pitch_deg, self.roll_deg) < 0 or not 0 <= self.spread <= 1:
            raise ValueError("angles must not be negative and spread must lie in [0, 1]")
        if self.attempts < 1:
            raise ValueError("attempts must be at least 1")
        check_mixing(self.mixing)


class RandomRigid(DGMethod):
    """See the module's docstring."""

    Options: ClassVar[type] = RandomRigidOptions
    takes_windows: ClassVar[bool] = True

    def __init__(self, context: MethodContext, options: RandomRigidOptions) -> None:
        super().__init__(context)
        self.options = options

    @torch.no_grad()
    def propose(self, source: PoseBatch, key: StepKey) -> PoseBatch | None:
        if self.pretraining:
            return None
        if self.options.mixing == "batch":
            source = source[: len(source) // 2]
        each = torch.arange(len(source), device=source.joints_3d.device)
        return self._moved(source, each, key.generator("random rigid", source.joints_3d.device))

    @torch.no_grad()
    def propose_pass(self, source: PoseBatch, clip: Int[Tensor, " rows"], key: StepKey) -> PoseBatch | None:
        groups = clip.unique_consecutive(return_inverse=True)[1]
        return self._moved(source, groups, key.generator("random rigid clips", source.joints_3d.device))

    def _moved(self, source: PoseBatch, group: Int[Tensor, " batch"], generator: torch.Generator) -> PoseBatch:
        """The poses, those of a group (numbered from zero, rows in order) moved as one."""
        root = source.joints_3d[:, source.joints_3d.shape[1] // 2, source.skeleton.root]
        sizes = group.bincount()
        centre = root.new_zeros(len(sizes), 3).index_add(0, group, root) / sizes[:, None]
        placed = source.joints_3d
        done = torch.zeros(len(sizes), dtype=torch.bool, device=placed.device)
        for _ in range(self.options.attempts):
            draw = torch.rand(len(sizes), 6, generator=generator, device=placed.device).to(placed)
            moved = move(source, self.options, draw[group], centre[group])
            outside = ~source.camera.in_frame(moved).reshape(len(source), -1).all(-1)
            fits = (root.new_zeros(len(sizes)).index_add(0, group, outside.to(root)) == 0) & ~done
            placed = torch.where(fits[group][:, None, None, None], moved, placed)
            done = done | fits
        proposed = source.with_joints(placed)
        # A source pose that was kept may itself leave the frame; it was good enough to train on, so it stays.
        return proposed.replace(valid=source.valid)

    def update(self, source: PoseBatch, proposed: PoseBatch | None, key: StepKey) -> Update:
        if proposed is None:
            return Update({"loss/lifter": self.step_lifter(source)}, 1)
        metrics = {"augment/valid_share": proposed.valid.float().mean()}
        if self.options.mixing == "batch":
            half = len(source) // 2
            batch = mixed(proposed[:half], source[half:])
            return Update(metrics | {"loss/lifter": self.step_lifter(batch)}, 1)
        steps = 1
        if int(proposed.valid.sum()) > 1:
            metrics["loss/lifter_augmented"] = self.step_lifter(proposed)
            steps += 1
        metrics["loss/lifter"] = self.step_lifter(source)
        return Update(metrics, steps)


def move(
    source: PoseBatch,
    options: RandomRigidOptions,
    draw: Float[Tensor, "batch 6"],
    centre: Float[Tensor, "batch 3"],
) -> Float[Tensor, "batch frames joints 3"]:
    """Each pose (all its frames alike) turned about a centre, which goes elsewhere in front of the pose's own camera.

    draw: uniform in [0, 1]: yaw, pitch, roll, depth, and the place in the frame. centre: camera frame, metres.
    """
    half = draw.new_tensor([options.yaw_deg, options.pitch_deg, options.roll_deg]) * (pi / 180)
    yaw, pitch, roll = ((2 * draw[:, :3] - 1) * half).unbind(-1)
    zero = torch.zeros_like(yaw)
    turn = (
        rotation_from_axis_angle(torch.stack([zero, zero, roll], -1))
        @ rotation_from_axis_angle(torch.stack([pitch, zero, zero], -1))
        @ rotation_from_axis_angle(torch.stack([zero, yaw, zero], -1))
    )
    nearest, farthest = options.depth_m
    z = nearest + (farthest - nearest) * draw[:, 3:4]
    centre_2d = (2 * draw[:, 4:] - 1) * options.spread * source.camera.extent
    place = torch.cat([source.camera.unproject(centre_2d) * z, z], -1)
    return (source.joints_3d - centre[:, None, None]) @ turn[:, None].mT + place[:, None, None]
