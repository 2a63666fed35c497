"""Bone lengths (PoseAug's BL, METHODS 2.1): scale each bone by up to 20 %, left and right alike."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from dg.augment.trunk import NOISE, Trunk
from dg.pose.devices import pick
from dg.pose.skeleton import Skeleton

LIMIT = 0.2
_SATURATED = 0.95
# The upper torso keeps its length: it fixes the scale, so that tall and far is told from small and near.
FROZEN = "thorax"


class BoneLength(nn.Module):
    """Relative changes of the independent bone lengths, in [-0.2, 0.2].

    One number stands for a bone and its mirror image: 9 for 16 joints, 10 for 17 (the neck has its own).
    """

    learned: Tensor
    independent: Tensor

    def __init__(self, skeleton: Skeleton) -> None:
        super().__init__()
        independent, learned = shared_lengths(skeleton)
        self.count = len(learned)
        self.trunk = Trunk(3 * len(skeleton) + len(skeleton.bones) + NOISE, self.count)
        self.register_buffer("learned", learned, persistent=False)
        self.register_buffer("independent", independent, persistent=False)

    def forward(
        self,
        pose: Float[Tensor, "batch coordinates"],
        noise: Float[Tensor, "batch noise"],
        lengths: Float[Tensor, "batch bones"],
    ) -> Float[Tensor, "batch ratios"]:
        """Predict the relative change of each independent bone length.

        Args:
            pose: root-relative joints in the camera frame, flattened, metres.
            noise: 48 standard normal numbers a pose.
            lengths: bone lengths of the pose, metres.

        Returns:
            Relative changes in [-0.2, 0.2], one for each bone and its mirror image; zero for the thorax.
        """
        return LIMIT * torch.tanh(self.trunk(pose, lengths, noise) * self.learned)

    def apply_ratios(
        self, lengths: Float[Tensor, "batch bones"], ratios: Float[Tensor, "batch ratios"]
    ) -> Float[Tensor, "batch bones"]:
        """Scale the bones by their relative changes.

        Args:
            lengths: bone lengths, metres.
            ratios: relative changes as `forward` gives them.

        Returns:
            The new lengths in metres: each is multiplied by one plus the ratio that it shares with its mirror image.
        """
        return lengths * (1 + pick(ratios, self.independent, -1))


def shared_lengths(skeleton: Skeleton) -> tuple[Int[Tensor, " bones"], Float[Tensor, " ratios"]]:
    """Tell which bones share a length: each and its mirror image.

    Args:
        skeleton: of the bones.

    Returns:
        The number of each bone's length, and for each length one where it may change and zero for the thorax's.
    """
    bones = range(len(skeleton.bones))
    owners = [min(bone, skeleton.bone_flip[bone]) for bone in bones]
    distinct = sorted(set(owners))
    learned = torch.ones(len(distinct))
    learned[distinct.index(skeleton.bone(FROZEN))] = 0.0
    return torch.tensor([distinct.index(owner) for owner in owners]), learned


class SameLengths(nn.Module):
    """Scales no bone: for a generator without bone lengths.

    Args:
        count: of the independent lengths.
    """

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def forward(
        self,
        pose: Float[Tensor, "batch coordinates"],
        noise: Float[Tensor, "batch noise"],
        lengths: Float[Tensor, "batch bones"],
    ) -> Float[Tensor, "batch ratios"]:
        """Return zero for each independent length; the other arguments are ignored."""
        return lengths.new_zeros(len(lengths), self.count)

    def apply_ratios(
        self, lengths: Float[Tensor, "batch bones"], ratios: Float[Tensor, "batch ratios"]
    ) -> Float[Tensor, "batch bones"]:
        """Return the lengths as they are."""
        return lengths


def at_limit(ratios: Float[Tensor, "batch ratios"]) -> Float[Tensor, ""]:
    """Return the share of the relative changes that are at the limit of 0.2, where tanh passes hardly any gradient."""
    return (ratios.abs() > _SATURATED * LIMIT).float().mean()
