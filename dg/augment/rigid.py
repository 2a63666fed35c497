"""Rigid transform (PoseAug's RT, METHODS 2.1): one rotation about the root and a place for the root."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dg.augment.trunk import NOISE, Trunk
from dg.pose.skeleton import Skeleton

TRANSLATIONS = ("released", "residual")
# The released code's constant.
PI = 3.1415


class RigidTransform(nn.Module):
    """Axis-angle rotation, each component within +-pi, and the root's position in the camera frame, metres, z >= 0.

    translation `released`: the network's output with z squared, so that a place inside the frame has to be learned
    first. `residual` (ours): the output is added to the pose's own root, z folded to be non-negative.
    """

    def __init__(self, skeleton: Skeleton, translation: str = "released") -> None:
        super().__init__()
        if translation not in TRANSLATIONS:
            raise ValueError(f"translation must be one of {list(TRANSLATIONS)}, got {translation!r}")
        self.translation = translation
        self.rotation_trunk = Trunk(3 * len(skeleton) + NOISE, 3)
        self.translation_trunk = Trunk(3 * len(skeleton) + NOISE, 3)

    def forward(
        self,
        pose: Float[Tensor, "batch coordinates"],
        rotation_noise: Float[Tensor, "batch noise"],
        translation_noise: Float[Tensor, "batch noise"],
        root: Float[Tensor, "batch 3"],
    ) -> tuple[Float[Tensor, "batch 3"], Float[Tensor, "batch 3"]]:
        rotation = PI * torch.tanh(self.rotation_trunk(pose, rotation_noise))
        return rotation, self.place(self.translation_trunk(pose, translation_noise), root)

    def place(self, raw: Float[Tensor, "batch 3"], root: Float[Tensor, "batch 3"]) -> Float[Tensor, "batch 3"]:
        """The new root from the translation network's output, in front of the camera, metres."""
        if self.translation == "residual":
            place = root + raw
            return torch.cat([place[:, :2], place[:, 2:].abs()], -1)
        return torch.cat([raw[:, :2], raw[:, 2:].square()], -1)
