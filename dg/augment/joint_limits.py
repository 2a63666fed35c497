"""Limbs in the frames of what they hang from, and where source poses show that they may point (METHODS 5, EvoSkeleton).

Li et al., "Cascaded deep monocular 3D human pose estimation with evolutionary training data", CVPR 2020, constrain nine
limbs. Head, upper arms and thighs are seen from the trunk; forearms and shins from the upper arm or thigh.

Frames: the trunk's y axis points down (thorax to spine), its x axis to the person's left, across the shoulders for
head and arms and across the hips for the legs, orthogonal to y removed from x's part; z = x cross y. Both come from
unit bones, so that no bone length enters. A forearm's or shin's frame is the trunk's, turned by the shortest
rotation that takes the parent's rest direction (arms sideways, thighs down) to where the parent points.

The published validity map is learned from a motion-capture set of extreme poses and is not at hand. `ValidityMap` is
learned from the source itself.
"""

from math import pi, radians

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dg.pose.bones import bone_vectors, joints_from_bones, unit_bones
from dg.pose.rotation import minimal_rotation
from dg.pose.skeleton import Skeleton

# (from, to): thorax to head; then for each arm and leg the upper and the lower limb. The order is the released one.
LIMBS = (
    ("thorax", "head"),
    ("left_shoulder", "left_elbow"),
    ("left_elbow", "left_wrist"),
    ("right_shoulder", "right_elbow"),
    ("right_elbow", "right_wrist"),
    ("left_hip", "left_knee"),
    ("left_knee", "left_ankle"),
    ("right_hip", "right_knee"),
    ("right_knee", "right_ankle"),
)
_UPPER, _LOWER = [1, 3, 5, 7], [2, 4, 6, 8]
_LEGS = [5, 6, 7, 8]
# Where the upper limbs point at rest, in the trunk's axes.
_REST = ((1.0, 0.0, 0.0), (-1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 1.0, 0.0))


class LimbFrames:
    """Joints to local limb directions and lengths, and back. Raises KeyError where a skeleton lacks a joint."""

    def __init__(self, skeleton: Skeleton) -> None:
        self.skeleton = skeleton
        self.starts = [skeleton.index(start) for start, _ in LIMBS]
        self.ends = [skeleton.index(end) for _, end in LIMBS]
        self.bones = [skeleton.bone(end) for _, end in LIMBS]
        self.head = _bones_between(skeleton, *LIMBS[0])

    def encode(
        self, joints: Float[Tensor, "batch joints 3"]
    ) -> tuple[Float[Tensor, "batch 9 3"], Float[Tensor, "batch 9"]]:
        """Return the limbs' unit directions in their local frames, and their lengths in metres."""
        vectors = joints[:, self.ends] - joints[:, self.starts]
        lengths = vectors.norm(dim=-1)
        units = vectors / lengths.clamp_min(torch.finfo(lengths.dtype).tiny)[..., None]
        local = _into(self._trunk_frames(joints), units)
        local[:, _LOWER] = _into(_turns(local[:, _UPPER]), local[:, _LOWER])
        return local, lengths

    def decode(
        self,
        joints: Float[Tensor, "batch joints 3"],
        directions: Float[Tensor, "batch 9 3"],
        lengths: Float[Tensor, "batch 9"],
    ) -> Float[Tensor, "batch joints 3"]:
        """Give poses other limbs; root, trunk, hips and shoulders are kept.

        Joints between thorax and head (a neck) move with the head, in proportion.

        Args:
            joints: the poses that supply trunk, hips, shoulders and root, camera frame, metres.
            directions: unit directions of the nine limbs in their local frames, in the order of `LIMBS`.
            lengths: lengths of the nine limbs, metres.

        Returns:
            Absolute joints in the camera frame, metres.
        """
        local = directions.clone()
        local[:, _LOWER] = _out_of(_turns(directions[:, _UPPER]), directions[:, _LOWER])
        limbs = _out_of(self._trunk_frames(joints), local) * lengths[..., None]
        vectors = bone_vectors(joints, self.skeleton)
        neck = _following(vectors[:, self.head], limbs[:, 0])
        vectors[:, self.bones] = limbs
        vectors[:, self.head] = neck
        return joints_from_bones(vectors, self.skeleton) + joints[:, self.skeleton.root, None]

    def _trunk_frames(self, joints: Float[Tensor, "batch joints 3"]) -> Float[Tensor, "batch 9 3 3"]:
        """For each limb, the trunk's axes as columns: across the shoulders or across the hips."""
        units, _ = unit_bones(joints, self.skeleton)
        down = -units[:, self.skeleton.bone("thorax")]
        frames = []
        for part in ("shoulder", "hip"):
            across = units[:, self.skeleton.bone(f"left_{part}")] - units[:, self.skeleton.bone(f"right_{part}")]
            across = across - (across * down).sum(-1, keepdim=True) * down
            across = torch.nn.functional.normalize(across, dim=-1)
            frames.append(torch.stack([across, down, torch.linalg.cross(across, down)], -1))
        return torch.stack([frames[limb in _LEGS] for limb in range(len(LIMBS))], 1)


