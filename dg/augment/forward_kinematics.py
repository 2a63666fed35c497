"""Joint angles and bone lengths to joints: a body of Denavit-Hartenberg chains, differentiable (METHODS 5, DH-AUG).

Huang et al., "DH-AUG: DH forward kinematics model driven augmentation for 3D human pose estimation", ECCV 2022. A row
of the table is one revolute joint in Craig's (modified) convention, T = Rot_x(alpha) Trans_x(a) Rot_z(theta)
Trans_z(d), theta = offset + sign * angle; bone lengths are the a and d.

The table is our own. The released one lets its twelve trunk and neck angles turn freely, moves both shoulders with
three common angles and leaves one of 29 outputs unused. Here each shoulder has two angles, all 29 move a joint, and
each lies in an anatomical range: those of the American Academy of Orthopaedic Surgeons, rounded, the spine's split
over two joints; the collar bone's are ours.

Rest pose (all angles zero): upright, arms hanging, trunk, neck and head in one line, hips and shoulders level.
"""

from dataclasses import dataclass
from math import pi, radians

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dg.pose.skeleton import Skeleton

_TRUNK = {
    "spine_flex": (-15.0, 45.0),  # forward
    "spine_side": (-20.0, 20.0),  # to the left
    "spine_twist": (-20.0, 20.0),  # to the left
    "chest_flex": (-10.0, 35.0),
    "chest_side": (-15.0, 15.0),
    "chest_twist": (-35.0, 35.0),
    "neck_twist": (-70.0, 70.0),
    "neck_flex": (-40.0, 45.0),
    "neck_side": (-35.0, 35.0),
}
_LIMBS = {
    "collar_forward": (-20.0, 20.0),
    "collar_lift": (-5.0, 25.0),
    "shoulder_flex": (-50.0, 175.0),  # arm forward and up
    "shoulder_abduct": (-15.0, 170.0),  # arm sideways and up
    "shoulder_rotate": (-70.0, 85.0),  # outward, about the upper arm
    "elbow": (0.0, 145.0),
    "hip_flex": (-20.0, 125.0),  # thigh forward
    "hip_abduct": (-20.0, 45.0),  # outward
    "hip_rotate": (-35.0, 45.0),  # toes outward
    "knee": (0.0, 145.0),  # heel to buttocks
}
_SIDES = {"left": 1, "right": -1}
# Degrees, lowest and highest; the order is that of the angles everywhere.
ANGLE_RANGES = _TRUNK | {f"{side}_{name}": limits for side in _SIDES for name, limits in _LIMBS.items()}
_BASE = "base"


@dataclass(frozen=True)
class Link:
    """One row of the table. alpha, offset: degrees. a, d: the bone (named by its end joint) whose length they are, if
    any, negated with reach = -1. angle: which angle turns it, if any. joint: the one at the row's origin, if any.
    """

    name: str
    parent: str
    alpha: float = 0.0
    offset: float = 0.0
    angle: str | None = None
    sign: int = 1
    a: str | None = None
    d: str | None = None
    reach: int = 1
    joint: str | None = None

    @property
    def bone(self) -> str | None:
        """The bone whose length enters this row, named by its end joint, or None."""
        return self.a or self.d


def _trunk(part: str, parent: str, joint: str) -> list[Link]:
    """Flexion, side bend and twist of an upright bone; its last frame has x forward, y left and z up at rest again."""
    return [
        Link(f"{part}_flex", parent, alpha=-90, offset=-90, angle=f"{part}_flex"),
        Link(f"{part}_side", f"{part}_flex", alpha=90, offset=90, angle=f"{part}_side"),
        Link(f"{part}_twist", f"{part}_side", alpha=90, offset=-90, angle=f"{part}_twist", d=joint, joint=joint),
    ]


