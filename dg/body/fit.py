"""The analytic mapping from Human3.6M's joints to a posed body (METHODS 4.4; AugLift-DG), closed form.

Limbs turn by minimal rotations from their parent's frame; pelvis and thorax by Procrustes. The rotations carry the
body's axes (y up, facing +z) to the camera's (y down, z forward), so the conversion diag(1, -1, -1) needs no step
of its own: it is the rotation of a person who stands upright and faces the camera.

`absolute`: joints that Human3.6M has land on their targets exactly; rest offsets absorb what Procrustes leaves, and
bones stretch. `relative`, the paper's form: the rest skeleton's bones scale by |augmented| / |original| and the
posed body keeps them.

Departures from METHODS 4.4: the thorax also sees the direction of the spine, because a bowed head alone would tip the
chest otherwise; and pelvis, neck and head are Human3.6M's (`rest.human36m_landmarks`).
"""

from functools import lru_cache, partial

import torch
from jaxtyping import Float
from torch import Tensor

from dg.body.base import BodyPose
from dg.body.closed_form import aim, fast_procrustes, unit
from dg.body.rest import RestBody, stretched_bone
from dg.pose.devices import constant
from dg.pose.skeleton import SMPL_24, Skeleton

# SMPL's joint -> Human3.6M's, where the names differ.
_RENAMED = {"spine2": "spine", "neck": "thorax"}
_SIDES = ("left", "right")
_INVENTED = ("spine1", "spine3", "left_collar", "right_collar", "left_foot", "right_foot", "left_hand", "right_hand")
# Limits of the head's own stretch: data sets that put the head joint at the skull's base must not squash it.
HEAD_STRETCH = (0.75, 1.33)


Numbers = tuple[int, ...]  # of joints; `constant` makes an index of them, once for each device


def _numbers(*names: str) -> Numbers:
    return tuple(SMPL_24.index(name) for name in names)


def _of(table: Numbers, joints: Numbers) -> Numbers:
    return tuple(table[joint] for joint in joints)


def _both(*names: str) -> list[str]:
    return [f"{side}_{name}" for name in names for side in _SIDES]


PLACED = [name for name in SMPL_24.joints if name not in _INVENTED]
# Directions for Procrustes: three at the pelvis (and an empty one to fill up), four at the thorax.
HUB_TAILS = _numbers(*["pelvis"] * 4, *["neck"] * 4)
HUB_HEADS = _numbers("left_hip", "right_hip", "spine2", "pelvis", *_both("shoulder"), "head", "spine2")
HUBS = _numbers("pelvis", "spine3")
_PELVIS, _SPINE1, _SPINE3, _NECK, _HEAD = _numbers("pelvis", "spine1", "spine3", "neck", "head")
_COLLARS, _SHOULDERS = _numbers(*_both("collar")), _numbers(*_both("shoulder"))
PINS, RIDERS = _numbers("neck", *_both("shoulder")), _numbers("spine3", *_both("collar"))
TIPS = _numbers(*_both("foot", "hand"))

# Joints aimed along their stretched bone, and joints that keep their parent's frame; parents come first.
AIMED = [
    _numbers(*_both("hip", "collar"), "spine1", "neck"),
    _numbers(*_both("knee", "shoulder"), "spine2"),
    _numbers(*_both("elbow")),
]
CARRIED = [_numbers(*_both("ankle", "wrist"), "head"), TIPS]
_PARENTS = SMPL_24.parents
TAILS, HEADS = zip(*map(stretched_bone, SMPL_24.joints), strict=True)
STRETCHING = sum(AIMED, HUBS)

# Bone of Human3.6M, on SMPL's names, whose change of length scales the bone that ends at a joint of SMPL.
_SCALED_BY = {
    **{joint: ("pelvis", joint) for joint in _both("hip")},
    **{f"{side}_knee": (f"{side}_hip", f"{side}_knee") for side in _SIDES},
    **{f"{side}_ankle": (f"{side}_knee", f"{side}_ankle") for side in _SIDES},
    **{f"{side}_{part}": ("neck", f"{side}_shoulder") for side in _SIDES for part in ("collar", "shoulder")},
    **{f"{side}_elbow": (f"{side}_shoulder", f"{side}_elbow") for side in _SIDES},
    **{f"{side}_wrist": (f"{side}_elbow", f"{side}_wrist") for side in _SIDES},
    **dict.fromkeys(("spine1", "spine2"), ("pelvis", "spine2")),
    **dict.fromkeys(("spine3", "neck"), ("spine2", "neck")),
}
_SCALED = _numbers(*_SCALED_BY)
_SCALED_TAILS, _SCALED_HEADS = (_numbers(*names) for names in zip(*_SCALED_BY.values(), strict=True))


