"""Random changes of a pose in the place of learned ones: PoseDA's Table 6 (Chai et al., ICCV 2023)."""

from collections.abc import Collection
from math import pi

import torch
from jaxtyping import Float
from torch import Tensor

from dg.augment.bone_length import LIMIT, shared_lengths
from dg.augment.sequential_generator import LocalPoses
from dg.pose.bones import path_matrix, unit_bones
from dg.pose.devices import constant
from dg.pose.rotation import rotation_from_turns
from dg.pose.skeleton import Skeleton

RANDOM = ("rotation", "length")


def changed_at_random(
    joints: Float[Tensor, "batch joints 3"], skeleton: Skeleton, changes: Collection[str], random: torch.Generator
) -> LocalPoses:
    """Scale the bones of poses at random, up to 20 % and alike on both sides, and turn them about the vertical.

    Args:
        joints: poses in the camera frame, metres.
        skeleton: of the poses.
        changes: those of `RANDOM` that are made.
        random: the random generator, on the device of the poses.

    Returns:
        The poses, at their roots' places.
    """
    independent, learned = shared_lengths(skeleton)
    root = joints[:, skeleton.root, None]
    units, lengths = unit_bones(joints - root, skeleton)
    draw = 2 * torch.rand(len(joints), len(learned) + 1, generator=random, device=joints.device) - 1
    ratios = LIMIT * draw[:, 1:] * constant(tuple(learned.tolist()), draw.device, draw.dtype) * ("length" in changes)
    path = path_matrix(skeleton, joints.device, joints.dtype)
    scaled = path @ (units * (lengths * (1 + ratios[:, constant(tuple(independent.tolist()), draw.device)]))[..., None])
    yaw = pi * draw[:, 0] * ("rotation" in changes)
    turn = rotation_from_turns(yaw, torch.zeros_like(yaw), torch.zeros_like(yaw))
    return LocalPoses(
        bone_angle=joints,
        bone_length=scaled + root,
        rotated=scaled @ turn.mT + root,
        angle_change=torch.zeros_like(lengths),
        length_ratio=ratios,
        rotation=turn,
    )
