"""PoseDA's generator of local pose augmentation: bone angles, then bone lengths, then a rotation (METHODS 3.2, 3.3).

Chai et al., "Global Adaptation meets Local Generalization" (PoseDA), ICCV 2023, sections 3.3 and 4.2: three residual
networks of 3 layers with LeakyReLU, each of which sees the pose that the one before made, and noise. No code of it is
public. Left open there, chosen here: 256 wide, 48 numbers of noise, batch norm (`layer` for layer norm); bone angles
and bone lengths act and are limited as in PoseAug (METHODS 2.1), torso frozen; the rotation turns about the root.
"""

from dataclasses import dataclass
from math import pi

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dg.augment.bone_angle import BoneAngle, angle_change
from dg.augment.bone_length import BoneLength
from dg.augment.trunk import NOISE, WIDTH
from dg.pose.bones import unit_bones
from dg.pose.rotation import rotation_from_axis_angle, rotation_from_turns
from dg.pose.skeleton import Skeleton

ROTATIONS = {"axis_angle": 3, "yaw_tilt": 2}
NORMS = {"batch": nn.BatchNorm1d, "layer": nn.LayerNorm}
# Half range of the tilt with rotation=yaw_tilt (METHODS 3.3).
TILT = pi / 6


class ResidualTrunk(nn.Module):
    """Three linear layers, 256 wide, norm and LeakyReLU(0.01) after the first two, a skip around the second."""

    def __init__(self, inputs: int, outputs: int, norm: str = "batch") -> None:
        super().__init__()
        self.first = nn.Linear(inputs, WIDTH)
        self.second = nn.Linear(WIDTH, WIDTH)
        self.last = nn.Linear(WIDTH, outputs)
        self.first_norm, self.second_norm = NORMS[norm](WIDTH), NORMS[norm](WIDTH)
        for linear in (self.first, self.second, self.last):
            nn.init.kaiming_normal_(linear.weight)

    def forward(self, *parts: Float[Tensor, "batch _"]) -> Float[Tensor, "batch outputs"]:
        """Concatenate the parts along their last axis and map them to the outputs."""
        first = nn.functional.leaky_relu(self.first_norm(self.first(torch.cat(parts, -1))), 0.01)
        return self.last(first + nn.functional.leaky_relu(self.second_norm(self.second(first)), 0.01))


@dataclass(frozen=True)
class LocalPoses:
    """Poses after each operation, all at the original's root (camera frame, metres), and how far they went.

    rotated has all three operations. angle_change: 1 - cosine. length_ratio: relative changes. rotation: matrices.
    """

    bone_angle: Float[Tensor, "batch joints 3"]
    bone_length: Float[Tensor, "batch joints 3"]
    rotated: Float[Tensor, "batch joints 3"]
    angle_change: Float[Tensor, "batch bones"]
    length_ratio: Float[Tensor, "batch ratios"]
    rotation: Float[Tensor, "batch 3 3"]


class SequentialGenerator(nn.Module):
    """Augments absolute camera-frame poses about their roots; see the module's docstring.

    rotation `axis_angle`: each component of the axis-angle vector within +-pi. `yaw_tilt`: within +-pi about the
    camera's vertical axis, then within +-30 degrees about its horizontal one.
    """

    path: Tensor

    def __init__(self, skeleton: Skeleton, rotation: str = "axis_angle", norm: str = "batch") -> None:
        super().__init__()
        for name, value, known in (("rotation", rotation, ROTATIONS), ("norm", norm, NORMS)):
            if value not in known:
                raise ValueError(f"{name} must be one of {list(known)}, got {value!r}")
        self.skeleton, self.rotation = skeleton, rotation
        pose, bones = 3 * len(skeleton), len(skeleton.bones)
        self.bone_angle, self.bone_length = BoneAngle(skeleton), BoneLength(skeleton)
        # PoseAug's operations, driven by PoseDA's networks.
        self.bone_angle.add_module("trunk", ResidualTrunk(pose + NOISE, 3 * bones, norm))
        ratios = int(self.bone_length.independent.max()) + 1
        self.bone_length.add_module("trunk", ResidualTrunk(pose + bones + NOISE, ratios, norm))
        self.rotation_trunk = ResidualTrunk(pose + NOISE, ROTATIONS[rotation], norm)
        self.register_buffer("path", skeleton.path_matrix(), persistent=False)

    def draw_noise(self, rows: int, generator: torch.Generator) -> Float[Tensor, "3 rows noise"]:
        """Draw standard normal noise for bone angle, bone length and rotation, in this order.

        Args:
            rows: number of poses.
            generator: the random generator; the noise is made on its device.

        Returns:
            One block of `[rows, 48]` for each of the three networks.
        """
        return torch.randn(3, rows, NOISE, generator=generator, device=generator.device)

    def forward(
        self,
        joints: Float[Tensor, "batch joints 3"],
        noise: Float[Tensor, "3 batch noise"],
        condition: Float[Tensor, "batch joints 3"] | None = None,
    ) -> LocalPoses:
        """Augment poses by bone angles, then bone lengths, then a rotation about their roots.

        Args:
            joints: absolute joints in the camera frame, metres.
            noise: one block of noise for each network, as `draw_noise` gives it.
            condition: poses that all three networks are given; their changes are applied to `joints` all the same.
                None: each network is given the pose that the one before made of `joints`.

        Returns:
            The poses after each operation, with the changes that were made.
        """
        root = joints[:, self.skeleton.root, None]
        centred = joints - root
        units, lengths = unit_bones(centred, self.skeleton)
        given = None if condition is None else (condition - condition[:, self.skeleton.root, None]).flatten(1)
        moved = self.bone_angle(centred.flatten(1) if given is None else given, noise[0], units)
        angled = self.path @ (moved * lengths[..., None])
        ratios = self.bone_length(angled.flatten(1) if given is None else given, noise[1], lengths)
        scaled = self.path @ (moved * self.bone_length.apply_ratios(lengths, ratios)[..., None])
        turn = self._turn(self.rotation_trunk(scaled.flatten(1) if given is None else given, noise[2]))
        return LocalPoses(
            bone_angle=angled + root,
            bone_length=scaled + root,
            rotated=scaled @ turn.mT + root,
            angle_change=angle_change(moved, units),
            length_ratio=ratios,
            rotation=turn,
        )

    def _turn(self, raw: Float[Tensor, "batch parameters"]) -> Float[Tensor, "batch 3 3"]:
        if self.rotation == "axis_angle":
            return rotation_from_axis_angle(pi * torch.tanh(raw))
        yaw, tilt = pi * torch.tanh(raw[:, 0]), TILT * torch.tanh(raw[:, 1])
        return rotation_from_turns(yaw, tilt, torch.zeros_like(yaw))