def place_targets(joints_3d: Float[Tensor, "batch joints 3"], skeleton: Skeleton) -> Float[Tensor, "batch 24 3"]:
    """Put Human3.6M's joints at the numbers of SMPL's joints.

    Args:
        joints_3d: joints in the camera frame, metres.
        skeleton: the skeleton of the joints, H36M-17 or H36M-16.

    Returns:
        The targets of SMPL's 24 joints, metres; those that Human3.6M lacks are zero.

    Raises:
        ValueError: when the skeleton lacks one of Human3.6M's 16 joints, or has another number of joints.
    """
    taken = sources_of(skeleton)
    if joints_3d.shape[-2] != len(skeleton):
        raise ValueError(f"expected {len(skeleton)} joints ({skeleton.name}), got {joints_3d.shape[-2]}")
    placed = joints_3d.new_zeros(len(joints_3d), len(SMPL_24), 3)
    placed[:, constant(_numbers(*PLACED), placed.device)] = joints_3d[:, constant(taken, placed.device)]
    return placed


def sources_of(skeleton: Skeleton) -> Numbers:
    """Return the number that each joint of `PLACED` has in a skeleton.

    Args:
        skeleton: H36M-17 or H36M-16.

    Raises:
        ValueError: when it lacks one of Human3.6M's 16 joints.
    """
    wanted = [_RENAMED.get(name, name) for name in PLACED]
    missing = [name for name in wanted if name not in skeleton.joints]
    if missing:
        raise ValueError(
            f"a body is fitted to Human3.6M's joints (h36m_17 or h36m_16), but {skeleton.name} lacks {missing}; "
            "convert the poses first (PoseBatch.convert)"
        )
    return tuple(skeleton.index(name) for name in wanted)


def fit_absolute(rest: RestBody, targets: Float[Tensor, "batch 24 3"]) -> BodyPose:
    """Pin the body to its targets.

    Stretch is that of a joint's own bone at hips, knees, collars, shoulders, elbows and neck; that of the trunk from
    pelvis to spine2 at pelvis and spine1, and from there to the neck at spine2 and spine3; at the head it follows the
    neck's within limits; it is 1 elsewhere.

    Args:
        rest: the body at rest.
        targets: targets of SMPL's joints as `place_targets` returns them, camera frame, metres.
    """
    at = partial(constant, device=targets.device)
    positions = targets.clone()
    rotations = targets.new_empty(*targets.shape, 3)
    rotations[:, at(HUBS)] = _hub_rotations(rest.joints[None], targets)

    # The thorax rides on neck and shoulders in the least-squares sense; collars then reach for the shoulders.
    offsets = (rest.joints[at(RIDERS)] - rest.joints[at(PINS)].mean(0)).expand(len(targets), -1, -1)
    trunk = (targets[:, HEADS[_SPINE3]] - targets[:, TAILS[_SPINE3]]).norm(dim=-1) / rest.bones[_SPINE3].norm()
    offsets = _stretched(offsets, rest.axes[_SPINE3], trunk)
    riders = targets[:, at(PINS)].mean(1, keepdim=True) + _turned(rotations[:, _SPINE3], offsets)
    positions[:, at(RIDERS)] = riders

    bones = positions[:, at(HEADS)] - positions[:, at(TAILS)]
    stretch = torch.ones_like(positions[..., 0])
    stretching = at(STRETCHING)
    stretch[:, stretching] = bones[:, stretching].norm(dim=-1) / rest.bones[stretching].norm(dim=-1)
    stretch[:, _HEAD] = stretch[:, _NECK].clamp(*HEAD_STRETCH)

    _aim_limbs(rotations, rest.axes[None], unit(bones))
    # Spine1 lies on the trunk's bone, between two targets.
    offset = rest.joints[_SPINE1] - rest.joints[_PELVIS]
    offset = _stretched(offset[None, None], rest.axes[_SPINE1], stretch[:, _SPINE1])
    positions[:, _SPINE1] = positions[:, _PELVIS] + _turned(rotations[:, _SPINE1], offset)[:, 0]
    carriers = at(_of(_PARENTS, TIPS))
    tips = (rotations[:, carriers] @ (rest.joints[at(TIPS)] - rest.joints[carriers])[..., None])[..., 0]
    positions[:, at(TIPS)] = positions[:, carriers] + tips
    return BodyPose(rotations, positions, stretch)


