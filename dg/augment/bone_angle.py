"""Bone angles (PoseAug's BA, METHODS 2.1): turn every bone but the torso's, keep all lengths."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dg.augment.trunk import NOISE, Trunk
from dg.pose.skeleton import Skeleton

# Kept as they are, so that the bones cannot turn together, which is the rigid transform's part.
FROZEN = ("spine", "thorax")


class BoneAngle(nn.Module):
    """New unit bones: normalise(u - residual).

    The residual is subtracted because the released network was trained on bones that point from child to parent; ours
    point from parent to child. Its weights thus give its own outputs here.
    """

    frozen: Tensor

    def __init__(self, skeleton: Skeleton) -> None:
        super().__init__()
        self.trunk = Trunk(3 * len(skeleton) + NOISE, 3 * len(skeleton.bones))
        frozen = torch.tensor([skeleton.joints[child] in FROZEN for _, child in skeleton.bones])
        self.register_buffer("frozen", frozen[:, None], persistent=False)

    def forward(
        self,
        pose: Float[Tensor, "batch coordinates"],
        noise: Float[Tensor, "batch noise"],
        units: Float[Tensor, "batch bones 3"],
    ) -> Float[Tensor, "batch bones 3"]:
        """Subtract a predicted residual from the unit bones and normalise them again.

        Args:
            pose: root-relative joints in the camera frame, flattened, metres.
            noise: 48 standard normal numbers a pose.
            units: unit bone vectors of the pose, from parent to child.

        Returns:
            The new unit bones; spine and thorax are returned as they came.
        """
        residual = self.trunk(pose, noise).view_as(units)
        return torch.where(self.frozen, units, nn.functional.normalize(units - residual, dim=-1))


class SameAngles(nn.Module):
    """Turns no bone: for a generator without bone angles."""

    def forward(
        self,
        pose: Float[Tensor, "batch coordinates"],
        noise: Float[Tensor, "batch noise"],
        units: Float[Tensor, "batch bones 3"],
    ) -> Float[Tensor, "batch bones 3"]:
        """Return the unit bones as they are; the other arguments are ignored."""
        return units


def angle_change(
    moved: Float[Tensor, "batch bones 3"], units: Float[Tensor, "batch bones 3"]
) -> Float[Tensor, "batch bones"]:
    """Measure by how much each bone has turned.

    Args:
        moved: unit bone vectors after the change.
        units: unit bone vectors before it.

    Returns:
        One minus the cosine of the angle between the two, in [0, 2]; zero for a bone that was not turned.
    """
    return 1 - (moved * units).sum(-1)