def _neck(joints: tuple[str, ...]) -> list[Link]:
    """The twist comes first: after the others it would turn nothing, as head and neck are one line."""
    links = [
        Link("neck_twist", "chest_twist", angle="neck_twist"),
        Link("neck_flex", "neck_twist", alpha=-90, offset=-90, angle="neck_flex"),
        Link("neck_side", "neck_flex", alpha=90, angle="neck_side"),
    ]
    for joint in (j for j in ("neck", "head") if j in joints):
        links.append(Link(joint, links[-1].name, a=joint, joint=joint))
    return links


def _limb(side: str, start: Link, ball: str, hinge: str, bend: int, ends: tuple[str, str]) -> list[Link]:
    """A hanging limb: `start` flexes it, then abduction, rotation about its long axis, and a hinge that bends by
    `bend` about the axis to the left. ends: the joints in its middle and at its end.
    """
    s, middle, end = _SIDES[side], *(f"{side}_{e}" for e in ends)
    abduct, rotate, hinge = f"{side}_{ball}_abduct", f"{side}_{ball}_rotate", f"{side}_{hinge}"
    return [
        start,
        Link(abduct, start.name, alpha=90 * s, offset=90, angle=abduct),
        Link(rotate, abduct, alpha=90, offset=90, angle=rotate, sign=-s, d=middle, joint=middle),
        Link(hinge, rotate, alpha=90 * s, offset=90 * s, angle=hinge, sign=bend),
        Link(end, hinge, a=end, joint=end),
    ]


def _leg(side: str) -> list[Link]:
    flex, hip = f"{side}_hip_flex", f"{side}_hip"
    start = Link(flex, _BASE, alpha=-90, offset=90, angle=flex, sign=-1, d=hip, reach=_SIDES[side], joint=hip)
    return _limb(side, start, "hip", "knee", 1, ("knee", "ankle"))


def _arm(side: str) -> list[Link]:
    s, shoulder = _SIDES[side], f"{side}_shoulder"
    forward, lift, flex = f"{side}_collar_forward", f"{side}_collar_lift", f"{side}_shoulder_flex"
    start = Link(flex, lift, alpha=90 * s, offset=180, angle=flex, sign=-1, d=shoulder, reach=s, joint=shoulder)
    return [
        Link(forward, "chest_twist", offset=90, angle=forward, sign=-s),
        Link(lift, forward, alpha=90 * s, offset=90 * s, angle=lift),
        *_limb(side, start, "shoulder", "elbow", -1, ("elbow", "wrist")),
    ]


def links_of(skeleton: Skeleton) -> tuple[Link, ...]:
    """Build the Denavit-Hartenberg table of a skeleton; it has 34 rows at 16 joints.

    Raises ValueError when the skeleton has a joint that no row places.
    """
    rows = _trunk("spine", _BASE, "spine") + _trunk("chest", "spine_twist", "thorax") + _neck(skeleton.joints)
    for side in _SIDES:
        rows += _leg(side) + _arm(side)
    placed = {row.joint for row in rows if row.joint} | {"pelvis"}
    if placed != set(skeleton.joints):
        raise ValueError(
            f"forward kinematics places {sorted(placed)}, but skeleton {skeleton.name} has "
            f"{list(skeleton.joints)}; use h36m_16 or h36m_17"
        )
    return tuple(rows)


