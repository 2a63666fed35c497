"""AdaptPose's generator for one frame: turns by axis and angle, and a rotation whose axis is drawn (METHODS 5).

Gholami et al., "AdaptPose: Cross-dataset adaptation for 3D human pose estimation by learnable motion generation", CVPR
2022, as in the released code, which makes clips of 27 frames. It is PoseAug's generator with two parts exchanged:
bones turn about an axis by an angle, and the axis of the whole pose's rotation comes from a predicted distribution.
Bone lengths are PoseAug's. Departures:
* Over a clip the angle of a bone grows from zero; one frame gets all of it (the released ramp gives a single frame 0).
* The released rotation reads the first 7 of its trunk's 256 activations, leaving its output layer unused, and draws the
  axis in a way that passes no gradient to mean and spread. Here the output layer is used and the draw reparameterised.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dg.augment.bone_angle import BoneAngle
from dg.augment.generator import PoseGenerator
from dg.augment.rigid import RigidTransform
from dg.augment.trunk import NOISE, Trunk
from dg.pose.rotation import rotation_from_axis_angle
from dg.pose.skeleton import Skeleton

# Of the 48 numbers of noise that PoseGenerator hands to each part, 45 go into the trunk, as released; the last three
# draw the axis.
_TRUNK_NOISE = NOISE - 3


class AxisAngleBones(BoneAngle):
    """Each bone but the torso's turned about a unit axis by an angle, both predicted; lengths are kept."""

    def __init__(self, skeleton: Skeleton) -> None:
        super().__init__(skeleton)
        self.trunk = Trunk(3 * len(skeleton) + _TRUNK_NOISE, 4 * len(skeleton.bones))

    def forward(
        self,
        pose: Float[Tensor, "batch coordinates"],
        noise: Float[Tensor, "batch noise"],
        units: Float[Tensor, "batch bones 3"],
    ) -> Float[Tensor, "batch bones 3"]:
        """Turn each bone about its predicted axis by its predicted angle.

        Args:
            pose: root-relative joints in the camera frame, flattened, metres.
            noise: 48 standard normal numbers a pose; the first 45 enter the network.
            units: unit bone vectors of the pose, from parent to child.

        Returns:
            The turned unit bones; spine and thorax are returned as they came.
        """
        raw = self.trunk(pose, noise[:, :_TRUNK_NOISE]).unflatten(1, (-1, 4))
        axis = nn.functional.normalize(raw[..., :3], dim=-1)
        turned = rotation_from_axis_angle(axis * raw[..., 3:]) @ units[..., None]
        return torch.where(self.frozen, units, turned[..., 0])


class DrawnAxisTransform(RigidTransform):
    """Rotation about an axis drawn from Normal(mean, raw^2), normalised, by an angle; mean, raw and angle predicted.

    The angle is not limited. translation: see `RigidTransform`; `released` is AdaptPose's too.
    """

    def __init__(self, skeleton: Skeleton, translation: str = "released") -> None:
        super().__init__(skeleton, translation)
        self.rotation_trunk = Trunk(3 * len(skeleton) + _TRUNK_NOISE, 7)
        self.translation_trunk = Trunk(3 * len(skeleton) + _TRUNK_NOISE, 3)

    def forward(
        self,
        pose: Float[Tensor, "batch coordinates"],
        rotation_noise: Float[Tensor, "batch noise"],
        translation_noise: Float[Tensor, "batch noise"],
        root: Float[Tensor, "batch 3"],
    ) -> tuple[Float[Tensor, "batch 3"], Float[Tensor, "batch 3"]]:
        """Draw a rotation and predict a place for the root of each pose.

        Args:
            pose: root-relative joints in the camera frame, flattened, metres.
            rotation_noise: 48 standard normal numbers a pose; the first 45 enter the network, the last three draw the
                axis.
            translation_noise: the same for the translation network, which leaves the last three unused.
            root: the root's present position in the camera frame, metres.

        Returns:
            The rotation as axis times angle in radians, and the root's new position in the camera frame in metres.
        """
        raw = self.rotation_trunk(pose, rotation_noise[:, :_TRUNK_NOISE])
        mean, spread, angle = raw.split([3, 3, 1], -1)
        axis = nn.functional.normalize(mean + spread.square() * rotation_noise[:, _TRUNK_NOISE:], dim=-1)
        return axis * angle, self.place(self.translation_trunk(pose, translation_noise[:, :_TRUNK_NOISE]), root)


class AxisAngleGenerator(PoseGenerator):
    """See the module's docstring."""

    def __init__(self, skeleton: Skeleton, translation: str = "released", rotation: str = "axis_angle") -> None:
        super().__init__(skeleton, translation, rotation)
        self.bone_angle = AxisAngleBones(skeleton)
        self.rigid = DrawnAxisTransform(skeleton, translation)