def fit_relative(
    rest: RestBody, targets: Float[Tensor, "batch 24 3"], reference: Float[Tensor, "batch 24 3"]
) -> BodyPose:
    """Pose the rest skeleton along the targets' directions, with bones scaled by |target bone| / |reference bone|.

    The pelvis lands on its target. Stretch is the scale of the bone that leaves a joint, by `stretched_bone`.

    Args:
        rest: the body at rest.
        targets: targets of SMPL's joints as `place_targets` returns them, camera frame, metres.
        reference: the same of the poses before augmentation.
    """
    at = partial(constant, device=targets.device)
    scale = torch.ones_like(targets[..., 0])
    lengths = [(pose[:, at(_SCALED_HEADS)] - pose[:, at(_SCALED_TAILS)]).norm(dim=-1) for pose in (targets, reference)]
    # A bone without length in the original has no ratio; it keeps its rest length.
    scale[:, at(_SCALED)] = torch.where(lengths[1] > 1e-6, lengths[0] / lengths[1].clamp_min(1e-6), 1.0)
    links = torch.zeros_like(targets)
    links[:, 1:] = scale[:, 1:, None] * (rest.joints[1:] - rest.joints[at(_PARENTS[1:])])
    joints = rest.joints[0] + _paths(targets.device, targets.dtype) @ links[:, 1:]

    rotations = targets.new_empty(*targets.shape, 3)
    rotations[:, at(HUBS)] = _hub_rotations(joints, targets)
    heads, tails, collars, shoulders = at(HEADS), at(TAILS), at(_COLLARS), at(_SHOULDERS)
    directions = unit(targets[:, heads] - targets[:, tails])
    reach = _turned(rotations[:, _SPINE3], joints[:, collars] - joints[:, _NECK, None])
    upper = (joints[:, shoulders] - joints[:, collars]).norm(dim=-1)
    directions[:, collars] = _reach(reach, upper, unit(targets[:, shoulders] - targets[:, _NECK, None]))
    _aim_limbs(rotations, unit(joints[:, heads] - joints[:, tails]), directions)

    positions = torch.empty_like(targets)
    positions[:, _PELVIS] = targets[:, _PELVIS]
    for joint in SMPL_24.order[1:]:
        parent = SMPL_24.parents[joint]
        positions[:, joint] = positions[:, parent] + (rotations[:, parent] @ links[:, joint, :, None])[..., 0]
    stretch = torch.ones_like(scale)
    stretch[:, at(STRETCHING)] = scale[:, at(_of(HEADS, STRETCHING))]
    return BodyPose(rotations, positions, stretch)


def _hub_rotations(
    joints: Float[Tensor, "#batch 24 3"], targets: Float[Tensor, "batch 24 3"]
) -> Float[Tensor, "batch 2 3 3"]:
    """Rotations of pelvis and thorax that turn their bones' rest directions onto the targets' best."""
    heads, tails = constant(HUB_HEADS, targets.device), constant(HUB_TAILS, targets.device)
    s = unit((joints[:, heads] - joints[:, tails]).double()).unflatten(1, (2, 4))
    t = unit((targets[:, heads] - targets[:, tails]).double()).unflatten(1, (2, 4))
    return fast_procrustes(t.transpose(-1, -2) @ s).to(targets)


def _aim_limbs(
    rotations: Float[Tensor, "batch 24 3 3"],
    axes: Float[Tensor, "#batch 24 3"],
    directions: Float[Tensor, "batch 24 3"],
) -> None:
    """Fill in, from the two hubs, the rotations of all other joints."""
    at = partial(constant, device=rotations.device)
    for level in AIMED:
        joints = at(level)
        rotations[:, joints] = aim(rotations[:, at(_of(_PARENTS, level))], axes[:, joints], directions[:, joints])
    for level in CARRIED:
        rotations[:, at(level)] = rotations[:, at(_of(_PARENTS, level))]


@lru_cache(maxsize=16)
def _paths(device: torch.device, dtype: torch.dtype) -> Float[Tensor, "24 23"]:
    return SMPL_24.path_matrix().to(device, dtype)


def _reach(
    start: Float[Tensor, "batch ends 3"], length: Float[Tensor, "batch ends"], ray: Float[Tensor, "batch ends 3"]
) -> Float[Tensor, "batch ends 3"]:
    """Direction from `start` to the far point at distance `length` on a ray from the origin (the nearest it gets)."""
    along = (start * ray).sum(-1)
    root = (along * along - (start * start).sum(-1) + length * length).clamp_min(0).sqrt()
    return unit((along + root)[..., None] * ray - start)


def _stretched(
    offsets: Float[Tensor, "#batch points 3"], axis: Float[Tensor, " 3"], factor: Float[Tensor, " batch"]
) -> Float[Tensor, "batch points 3"]:
    """Offsets, longer by `factor` along a unit axis."""
    return offsets + ((factor - 1)[:, None] * (offsets @ axis))[..., None] * axis


def _turned(
    rotation: Float[Tensor, "batch 3 3"], vectors: Float[Tensor, "#batch points 3"]
) -> Float[Tensor, "batch points 3"]:
    return vectors @ rotation.transpose(-1, -2)
