"""Rigid transform (PoseAug's RT, METHODS 2.1): one rotation about the root and a place for the root."""

from math import radians

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dg.augment.trunk import NOISE, Trunk
from dg.pose.devices import constant
from dg.pose.rotation import axis_angle_from_quaternion, multiply_quaternions
from dg.pose.skeleton import Skeleton

TRANSLATIONS = ("released", "residual")
# Outputs of the rotation network for each head.
ROTATIONS = {"axis_angle": 3, "quaternion": 4, "bounded": 4}
# The released code's constant.
PI = 3.1415
# Of the bounded head: about the camera's horizontal axis and along its line of sight.
PITCH, ROLL = radians(30.0), radians(15.0)
SATURATED = 0.95


class RigidTransform(nn.Module):
    """Rotation as axis times angle, and the root's position in the camera frame, metres, z >= 0.

    rotation `axis_angle` (released): each component pi tanh(output); where the output is large there is no gradient,
    and the components stay at +-pi. `quaternion` (ours): the normalised sum of the identity and the output; its scale
    is free, so that it cannot saturate. `bounded` (ours): any yaw, as the direction of two outputs, then pitch and
    roll within 30 and 15 degrees.

    translation `released`: the network's output with z squared, so that a place inside the frame has to be learned
    first. `residual` (ours): the output is added to the pose's own root, z folded to be non-negative.
    """

    def __init__(self, skeleton: Skeleton, translation: str = "released", rotation: str = "axis_angle") -> None:
        super().__init__()
        if translation not in TRANSLATIONS:
            raise ValueError(f"translation must be one of {list(TRANSLATIONS)}, got {translation!r}")
        if rotation not in ROTATIONS:
            raise ValueError(f"rotation must be one of {list(ROTATIONS)}, got {rotation!r}")
        self.translation, self.rotation = translation, rotation
        self.rotation_trunk = Trunk(3 * len(skeleton) + NOISE, ROTATIONS[rotation])
        self.translation_trunk = Trunk(3 * len(skeleton) + NOISE, 3)

    def forward(
        self,
        pose: Float[Tensor, "batch coordinates"],
        rotation_noise: Float[Tensor, "batch noise"],
        translation_noise: Float[Tensor, "batch noise"],
        root: Float[Tensor, "batch 3"],
    ) -> tuple[Float[Tensor, "batch 3"], Float[Tensor, "batch 3"]]:
        """Predict a rotation and a place for the root of each pose.

        Args:
            pose: root-relative joints in the camera frame, flattened, metres.
            rotation_noise: 48 standard normal numbers a pose for the rotation network.
            translation_noise: 48 standard normal numbers a pose for the translation network.
            root: the root's present position in the camera frame, metres; only `residual` translation uses it.

        Returns:
            The rotation as axis times angle in radians, and the root's new position in the camera frame in metres.
        """
        rotation = self.turn(self.rotation_trunk(pose, rotation_noise))
        return rotation, self.place(self.translation_trunk(pose, translation_noise), root)

    def turn(self, raw: Float[Tensor, "batch outputs"]) -> Float[Tensor, "batch 3"]:
        """Convert the rotation network's output to axis times angle in radians."""
        if self.rotation == "axis_angle":
            return PI * torch.tanh(raw)
        if self.rotation == "quaternion":
            return axis_angle_from_quaternion(raw + constant((1.0, 0.0, 0.0, 0.0), raw.device, raw.dtype))
        zero = torch.zeros_like(raw[:, 0])
        forward = nn.functional.normalize(raw[:, :2] + constant((1.0, 0.0), raw.device, raw.dtype), dim=-1)
        half = torch.atan2(forward[:, 1], forward[:, 0]) / 2
        pitch, roll = PITCH / 2 * torch.tanh(raw[:, 2]), ROLL / 2 * torch.tanh(raw[:, 3])
        about_y = torch.stack([half.cos(), zero, half.sin(), zero], -1)
        about_x = torch.stack([pitch.cos(), pitch.sin(), zero, zero], -1)
        about_z = torch.stack([roll.cos(), zero, zero, roll.sin()], -1)
        return axis_angle_from_quaternion(multiply_quaternions(about_z, multiply_quaternions(about_x, about_y)))

    def saturated(self, rotation: Float[Tensor, "batch 3"]) -> Float[Tensor, ""]:
        """Return the share of the rotation's components at the limits of the released head; 0 for other heads."""
        if self.rotation != "axis_angle":
            return rotation.new_zeros(())
        return (rotation.abs() > SATURATED * PI).float().mean()

    def place(self, raw: Float[Tensor, "batch 3"], root: Float[Tensor, "batch 3"]) -> Float[Tensor, "batch 3"]:
        """Convert the translation network's output to the root's new position.

        Args:
            raw: output of the translation network.
            root: the root's present position in the camera frame, metres.

        Returns:
            The new position in the camera frame in metres; its z is never negative.
        """
        if self.translation == "residual":
            place = root + raw
            return torch.cat([place[:, :2], place[:, 2:].abs()], -1)
        return torch.cat([raw[:, :2], raw[:, 2:].square()], -1)


class NoTransform(nn.Module):
    """Neither turns nor moves: for a generator whose rigid transform is drawn at random outside of it."""

    def forward(
        self,
        pose: Float[Tensor, "batch coordinates"],
        rotation_noise: Float[Tensor, "batch noise"],
        translation_noise: Float[Tensor, "batch noise"],
        root: Float[Tensor, "batch 3"],
    ) -> tuple[Float[Tensor, "batch 3"], Float[Tensor, "batch 3"]]:
        """Return a zero rotation and the root as it is; the other arguments are ignored."""
        return torch.zeros_like(root), root

    def saturated(self, rotation: Float[Tensor, "batch 3"]) -> Float[Tensor, ""]:
        """Return zero, as there is nothing that could saturate."""
        return rotation.new_zeros(())
