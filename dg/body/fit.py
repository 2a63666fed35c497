"""The analytic mapping from Human3.6M's joints to a posed body (METHODS 4.4; AugLift-DG), closed form.

Limbs turn by minimal rotations from their parent's frame; pelvis and thorax by Procrustes. The rotations carry the
body's axes (y up, facing +z) to the camera's (y down, z forward), so the conversion diag(1, -1, -1) needs no step of its
own: it is the rotation of a person who stands upright and faces the camera.

`absolute`: joints that Human3.6M has land on their targets exactly; rest offsets absorb what Procrustes leaves, and
bones stretch. `relative`, the paper's form: the rest skeleton's bones scale by |augmented| / |original| and the
posed body keeps them.

Departures from METHODS 4.4: the thorax also sees the direction of the spine, because a bowed head alone would tip the
chest otherwise; and pelvis, neck and head are Human3.6M's (`rest.human36m_landmarks`).
"""

import torch
from jaxtyping import Float
from torch import Tensor

from dg.body.base import BodyPose
from dg.body.closed_form import aim, fast_procrustes, unit
from dg.body.rest import RestBody, stretched_bone
from dg.pose.skeleton import SMPL_24, Skeleton

# SMPL's joint -> Human3.6M's, where the names differ.
_RENAMED = {"spine2": "spine", "neck": "thorax"}
_INVENTED = ("spine1", "spine3", "left_collar", "right_collar", "left_foot", "right_foot", "left_hand", "right_hand")
# Limits of the head's own stretch: data sets that put the head joint at the skull's base must not squash it.
_HEAD_STRETCH = (0.75, 1.33)


def _numbers(*names: str) -> Tensor:
    return torch.tensor([SMPL_24.index(name) for name in names])


def _both(*names: str) -> list[str]:
    return [f"{side}_{name}" for name in names for side in ("left", "right")]


_PLACED_NAMES = [name for name in SMPL_24.joints if name not in _INVENTED]
_PLACED = _numbers(*_PLACED_NAMES)
# Directions for Procrustes, (from, to): three at the pelvis, four at the thorax, and an unused one to fill up.
_HUB_FROM = _numbers("pelvis", "pelvis", "pelvis", "pelvis", "neck", "neck", "neck", "neck")
_HUB_TO = _numbers("left_hip", "right_hip", "spine2", "pelvis", "head", "left_shoulder", "right_shoulder", "spine2")
_PELVIS, _SPINE1, _SPINE2, _SPINE3, _NECK = _numbers("pelvis", "spine1", "spine2", "spine3", "neck").tolist()
_COLLARS, _SHOULDERS = _numbers(*_both("collar")), _numbers(*_both("shoulder"))
_THORAX_PINS = _numbers("neck", *_both("shoulder"))
_THORAX_RIDERS = _numbers("spine3", *_both("collar"))
_TIPS = _numbers(*_both("foot", "hand"))

# Joints that are aimed along their stretched bone, every level after its parents.
_LEVELS = [
    _numbers(*_both("hip", "collar"), "spine1", "neck"),
    _numbers(*_both("knee", "shoulder"), "spine2"),
    _numbers(*_both("elbow")),
]
_FOLLOWERS = [_numbers(*_both("ankle", "wrist"), "head"), _TIPS]
_PARENTS = torch.tensor(SMPL_24.parents)
_TAILS, _HEADS = (torch.tensor(ends) for ends in zip(*map(stretched_bone, SMPL_24.joints), strict=True))


def place_targets(joints_3d: Float[Tensor, "batch joints 3"], skeleton: Skeleton) -> Float[Tensor, "batch 24 3"]:
    """The targets on SMPL's joints; those that Human3.6M lacks are zero.

    Raises ValueError when the skeleton lacks one of Human3.6M's 16 joints.
    """
    wanted = [_RENAMED.get(name, name) for name in _PLACED_NAMES]
    missing = [name for name in wanted if name not in skeleton.joints]
    if missing:
        raise ValueError(
            f"the body needs Human3.6M's joints (h36m_17 or h36m_16), but {skeleton.name} lacks {missing}; "
            "convert the poses first (PoseBatch.convert)"
        )
    if joints_3d.shape[-2] != len(skeleton):
        raise ValueError(f"expected {len(skeleton)} joints ({skeleton.name}), got {joints_3d.shape[-2]}")
    placed = joints_3d.new_zeros(len(joints_3d), len(SMPL_24), 3)
    placed[:, _PLACED] = joints_3d[:, [skeleton.index(name) for name in wanted]]
    return placed


def fit_absolute(rest: RestBody, targets: Float[Tensor, "batch 24 3"]) -> BodyPose:
    """The body pinned to its targets, which are joints in the camera frame (see `place_targets`), metres."""
    joints, axes = rest.joints, rest.bone_axes()
    positions = targets.clone()
    rotations = _hub_rotations(joints, targets)
    stretch = _absolute_stretch(joints, targets)

    # The thorax rides on neck and shoulders in the least-squares sense; collars then reach for the shoulders.
    pins = joints[_THORAX_PINS].mean(0)
    along = axes[_SPINE3]
    offsets = joints[_THORAX_RIDERS] - pins
    offsets = offsets + (stretch[:, _SPINE3, None, None] - 1) * (offsets @ along)[:, None] * along
    positions[:, _THORAX_RIDERS] = targets[:, _THORAX_PINS].mean(1, keepdim=True) + _turn(rotations[:, _SPINE3], offsets)

    bones = positions[:, _HEADS] - positions[:, _TAILS]
    stretch[:, _COLLARS] = bones[:, _COLLARS].norm(dim=-1) / _rest_lengths(joints)[_COLLARS]
    _aim_limbs(rotations, axes, unit(bones))

    low = (joints[_SPINE1] - joints[_PELVIS])[None]
    low = low + (stretch[:, _SPINE1, None] - 1) * (low @ axes[_SPINE1])[:, None] * axes[_SPINE1]
    positions[:, _SPINE1] = positions[:, _PELVIS] + (rotations[:, _SPINE1] @ low[..., None])[..., 0]
    _place_tips(positions, rotations, joints)
    return BodyPose(rotations, positions, stretch)
