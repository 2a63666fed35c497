"""PoseAug's generator: bone angles, bone lengths and a rigid transform, learned (METHODS 2.1).

Gong et al., "PoseAug: A differentiable pose augmentation framework for 3D human pose estimation", CVPR 2021, as in
the released code: all four networks see the original pose, unit bones are renormalised, the torso is frozen. With the
released weights it gives the released outputs to 1e-5. 1,181,500 parameters at 16 joints.
"""

from collections.abc import Collection
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dg.augment.bone_angle import BoneAngle, SameAngles, angle_change
from dg.augment.bone_length import BoneLength, SameLengths
from dg.augment.rigid import NoTransform, RigidTransform
from dg.augment.trunk import NOISE
from dg.pose.bones import unit_bones
from dg.pose.rotation import rotation_from_axis_angle
from dg.pose.skeleton import Skeleton


@dataclass(frozen=True)
class AugmentedPoses:
    """Poses after each operation (camera frame, metres) and how far they went.

    bone_angle and bone_length stand where the original stands; rigid has all three operations. angle_change:
    1 - cosine. length_ratio: relative changes. rotation: axis-angle, radians; translation: the new root, metres.
    """

    bone_angle: Float[Tensor, "batch joints 3"]
    bone_length: Float[Tensor, "batch joints 3"]
    rigid: Float[Tensor, "batch joints 3"]
    angle_change: Float[Tensor, "batch bones"]
    length_ratio: Float[Tensor, "batch ratios"]
    rotation: Float[Tensor, "batch 3"]
    translation: Float[Tensor, "batch 3"]


class PoseGenerator(nn.Module):
    """Augments absolute camera-frame poses; see the module's docstring."""

    path: Tensor

    def __init__(self, skeleton: Skeleton, translation: str = "released", rotation: str = "axis_angle") -> None:
        super().__init__()
        self.skeleton = skeleton
        self.bone_angle: nn.Module = BoneAngle(skeleton)
        self.bone_length: BoneLength | SameLengths = BoneLength(skeleton)
        self.rigid: nn.Module = RigidTransform(skeleton, translation, rotation)
        self.register_buffer("path", skeleton.path_matrix(), persistent=False)

    def keep_only(self, operations: Collection[str]) -> None:
        """Make the other operations leave every pose as it is, without a network.

        Args:
            operations: of `ba`, `bl` and `rt`.
        """
        if "ba" not in operations:
            self.bone_angle = SameAngles()
        if "bl" not in operations:
            self.bone_length = SameLengths(self.bone_length.count)
        if "rt" not in operations:
            self.rigid = NoTransform()

    def draw_noise(self, rows: int, generator: torch.Generator) -> Float[Tensor, "4 rows noise"]:
        """Draw standard normal noise for bone angle, bone length, rotation and translation, in this order.

        Args:
            rows: number of poses.
            generator: the random generator; the noise is made on its device.

        Returns:
            One block of `[rows, 48]` for each of the four networks.
        """
        return torch.randn(4, rows, NOISE, generator=generator, device=generator.device)

    def forward(self, joints: Float[Tensor, "batch joints 3"], noise: Float[Tensor, "4 batch noise"]) -> AugmentedPoses:
        """Augment poses by bone angles, then bone lengths, then the rigid transform.

        Args:
            joints: absolute joints in the camera frame, metres.
            noise: one block of noise for each network, as `draw_noise` gives it.

        Returns:
            The poses after each operation, with the changes that were made.
        """
        root = joints[:, self.skeleton.root]
        centred = joints - root[:, None]
        pose = centred.flatten(1)
        units, lengths = unit_bones(centred, self.skeleton)
        moved = self.bone_angle(pose, noise[0], units)
        ratios = self.bone_length(pose, noise[1], lengths)
        rotation, translation = self.rigid(pose, noise[2], noise[3], root)
        angled = self.path @ (moved * lengths[..., None])
        scaled = self.path @ (moved * self.bone_length.apply_ratios(lengths, ratios)[..., None])
        turned = scaled
        if not isinstance(self.rigid, NoTransform):
            turned = scaled @ rotation_from_axis_angle(rotation).mT
        return AugmentedPoses(
            bone_angle=angled + root[:, None],
            bone_length=scaled + root[:, None],
            rigid=turned + translation[:, None],
            angle_change=angle_change(moved, units),
            length_ratio=ratios,
            rotation=rotation,
            translation=translation,
        )