class ValidityMap:
    """Where limbs may point: an occupancy grid of local directions, in azimuth and elevation cells of `cell_deg`.

    A direction is valid when a learned pose has the limb in the same cell; for forearms and shins, also with the upper
    arm or thigh in the same cell of `parent_deg`, as the published limits of the lower limbs depend on the upper ones.
    Raises ValueError unless the cells lie in (0, 90] degrees.
    """

    def __init__(self, cell_deg: float = 10.0, parent_deg: float = 30.0) -> None:
        for name, value in (("cell_deg", cell_deg), ("parent_deg", parent_deg)):
            if not 0 < value <= 90:
                raise ValueError(f"{name} must lie in (0, 90] degrees, got {value}")
        self.cell, self.parent_cell = radians(cell_deg), radians(parent_deg)
        self.cells = _grid_size(self.cell)
        self.occupied = torch.zeros(len(LIMBS), _grid_size(self.parent_cell) * self.cells, dtype=torch.bool)

    def learn(self, directions: Float[Tensor, "batch 9 3"]) -> None:
        """Mark the cells of these poses valid."""
        self.occupied[torch.arange(len(LIMBS)), self._index(directions)] = True

    def valid(self, directions: Float[Tensor, "batch 9 3"]) -> Bool[Tensor, "batch 9"]:
        """Tell for each limb whether a learned pose has it in the same cell."""
        return self.occupied[torch.arange(len(LIMBS)), self._index(directions)]

    def _index(self, directions: Float[Tensor, "batch 9 3"]) -> Int[Tensor, "batch 9"]:
        index = _cell_of(directions, self.cell)
        index[:, _LOWER] += self.cells * _cell_of(directions[:, _UPPER], self.parent_cell)
        return index


def _grid_size(cell: float) -> int:
    return _columns(cell) * _rows(cell)


def _columns(cell: float) -> int:
    return -int(-2 * pi / cell // 1)


def _rows(cell: float) -> int:
    return -int(-pi / cell // 1)


def _cell_of(directions: Float[Tensor, "batch limbs 3"], cell: float) -> Int[Tensor, "batch limbs"]:
    """Cell number of each direction: azimuth about the frame's z axis (atan2 of y and x), elevation towards it."""
    x, y, z = directions.unbind(-1)
    column = ((torch.atan2(y, x) + pi) / cell).long().clamp(0, _columns(cell) - 1)
    row = ((torch.asin(z.clamp(-1, 1)) + pi / 2) / cell).long().clamp(0, _rows(cell) - 1)
    return row * _columns(cell) + column


def _turns(upper: Float[Tensor, "batch 4 3"]) -> Float[Tensor, "batch 4 3 3"]:
    """Shortest rotations from the upper limbs' rest directions, in the trunk's frame.

    Two half turns, about the rest direction and about the middle between it and the limb: a rotation to rounding, also
    for limbs that point almost the other way, where Rodrigues' form (`minimal_rotation`) loses half its digits.
    """
    rest = upper.new_tensor(_REST)
    middle = rest + upper
    # Straight opposite, the axis is free; the trunk's z axis is orthogonal to all rest directions.
    opposite = middle.norm(dim=-1, keepdim=True) < 1e-6
    middle = torch.where(opposite, middle.new_tensor((0.0, 0.0, 1.0)), middle)
    middle = torch.nn.functional.normalize(middle, dim=-1)
    return _half_turn(middle) @ _half_turn(rest)


def _half_turn(axis: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    return 2 * axis[..., :, None] * axis[..., None, :] - torch.eye(3, dtype=axis.dtype, device=axis.device)


def _into(frames: Float[Tensor, "batch n 3 3"], vectors: Float[Tensor, "batch n 3"]) -> Float[Tensor, "batch n 3"]:
    return (frames.mT @ vectors[..., None])[..., 0]


def _out_of(frames: Float[Tensor, "batch n 3 3"], vectors: Float[Tensor, "batch n 3"]) -> Float[Tensor, "batch n 3"]:
    return (frames @ vectors[..., None])[..., 0]


def _following(bones: Float[Tensor, "batch n 3"], whole: Float[Tensor, "batch 3"]) -> Float[Tensor, "batch n 3"]:
    """Bones in a row, turned and scaled so that they span `whole`."""
    before = bones.sum(1)
    length, new_length = before.norm(dim=-1, keepdim=True), whole.norm(dim=-1, keepdim=True)
    turn = minimal_rotation(before / length.clamp_min(1e-8), whole / new_length.clamp_min(1e-8))
    return bones @ turn.mT * (new_length / length.clamp_min(1e-8))[:, None]


def _bones_between(skeleton: Skeleton, start: str, end: str) -> list[int]:
    bones, joint = [], skeleton.index(end)
    while joint != skeleton.index(start):
        bones.append(skeleton.bone(skeleton.joints[joint]))
        joint = skeleton.parents[joint]
    return bones
