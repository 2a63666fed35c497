"""Joints to bone vectors and back. A bone vector points from parent to child, metres."""

import torch
from jaxtyping import Float
from torch import Tensor

from dg.pose.skeleton import Skeleton


def bone_vectors(joints: Float[Tensor, "*batch joints 3"], skeleton: Skeleton) -> Float[Tensor, "*batch bones 3"]:
    """Child minus parent for every bone. PoseAug's code uses the opposite sign."""
    parents, children = zip(*skeleton.bones, strict=True)
    return joints[..., list(children), :] - joints[..., list(parents), :]


def joints_from_bones(bones: Float[Tensor, "*batch bones 3"], skeleton: Skeleton) -> Float[Tensor, "*batch joints 3"]:
    """Root-relative joints: each is the sum of the bones on its path to the root."""
    return skeleton.path_matrix().to(bones) @ bones


def bone_lengths(joints: Float[Tensor, "*batch joints 3"], skeleton: Skeleton) -> Float[Tensor, "*batch bones"]:
    return bone_vectors(joints, skeleton).norm(dim=-1)


def unit_bones(
    joints: Float[Tensor, "*batch joints 3"], skeleton: Skeleton
) -> tuple[Float[Tensor, "*batch bones 3"], Float[Tensor, "*batch bones"]]:
    """Unit bone vectors and lengths; a bone of zero length gets a zero vector, never NaN."""
    vectors = bone_vectors(joints, skeleton)
    lengths = vectors.norm(dim=-1)
    return vectors / lengths.clamp_min(torch.finfo(lengths.dtype).tiny)[..., None], lengths


def with_bone_lengths(
    joints: Float[Tensor, "*batch joints 3"], lengths: Float[Tensor, "*batch bones"], skeleton: Skeleton
) -> Float[Tensor, "*batch joints 3"]:
    """The same directions and root position with other bone lengths."""
    units, _ = unit_bones(joints, skeleton)
    root = joints[..., skeleton.root : skeleton.root + 1, :]
    return joints_from_bones(units * lengths[..., None], skeleton) + root
