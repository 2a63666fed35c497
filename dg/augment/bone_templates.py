"""Bone-length templates (METHODS 2.2): each pose gets the bone lengths of one of the training subjects.

The released code of PoseAug does this to its source before every pass; the paper does not mention it. The table holds
Human3.6M's five training subjects, measured between the joints of the 16-joint skeleton.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from dg.pose.bones import bone_lengths, with_bone_lengths
from dg.pose.skeleton import H36M_16, Skeleton

# Rows S1, S5, S6, S7, S8; columns the bones of H36M_16, metres.
H36M_BONE_LENGTHS = torch.tensor([
    [.132948, .442895, .454206, .132949, .442895, .454207, .233473, .257078, .181882, .151034, .278883, .251733,
     .151032, .278893, .251729],
    [.119313, .428286, .442444, .119313, .428286, .442444, .224318, .254055, .166181, .143096, .264585, .24862,
     .143098, .264584, .248621],
    [.142614, .486571, .461493, .142612, .486564, .461494, .262211, .260009, .192472, .149375, .301008, .257915,
     .149374, .301008, .257915],
    [.135879, .448615, .43801, .135879, .448615, .438008, .226246, .255408, .168726, .139718, .275564, .247299,
     .139714, .275572, .247298],
    [.146537, .452147, .438633, .146537, .452146, .438634, .261216, .251024, .212796, .169316, .289908, .244177,
     .169316, .289907, .244178],
])  # fmt: skip


KINDS = ("source", "medoid", "h36m", "off")


class BoneTemplates:
    """Draws one template for each pose, uniformly.

    kind: `h36m`, the table above; `source`, the median of each bone of each of the run's own training subjects, which
    nobody need have where a subject's poses are several people's; `medoid`, the bone lengths of one pose of each, the
    nearest to all others, sides averaged; `off`.
    """

    def __init__(self, kind: str, skeleton: Skeleton, source_lengths: Float[Tensor, "subjects bones"]) -> None:
        if kind not in KINDS:
            raise ValueError(f"templates must be one of {list(KINDS)}, got {kind!r}")
        self.kind = kind
        self.skeleton = skeleton
        self.lengths = H36M_BONE_LENGTHS if kind == "h36m" else source_lengths

    def apply(
        self, joints: Float[Tensor, "batch joints 3"], generator: torch.Generator
    ) -> Float[Tensor, "batch joints 3"]:
        """Give poses the bone lengths of templates that are drawn at random.

        Args:
            joints: absolute or root-relative joints, metres.
            generator: the random generator of the templates.

        Returns:
            The poses with other bone lengths; directions and roots are kept.
        """
        if self.kind == "off":
            return joints
        self.lengths = self.lengths.to(joints)
        rows = torch.randint(len(self.lengths), (len(joints),), generator=generator, device=generator.device)
        if self.kind == "h36m":
            return with_h36m_lengths(joints, self.lengths[rows], self.skeleton)
        return with_bone_lengths(joints, self.lengths[rows], self.skeleton)


def with_h36m_lengths(
    joints: Float[Tensor, "batch joints 3"], lengths: Float[Tensor, "batch 15"], skeleton: Skeleton
) -> Float[Tensor, "batch joints 3"]:
    """Give poses bone lengths that are stated for H36M_16.

    Where the skeleton has joints in between (the neck, on 17 joints) their bones share one factor, so that thorax and
    head end up at the template's distance.

    Args:
        joints: absolute or root-relative joints, metres.
        lengths: bone lengths in H36M_16's bone order, metres.
        skeleton: the skeleton of the joints; it must have all joints of H36M_16.

    Returns:
        The poses with these bone lengths; directions and roots are kept.

    Raises:
        KeyError: when the skeleton lacks a joint.
    """
    own = [skeleton.index(joint) for joint in H36M_16.joints]
    spans = bone_lengths(joints[:, own], H36M_16).clamp_min(1e-8)
    factors = (lengths / spans)[:, _owners(skeleton)]
    return with_bone_lengths(joints, bone_lengths(joints, skeleton) * factors, skeleton)


def _owners(skeleton: Skeleton) -> list[int]:
    """For each bone of the skeleton, the bone of H36M_16 that it is, or is a part of."""
    child_of = dict(skeleton.bones)
    owners = []
    for _, end in skeleton.bones:
        while skeleton.joints[end] not in H36M_16.joints:
            end = child_of[end]
        owners.append(H36M_16.bone(skeleton.joints[end]))
    return owners
