"""CEE-Net's generator as we read it: joints turn along the kinematic chain, and the camera moves (METHODS 5).

PoseAug's generator with two parts exchanged: a turn of one joint carries all that hangs on it, and the rigid transform
is a change of the camera within bounds around the one that saw the pose. Bone lengths are PoseAug's. No code is public;
`dg.methods.cee_net` lists what is ours.
"""

from dataclasses import dataclass
from math import log, pi, radians

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dg.augment.bone_angle import BoneAngle
from dg.augment.bone_length import BoneLength
from dg.augment.generator import PoseGenerator
from dg.augment.joint_ranges import limb_bones
from dg.augment.rigid import RigidTransform
from dg.pose.rotation import rotation_from_axis_angle
from dg.pose.skeleton import Skeleton

# So that an untrained generator starts near the poses that it is given.
_FIRST_OUTPUTS = 0.1


@dataclass(frozen=True)
class CameraReach:
    """How far the camera moves at most. pitch_deg, roll_deg: components of the axis-angle about x and z (about y it may
    be 180). distance: factor on the root's depth, and its inverse. shift: of the root's ray ratios x/z and y/z.
    """

    pitch_deg: float = 30.0
    roll_deg: float = 15.0
    distance: float = 2.0
    shift: float = 0.2

    def __post_init__(self) -> None:
        if min(self.pitch_deg, self.roll_deg, self.shift) <= 0 or self.distance <= 1:
            raise ValueError(f"camera reach must be positive, and distance above 1, got {self}")


class ChainedBones(BoneAngle):
    """Each joint of a limb turned by at most `reach_deg`, in the axes of the given pose; its descendants turn along.

    The angle between a bone and its parent bone changes by that joint's own turn alone. Torso and hips stay.
    """

    def __init__(self, skeleton: Skeleton, reach_deg: float) -> None:
        super().__init__(skeleton)
        self.reach = radians(reach_deg)
        self.order = _parents_first(skeleton)
        moving = {bone for bone, _ in limb_bones(skeleton)}
        self.frozen = torch.tensor([bone not in moving for bone in range(len(skeleton.bones))])[:, None]

    def forward(
        self,
        pose: Float[Tensor, "batch coordinates"],
        noise: Float[Tensor, "batch noise"],
        units: Float[Tensor, "batch bones 3"],
    ) -> Float[Tensor, "batch bones 3"]:
        """Turn each limb bone by its own joint's turn and by those of all joints before it in the chain.

        Args:
            pose: root-relative joints in the camera frame, flattened, metres.
            noise: 48 standard normal numbers a pose.
            units: unit bone vectors of the pose, from parent to child.

        Returns:
            The turned unit bones; bones of torso and hips are returned as they came.
        """
        raw = self.trunk(pose, noise).view_as(units)
        angle = self.reach * torch.tanh(raw.norm(dim=-1, keepdim=True))
        turn = torch.where(self.frozen, 0.0, nn.functional.normalize(raw, dim=-1) * angle)
        own = rotation_from_axis_angle(turn).unbind(1)
        carried: dict[int, Tensor] = {}
        for bone, parent in self.order:
            carried[bone] = own[bone] if parent is None else carried[parent] @ own[bone]
        turned = torch.stack([carried[bone] for bone in range(len(own))], 1) @ units[..., None]
        return torch.where(self.frozen, units, turned[..., 0])


class CameraChange(RigidTransform):
    """What another camera would see: the pose turned about its root, nearer or farther, and elsewhere in the frame."""

    limits: Tensor

    def __init__(self, skeleton: Skeleton, reach: CameraReach) -> None:
        super().__init__(skeleton)
        limits = [radians(reach.pitch_deg), pi, radians(reach.roll_deg), reach.shift, reach.shift, log(reach.distance)]
        self.register_buffer("limits", torch.tensor(limits), persistent=False)

    def forward(
        self,
        pose: Float[Tensor, "batch coordinates"],
        rotation_noise: Float[Tensor, "batch noise"],
        translation_noise: Float[Tensor, "batch noise"],
        root: Float[Tensor, "batch 3"],
    ) -> tuple[Float[Tensor, "batch 3"], Float[Tensor, "batch 3"]]:
        """Predict how the pose looks from another camera within the limits of `CameraReach`.

        Args:
            pose: root-relative joints in the camera frame, flattened, metres.
            rotation_noise: 48 standard normal numbers a pose for the rotation network.
            translation_noise: 48 standard normal numbers a pose for the translation network.
            root: the root's present position in the camera frame, metres.

        Returns:
            The rotation as axis times angle in radians, and the root's new position in the camera frame in metres.
        """
        rotation = self.limits[:3] * torch.tanh(self.rotation_trunk(pose, rotation_noise))
        move = self.limits[3:] * torch.tanh(self.translation_trunk(pose, translation_noise))
        depth = root[:, 2:] * move[:, 2:].exp()
        return rotation, torch.cat([(root[:, :2] / root[:, 2:] + move[:, :2]) * depth, depth], -1)

    def moves(
        self, rotation: Float[Tensor, "batch 3"], place: Float[Tensor, "batch 3"], root: Float[Tensor, "batch 3"]
    ) -> Float[Tensor, "batch 6"]:
        """Express changes of the camera in units of their limits.

        Args:
            rotation: axis times angle, radians.
            place: the root's new position in the camera frame, metres.
            root: the root's former position in the camera frame, metres.

        Returns:
            Rotation about x, y and z, shift along x and y, and the logarithm of the distance's factor, each in [-1, 1].
        """
        shift = place[:, :2] / place[:, 2:] - root[:, :2] / root[:, 2:]
        return torch.cat([rotation, shift, (place[:, 2:] / root[:, 2:]).log()], -1) / self.limits


class KinematicGenerator(PoseGenerator):
    """See the module's docstring. reach_deg: the most that a joint turns."""

    def __init__(self, skeleton: Skeleton, reach_deg: float = 60.0, camera: CameraReach | None = None) -> None:
        super().__init__(skeleton)
        bones, lengths = ChainedBones(skeleton, reach_deg), self.bone_length
        assert isinstance(lengths, BoneLength)
        self.bone_angle = bones
        self.camera = CameraChange(skeleton, camera or CameraReach())
        self.rigid = self.camera
        for trunk in (bones.trunk, lengths.trunk):
            with torch.no_grad():
                trunk.last.weight.mul_(_FIRST_OUTPUTS)


def _parents_first(skeleton: Skeleton) -> list[tuple[int, int | None]]:
    """(bone, its parent bone or None at the root), every parent before its children."""
    at = {child: row for row, (_, child) in enumerate(skeleton.bones)}
    return [(at[joint], at.get(skeleton.parents[joint])) for joint in skeleton.order[1:]]
