"""Skeletons: names and parents are the only data; flips, bones, sides and adjacency are derived.

Joint orders: METHODS 1.1 and 1.2 (Human3.6M as PoseAug and VideoPose3D order it, COCO, MPI-INF-3DHP, SPIN, SMPL).
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Skeleton:
    """A tree of named joints. `left_` and `right_` prefixes define the sides; joint 0 need not be the root.

    Raises ValueError when names repeat, parents point forward of a cycle, or a left joint lacks its right twin.
    """

    name: str
    joints: tuple[str, ...]
    parents: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.joints) != len(self.parents):
            raise ValueError(f"skeleton {self.name}: {len(self.joints)} joints but {len(self.parents)} parents")
        if len(set(self.joints)) != len(self.joints):
            raise ValueError(f"skeleton {self.name}: joint names repeat")
        if self.parents.count(-1) != 1:
            raise ValueError(f"skeleton {self.name}: one root (parent -1) expected, got {self.parents.count(-1)}")
        for joint in self.joints:
            if _other_side(joint) not in self.joints:
                raise ValueError(f"skeleton {self.name}: {joint} has no twin {_other_side(joint)}")
        if len(self.order) != len(self.joints):
            raise ValueError(f"skeleton {self.name}: the parents contain a cycle")

    def __len__(self) -> int:
        return len(self.joints)

    def index(self, joint: str) -> int:
        """Return the position of a joint name; raise KeyError that lists the names for an unknown one."""
        if joint not in self.joints:
            raise KeyError(f"skeleton {self.name} has no joint {joint!r}; it has {list(self.joints)}")
        return self.joints.index(joint)

    @cached_property
    def root(self) -> int:
        """Index of the joint that has no parent."""
        return self.parents.index(-1)

    @cached_property
    def order(self) -> tuple[int, ...]:
        """Joints, every parent before its children."""
        order = [self.parents.index(-1)]
        for joint in order:
            order += [child for child, parent in enumerate(self.parents) if parent == joint]
        return tuple(order)

    @cached_property
    def bones(self) -> tuple[tuple[int, int], ...]:
        """(parent, child) pairs in the order of the child joints; in H36M order bone b ends at joint b + 1."""
        return tuple((parent, child) for child, parent in enumerate(self.parents) if parent >= 0)

    @cached_property
    def flip(self) -> tuple[int, ...]:
        """Joint permutation that swaps left and right; its own inverse."""
        return tuple(self.joints.index(_other_side(joint)) for joint in self.joints)

    @cached_property
    def left(self) -> tuple[int, ...]:
        """Indices of the joints on the left side."""
        return tuple(i for i, joint in enumerate(self.joints) if joint.startswith("left_"))

    @cached_property
    def right(self) -> tuple[int, ...]:
        """Indices of the joints on the right side."""
        return tuple(i for i, joint in enumerate(self.joints) if joint.startswith("right_"))

    @cached_property
    def bone_flip(self) -> tuple[int, ...]:
        """Bone permutation that belongs to `flip`."""
        children = [child for _, child in self.bones]
        return tuple(children.index(self.flip[child]) for child in children)

    def bone(self, child: str) -> int:
        """Return the index of the bone that ends at the named joint."""
        return [c for _, c in self.bones].index(self.index(child))

    def adjacency(self) -> Float[Tensor, "joints joints"]:
        """Return the symmetric 0/1 adjacency matrix without self-loops."""
        matrix = torch.zeros(len(self), len(self))
        for parent, child in self.bones:
            matrix[parent, child] = matrix[child, parent] = 1.0
        return matrix

    def bone_matrix(self) -> Float[Tensor, "bones joints"]:
        """Return the matrix M with `M @ joints = child - parent` for each bone."""
        matrix = torch.zeros(len(self.bones), len(self))
        for row, (parent, child) in enumerate(self.bones):
            matrix[row, parent], matrix[row, child] = -1.0, 1.0
        return matrix

    def path_matrix(self) -> Float[Tensor, "joints bones"]:
        """Return the matrix P with `P @ bones = joints - root`: ones where a bone lies between the root and a joint."""
        matrix = torch.zeros(len(self), len(self.bones))
        row_of = {child: row for row, (_, child) in enumerate(self.bones)}
        for joint in self.order[1:]:
            matrix[joint] = matrix[self.parents[joint]]
            matrix[joint, row_of[joint]] = 1.0
        return matrix


def _other_side(joint: str) -> str:
    if joint.startswith("left_"):
        return "right_" + joint.removeprefix("left_")
    if joint.startswith("right_"):
        return "left_" + joint.removeprefix("right_")
    return joint


def _legs_first(torso: list[str]) -> tuple[str, ...]:
    leg = ["hip", "knee", "ankle"]
    arm = ["shoulder", "elbow", "wrist"]
    return (
        "pelvis",
        *[f"right_{j}" for j in leg],
        *[f"left_{j}" for j in leg],
        *torso,
        *[f"left_{j}" for j in arm],
        *[f"right_{j}" for j in arm],
    )


H36M_16 = Skeleton(
    "h36m_16", _legs_first(["spine", "thorax", "head"]), (-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 8, 10, 11, 8, 13, 14)
)
H36M_17 = Skeleton(
    "h36m_17",
    _legs_first(["spine", "thorax", "neck", "head"]),
    (-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 9, 8, 11, 12, 8, 14, 15),
)
COCO_17 = Skeleton(
    "coco_17",
    (
        "nose", "left_eye", "right_eye", "left_ear", "right_ear",
        "left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist",
        "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle",
    ),
    # COCO defines no tree; the nose is taken as the root and the torso hangs from the shoulders.
    (-1, 0, 0, 1, 2, 0, 0, 5, 6, 7, 8, 5, 6, 11, 12, 13, 14),
)  # fmt: skip
MPI_INF_3DHP_17 = Skeleton(
    "mpi_inf_3dhp_17",
    (
        "head_top", "neck", "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist",
        "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle", "pelvis", "spine", "head",
    ),
    (16, 15, 1, 2, 3, 1, 5, 6, 14, 8, 9, 14, 11, 12, -1, 14, 1),
)  # fmt: skip
MPI_INF_3DHP_28 = Skeleton(
    "mpi_inf_3dhp_28",
    (
        "spine3", "spine4", "spine2", "spine", "pelvis", "neck", "head", "head_top",
        "left_clavicle", "left_shoulder", "left_elbow", "left_wrist", "left_hand",
        "right_clavicle", "right_shoulder", "right_elbow", "right_wrist", "right_hand",
        "left_hip", "left_knee", "left_ankle", "left_foot", "left_toe",
        "right_hip", "right_knee", "right_ankle", "right_foot", "right_toe",
    ),
    (2, 0, 3, 4, -1, 1, 5, 6, 5, 8, 9, 10, 11, 5, 13, 14, 15, 16, 4, 18, 19, 20, 21, 4, 23, 24, 25, 26),
)  # fmt: skip
SPIN_24 = Skeleton(
    "spin_24",
    (
        "right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle", "right_wrist", "right_elbow",
        "right_shoulder", "left_shoulder", "left_elbow", "left_wrist", "neck", "head_top", "pelvis", "thorax_mpii",
        "spine", "jaw", "head", "nose", "left_eye", "right_eye", "left_ear", "right_ear",
    ),
    # SPIN defines no tree; everything above the spine hangs from its neck, which is the base of the neck.
    (1, 2, 14, 14, 3, 4, 7, 8, 12, 12, 9, 10, 16, 18, -1, 16, 14, 12, 17, 17, 19, 19, 20, 21),
)  # fmt: skip
SMPL_24 = Skeleton(
    "smpl_24",
    (
        "pelvis", "left_hip", "right_hip", "spine1", "left_knee", "right_knee", "spine2", "left_ankle", "right_ankle",
        "spine3", "left_foot", "right_foot", "neck", "left_collar", "right_collar", "head", "left_shoulder",
        "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hand", "right_hand",
    ),
    (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21),
)  # fmt: skip

# Detectors' joints, in the order of their files. None of them defines a tree; what has no better parent hangs from the
# middle of the trunk. OpenPose's and Halpe's "neck" is the middle of the shoulders, where Human3.6M's thorax lies.
_ARMS_AND_LEGS = ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
OPENPOSE_18 = Skeleton(
    "openpose_18",
    (
        "nose", "neck", "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist",
        "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle",
        "right_eye", "left_eye", "right_ear", "left_ear",
    ),
    (1, -1, 1, 2, 3, 1, 5, 6, 1, 8, 9, 1, 11, 12, 0, 0, 14, 15),
)  # fmt: skip
BODY_25 = Skeleton(
    "body_25",
    (
        "nose", "neck", "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist",
        "mid_hip", "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle",
        "right_eye", "left_eye", "right_ear", "left_ear",
        "left_big_toe", "left_small_toe", "left_heel", "right_big_toe", "right_small_toe", "right_heel",
    ),
    (1, 8, 1, 2, 3, 1, 5, 6, -1, 8, 9, 10, 8, 12, 13, 0, 0, 15, 16, 14, 19, 14, 11, 22, 11),
)  # fmt: skip
HALPE_26 = Skeleton(
    "halpe_26",
    (
        "nose", "left_eye", "right_eye", "left_ear", "right_ear",
        *[f"{side}_{joint}" for joint in _ARMS_AND_LEGS for side in ("left", "right")],
        "head", "neck", "mid_hip",
        *[f"{side}_{joint}" for joint in ("big_toe", "small_toe", "heel") for side in ("left", "right")],
    ),
    (18, 0, 0, 1, 2, 18, 18, 5, 6, 7, 8, 19, 19, 11, 12, 13, 14, 0, 19, -1, 15, 16, 20, 21, 15, 16),
)  # fmt: skip
MEDIAPIPE_33 = Skeleton(
    "mediapipe_33",
    (
        "nose", "left_eye_inner", "left_eye", "left_eye_outer", "right_eye_inner", "right_eye", "right_eye_outer",
        "left_ear", "right_ear", "left_mouth", "right_mouth",
        *[f"{side}_{joint}" for joint in ("shoulder", "elbow", "wrist", "pinky", "index", "thumb", "hip", "knee")
          for side in ("left", "right")],
        *[f"{side}_{joint}" for joint in ("ankle", "heel", "foot_index") for side in ("left", "right")],
    ),
    (
        -1, 0, 1, 2, 0, 4, 5, 3, 6, 0, 0, 0, 0, 11, 12, 13, 14, 15, 16, 15, 16, 15, 16, 11, 12, 23, 24, 25, 26, 27, 28,
        27, 28,
    ),
)  # fmt: skip

SKELETONS = {
    s.name: s
    for s in (
        H36M_16, H36M_17, COCO_17, MPI_INF_3DHP_17, MPI_INF_3DHP_28, SPIN_24, SMPL_24,
        OPENPOSE_18, BODY_25, HALPE_26, MEDIAPIPE_33,
    )
}  # fmt: skip