class ForwardKinematics(nn.Module):
    """Angles to joints, all rows at equal distance from the pelvis at once. No parameters."""

    lowest: Tensor
    highest: Tensor
    cos_alpha: Tensor
    sin_alpha: Tensor
    offset: Tensor
    sign: Tensor
    reach: Tensor
    angle: Tensor
    bone: Tensor
    order: Tensor

    def __init__(self, skeleton: Skeleton) -> None:
        super().__init__()
        self.levels = _levels(links_of(skeleton))
        links = [link for level in self.levels for link in level]
        ranges = torch.tensor(list(ANGLE_RANGES.values())) * (pi / 180)
        alpha = torch.tensor([radians(link.alpha) for link in links])
        along_a = torch.tensor([float(link.reach * (link.a is not None)) for link in links])
        along_d = torch.tensor([float(link.reach * (link.d is not None)) for link in links])
        names, joints = list(ANGLE_RANGES), [None, *(link.joint for link in links)]
        for name, values in {
            "lowest": ranges[:, 0],
            "highest": ranges[:, 1],
            "cos_alpha": alpha.cos(),
            "sin_alpha": alpha.sin(),
            "offset": torch.tensor([radians(link.offset) for link in links]),
            "sign": torch.tensor([float(link.sign) for link in links]),
            "reach": torch.stack([along_a, -along_d * alpha.sin(), along_d * alpha.cos()], -1),
            # Rows without an angle or a bone read the zero that is appended to both; the pelvis is the base's origin.
            "angle": torch.tensor([names.index(link.angle) if link.angle else len(names) for link in links]),
            "bone": torch.tensor([skeleton.bone(link.bone) if link.bone else len(skeleton.bones) for link in links]),
            "order": torch.tensor([joints.index(joint) if joint in joints else 0 for joint in skeleton.joints]),
        }.items():
            self.register_buffer(name, values, persistent=False)
        before = [_BASE]
        for depth, level in enumerate(self.levels):
            parents = torch.tensor([before.index(link.parent) for link in level])
            self.register_buffer(f"parents_{depth}", parents, persistent=False)
            before = [link.name for link in level]

    def within_ranges(self, raw: Float[Tensor, "batch 29"]) -> Float[Tensor, "batch 29"]:
        """Map unbounded numbers to angles in radians: a tanh, scaled to the range of each angle."""
        middle, half = (self.highest + self.lowest) / 2, (self.highest - self.lowest) / 2
        return middle + half * torch.tanh(raw)

    def forward(
        self, angles: Float[Tensor, "batch 29"], lengths: Float[Tensor, "batch bones"]
    ) -> Float[Tensor, "batch joints 3"]:
        """Place the joints of bodies whose joint angles and bone lengths are given.

        Args:
            angles: joint angles in radians, in the order of `ANGLE_RANGES`.
            lengths: bone lengths in metres, in the skeleton's bone order.

        Returns:
            Joints relative to the pelvis in metres, in the axes of a camera that the body faces: x to the body's left,
            y down, z to its back.
        """
        sizes = [len(level) for level in self.levels]
        turns, steps = self._rows(angles, lengths)
        rotation = torch.eye(3, dtype=turns.dtype, device=turns.device).expand(len(turns), 1, 3, 3)
        origins = [turns.new_zeros(len(turns), 1, 3)]
        for depth, (turn, step) in enumerate(zip(turns.split(sizes, 1), steps.split(sizes, 1), strict=True)):
            parents = self.get_buffer(f"parents_{depth}")
            before = rotation[:, parents]
            origins.append(origins[-1][:, parents] + (before @ step[..., None])[..., 0])
            rotation = before @ turn
        forward, left, up = torch.cat(origins, 1)[:, self.order].unbind(-1)
        return torch.stack([left, -up, -forward], -1)

    def _rows(
        self, angles: Float[Tensor, "batch 29"], lengths: Float[Tensor, "batch bones"]
    ) -> tuple[Float[Tensor, "batch rows 3 3"], Float[Tensor, "batch rows 3"]]:
        """Rotation and translation of each row, in its parent row's frame."""
        theta = self.offset + self.sign * nn.functional.pad(angles, (0, 1))[:, self.angle]
        c, s, zero = theta.cos(), theta.sin(), torch.zeros_like(theta)
        ca, sa = self.cos_alpha, self.sin_alpha
        entries = [c, -s, zero, s * ca, c * ca, zero - sa, s * sa, c * sa, zero + ca]
        turns = torch.stack(entries, -1).unflatten(-1, (3, 3))
        return turns, self.reach * nn.functional.pad(lengths, (0, 1))[:, self.bone, None]


def _levels(links: tuple[Link, ...]) -> list[list[Link]]:
    """Rows by their distance from the base."""
    levels, before = [], {_BASE}
    while level := [link for link in links if link.parent in before]:
        levels.append(level)
        before = {link.name for link in level}
    return levels
