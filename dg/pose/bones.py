"""Joints to bone vectors and back. A bone vector points from parent to child, metres."""

from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from dg.pose.devices import constant, pick
from dg.pose.skeleton import Skeleton


def bone_vectors(joints: Float[Tensor, "*batch joints 3"], skeleton: Skeleton) -> Float[Tensor, "*batch bones 3"]:
    """Subtract the parent joint from the child joint for every bone; PoseAug's code uses the opposite sign.

    Args:
        joints: joints in any frame, metres.
        skeleton: the skeleton of the joints.

    Returns:
        Bone vectors from parent to child, metres, in the skeleton's bone order.
    """
    parents, children = (constant(ends, joints.device) for ends in zip(*skeleton.bones, strict=True))
    return pick(joints, children, -2) - pick(joints, parents, -2)


def joints_from_bones(bones: Float[Tensor, "*batch bones 3"], skeleton: Skeleton) -> Float[Tensor, "*batch joints 3"]:
    """Sum the bones on each joint's path to the root.

    Args:
        bones: bone vectors from parent to child, metres, in the skeleton's bone order.
        skeleton: the skeleton of the bones.

    Returns:
        Root-relative joints, metres.
    """
    return path_matrix(skeleton, bones.device, bones.dtype) @ bones


def bone_lengths(joints: Float[Tensor, "*batch joints 3"], skeleton: Skeleton) -> Float[Tensor, "*batch bones"]:
    """Measure the length of every bone.

    Args:
        joints: joints in any frame, metres.
        skeleton: the skeleton of the joints.

    Returns:
        Lengths in metres, in the skeleton's bone order.
    """
    return bone_vectors(joints, skeleton).norm(dim=-1)


def unit_bones(
    joints: Float[Tensor, "*batch joints 3"], skeleton: Skeleton
) -> tuple[Float[Tensor, "*batch bones 3"], Float[Tensor, "*batch bones"]]:
    """Split bones into directions and lengths.

    Args:
        joints: joints in any frame, metres.
        skeleton: the skeleton of the joints.

    Returns:
        Unit bone vectors from parent to child, and lengths in metres. A bone of zero length gets a zero vector, never
        NaN.
    """
    vectors = bone_vectors(joints, skeleton)
    lengths = vectors.norm(dim=-1)
    return vectors / lengths.clamp_min(torch.finfo(lengths.dtype).tiny)[..., None], lengths


def with_bone_lengths(
    joints: Float[Tensor, "*batch joints 3"], lengths: Float[Tensor, "*batch bones"], skeleton: Skeleton
) -> Float[Tensor, "*batch joints 3"]:
    """Give poses other bone lengths; bone directions and root position are kept.

    Args:
        joints: absolute or root-relative joints, metres.
        lengths: the new lengths in metres, in the skeleton's bone order.
        skeleton: the skeleton of the joints.

    Returns:
        Joints with these bone lengths, metres, in the frame of `joints`.
    """
    units, _ = unit_bones(joints, skeleton)
    root = joints[..., skeleton.root : skeleton.root + 1, :]
    return joints_from_bones(units * lengths[..., None], skeleton) + root


@lru_cache(maxsize=64)
def path_matrix(skeleton: Skeleton, device: torch.device, dtype: torch.dtype) -> Float[Tensor, "joints bones"]:
    """Return the skeleton's path matrix, made once for each device: not to be written to."""
    return skeleton.path_matrix().to(device, dtype)


@lru_cache(maxsize=64)
def bone_matrix(skeleton: Skeleton, device: torch.device, dtype: torch.dtype) -> Float[Tensor, "bones joints"]:
    """Return the skeleton's bone matrix, made once for each device: not to be written to."""
    return skeleton.bone_matrix().to(device, dtype)
