"""Joint angles to joints: a kinematic tree with anatomical limits, standing on the floor.

Each degree of freedom is an angle in degrees, zero in the rest pose (upright, arms hanging), positive as the comment in
`dg.augment.forward_kinematics` says. Limits: its ranges of motion, of the American Academy of Orthopaedic Surgeons,
rounded, the spine's split over two joints; the shoulder is lifted and not brought forward.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from dg.augment.forward_kinematics import ANGLE_RANGES
from dg.pose.rotation import rotation_about_axis
from dg.pose.skeleton import H36M_17

# Of the joint angles, in degrees. Other limits make other poses: then `dg.datasets.synthetic.VERSION` counts up.
LIMITS = {
    name.replace("collar_lift", "shoulder_lift"): limits
    for name, limits in ANGLE_RANGES.items()
    if not name.endswith("collar_forward")
}
SOFT_DEGREES = 6.0

Angles = dict[str, Tensor]

# Points that may touch the floor, and how far the joint centre then is above it (m); ankles: 3.9 % of stature.
_CONTACTS = {
    "left_ankle": 0.068, "right_ankle": 0.068, "left_knee": 0.06, "right_knee": 0.06, "pelvis": 0.10,
    "left_wrist": 0.04, "right_wrist": 0.04, "thorax": 0.10, "head": 0.05,
}  # fmt: skip


def within_limits(angles: Angles) -> Angles:
    """Bend angles softly into their limits; those well inside are untouched.

    The pelvis's place in the room passes through: `heading` (to the left), `pitch` (forward lean) and `roll` (lean to
    the left) in degrees, `airborne` (height off the floor) in metres.
    """
    bent = dict(angles)
    for name, (low, high) in LIMITS.items():
        if name in angles:
            inner_low, inner_high = low + SOFT_DEGREES, high - SOFT_DEGREES
            core = angles[name].clamp(inner_low, inner_high)
            bent[name] = core + SOFT_DEGREES * torch.tanh((angles[name] - core) / SOFT_DEGREES)
    return bent


def pose_body(angles: Angles, offsets: Float[Tensor, "clips 17 3"]) -> Float[Tensor, "clips frames 17 3"]:
    """Pose bodies by their joint angles.

    Args:
        angles: angles `[clips, frames]` by name, degrees; absent ones are zero.
        offsets: each joint's offset from its parent at rest, metres.

    Returns:
        Joints relative to the pelvis in the room's axes (z up), metres.
    """
    frames = next(iter(angles.values())).shape
    zero = torch.zeros(frames)

    def turn(axis: int, name: str, sign: float = 1.0) -> Tensor:
        return rotation_about_axis(torch.deg2rad(sign * angles.get(name, zero)), axis)

    def trunk(part: str) -> Tensor:
        return turn(2, f"{part}_twist") @ turn(0, f"{part}_side", -1) @ turn(1, f"{part}_flex")

    def ball(side: str, part: str) -> Tensor:
        outward = 1.0 if side == "left" else -1.0
        name = f"{side}_{part}"
        return turn(1, f"{name}_flex", -1) @ turn(0, f"{name}_abduct", outward) @ turn(2, f"{name}_rotate", outward)

    pelvis = turn(2, "heading") @ turn(1, "pitch") @ turn(0, "roll", -1)
    rotations = {"spine": pelvis @ trunk("spine")}
    rotations["thorax"] = rotations["spine"] @ trunk("chest")
    rotations["neck"] = rotations["head"] = rotations["thorax"] @ trunk("neck")
    for side, outward in (("left", 1.0), ("right", -1.0)):
        rotations[f"{side}_hip"] = pelvis
        rotations[f"{side}_knee"] = pelvis @ ball(side, "hip")
        rotations[f"{side}_ankle"] = rotations[f"{side}_knee"] @ turn(1, f"{side}_knee")
        rotations[f"{side}_shoulder"] = rotations["thorax"] @ turn(0, f"{side}_shoulder_lift", outward)
        rotations[f"{side}_elbow"] = rotations["thorax"] @ ball(side, "shoulder")
        rotations[f"{side}_wrist"] = rotations[f"{side}_elbow"] @ turn(1, f"{side}_elbow", -1)
    return _chain(rotations, offsets)


def _chain(rotations: dict[str, Tensor], offsets: Float[Tensor, "clips 17 3"]) -> Float[Tensor, "clips frames 17 3"]:
    """Each joint at its parent plus its own bone, which `rotations` turns from the rest pose into the room."""
    placed = {0: torch.zeros(*next(iter(rotations.values())).shape[:2], 3)}
    for joint in H36M_17.order[1:]:
        bone = (rotations[H36M_17.joints[joint]] @ offsets[:, None, joint, :, None])[..., 0]
        placed[joint] = placed[H36M_17.parents[joint]] + bone
    return torch.stack([placed[joint] for joint in range(len(H36M_17))], 2)


def stand_on_floor(
    joints: Float[Tensor, "clips frames 17 3"], airborne: Float[Tensor, "clips frames"] | None = None
) -> Float[Tensor, "clips frames 17 3"]:
    """Move bodies so that their lowest point touches z = 0 and what touches the floor does not slide.

    The walk emerges from the legs: the pelvis moves against the velocity of the supporting points. Each clip's pelvis
    has its mean above the origin.

    Args:
        joints: joints relative to the pelvis in the room's axes (z up), metres.
        airborne: height of the lowest point off the floor, metres; zero unless given.

    Returns:
        Joints in the world frame (z up), metres.
    """
    points = [H36M_17.index(name) for name in _CONTACTS]
    height = joints[:, :, points, 2] - torch.tensor(list(_CONTACTS.values()))
    lowest = height.amin(2)
    support = torch.softmax((lowest[..., None] - height) / 0.015, 2)
    step = joints[:, 1:, points, :2] - joints[:, :-1, points, :2]
    moved = -(step * support[:, 1:, :, None]).sum(2).cumsum(1)
    ground = torch.cat([torch.zeros_like(moved[:, :1]), moved], 1)
    ground = ground - ground.mean(1, keepdim=True)
    lift = -lowest if airborne is None else airborne - lowest
    return joints + torch.cat([ground, lift[..., None]], -1)[:, :, None]
