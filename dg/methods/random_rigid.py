"""Random rigid augmentation: every source pose turned and moved at random inside the frame of its own camera.

No paper's method, but the baseline that a learned augmentation has to beat (DESIGN 5.1). Rotation about the root: yaw
about the camera's vertical axis, then pitch and roll. Place: root depth uniform in a range, root projection uniform in
the inner part of the frame. A pose that leaves the frame is drawn again, and after that kept as it is.
"""

from dataclasses import dataclass
from math import pi
from typing import ClassVar

import torch
from jaxtyping import Float
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

    def __init__(self, context: MethodContext, options: RandomRigidOptions) -> None:
        super().__init__(context)
        self.options = options

    @torch.no_grad()
    def propose(self, source: PoseBatch, key: StepKey) -> PoseBatch | None:
        if self.pretraining:
            return None
        if self.options.mixing == "batch":
            source = source[: len(source) // 2]
        generator = key.generator("random rigid", source.joints_3d.device)
        placed = source.joints_3d
        done = torch.zeros(len(source), dtype=torch.bool, device=placed.device)
        for _ in range(self.options.attempts):
            moved = move_at_random(source, self.options, generator)
            fits = source.camera.in_frame(moved).reshape(len(source), -1).all(-1) & ~done
            placed = torch.where(fits[:, None, None, None], moved, placed)
            done = done | fits
        proposed = source.with_joints(placed)
        # A source pose that was kept may itself leave the frame; it was good enough to train on, so it stays.
        return proposed.replace(valid=source.valid)

    def update(self, source: PoseBatch, proposed: PoseBatch | None, key: StepKey) -> Update:
        if proposed is None:
            return Update({"loss/lifter": self.step_lifter(source)}, 1)
        metrics = {"augment/valid_share": proposed.valid.float().mean()}
        if self.options.mixing == "batch":
            batch = mixed(proposed, source[len(proposed) :])
            return Update(metrics | {"loss/lifter": self.step_lifter(batch)}, 1)
        steps = 1
        if int(proposed.valid.sum()) > 1:
            metrics["loss/lifter_augmented"] = self.step_lifter(proposed)
            steps += 1
        metrics["loss/lifter"] = self.step_lifter(source)
        return Update(metrics, steps)


def move_at_random(
    source: PoseBatch, options: RandomRigidOptions, generator: torch.Generator
) -> Float[Tensor, "batch frames joints 3"]:
    """Each pose (all its frames alike) turned about its root and put elsewhere in front of its own camera."""
    joints, rows = source.joints_3d, len(source)
    draw = torch.rand(rows, 6, generator=generator, device=joints.device).to(joints)
    half = joints.new_tensor([options.yaw_deg, options.pitch_deg, options.roll_deg]) * (pi / 180)
    yaw, pitch, roll = ((2 * draw[:, :3] - 1) * half).unbind(-1)
    zero = torch.zeros_like(yaw)
    turn = (
        rotation_from_axis_angle(torch.stack([zero, zero, roll], -1))
        @ rotation_from_axis_angle(torch.stack([pitch, zero, zero], -1))
        @ rotation_from_axis_angle(torch.stack([zero, yaw, zero], -1))
    )
    nearest, farthest = options.depth_m
    z = nearest + (farthest - nearest) * draw[:, 3:4]
    root_2d = (2 * draw[:, 4:] - 1) * options.spread * source.camera.extent
    place = torch.cat([source.camera.unproject(root_2d) * z, z], -1)
    middle = joints.shape[1] // 2
    root = joints[:, middle, source.skeleton.root]
    return (joints - root[:, None, None]) @ turn[:, None].mT + place[:, None, None]
