"""Bodies of other proportions in the same pose: bones of a group are longer or shorter alike on both sides."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from dg.pose.bones import bone_matrix, path_matrix
from dg.pose.devices import constant
from dg.pose.skeleton import Skeleton

_LIMBS = ("knee", "ankle", "elbow", "wrist")


@dataclass(frozen=True)
class ShapeRanges:
    """Factors of bone lengths. hips, shoulders: half the breadth of the trunk there. limbs: each of thigh, shin, upper
    arm and forearm.
    """

    hips: tuple[float, float] = (1.0, 1.7)
    shoulders: tuple[float, float] = (1.05, 1.65)
    limbs: tuple[float, float] = (0.92, 1.08)


def vary_shape(
    joints: Float[Tensor, "rows *frames joints 3"], skeleton: Skeleton, ranges: ShapeRanges, generator: torch.Generator
) -> Float[Tensor, "rows *frames joints 3"]:
    """Scale the bones of each pose; directions of bones and the root stay. The frames of a window are one body.

    Args:
        joints: metres, in any axes.
        skeleton: of Human3.6M.
        ranges: of the factors, drawn evenly.
        generator: on the joints' device.
    """
    groups = {"hip": ranges.hips, "shoulder": ranges.shoulders, **dict.fromkeys(_LIMBS, ranges.limbs)}
    scale = joints.new_ones(len(joints), len(skeleton.bones))
    for part, (low, high) in groups.items():
        drawn = torch.rand(len(joints), 1, generator=generator, device=joints.device)
        both = constant(tuple(skeleton.bone(f"{side}_{part}") for side in ("left", "right")), joints.device)
        scale[:, both] = low + (high - low) * drawn
    bones = bone_matrix(skeleton, joints.device, joints.dtype) @ joints
    root = joints[..., skeleton.root : skeleton.root + 1, :]
    path = path_matrix(skeleton, joints.device, joints.dtype)
    return root + path @ (scale.view(len(joints), *[1] * (joints.ndim - 3), -1, 1) * bones)
