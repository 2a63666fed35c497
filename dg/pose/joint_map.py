"""Conversions between skeletons as one matrix; it serves 2D, 3D and confidence alike.

A joint with the same name is copied. The pairs below name what else is needed, from METHODS 1.2: a target joint is the
mean of the listed source joints.
"""

from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor

from dg.pose.skeleton import SKELETONS, Skeleton

_HIPS, _SHOULDERS = ("left_hip", "right_hip"), ("left_shoulder", "right_shoulder")
# What detectors find in place of Human3.6M's trunk and head: the head's top is out of their reach, but for Halpe's.
_DETECTED = {
    "pelvis": _HIPS,
    "thorax": _SHOULDERS,
    "spine": (*_HIPS, *_SHOULDERS),
    "neck": ("nose",),
    "head": ("left_eye", "right_eye"),
}
_HALPE = {name: parts for name, parts in _DETECTED.items() if name != "head"}

# (source, target) -> {target joint: source joints to average}
_MEANS: dict[tuple[str, str], dict[str, tuple[str, ...]]] = {
    ("h36m_16", "h36m_17"): {"neck": ("thorax", "head")},
    **{
        (detector, target): _DETECTED
        for detector in ("coco_17", "openpose_18", "body_25", "mediapipe_33")
        for target in ("h36m_17", "h36m_16")
    },
    ("halpe_26", "h36m_17"): _HALPE,
    ("halpe_26", "h36m_16"): _HALPE,
    # The row "head top" is what Human3.6M's head resembles; the raw "head" lies where its neck/nose joint does.
    ("mpi_inf_3dhp_17", "h36m_17"): {"thorax": ("neck",), "neck": ("head",), "head": ("head_top",)},
    ("mpi_inf_3dhp_17", "h36m_16"): {"thorax": ("neck",), "head": ("head_top",)},
    ("mpi_inf_3dhp_28", "h36m_17"): {"thorax": ("neck",), "neck": ("head",), "head": ("head_top",)},
    ("mpi_inf_3dhp_28", "h36m_16"): {"thorax": ("neck",), "head": ("head_top",)},
    # In its files of MPI-INF-3DHP, SPIN's jaw is the raw "head" and its head the raw "head top".
    ("spin_24", "h36m_17"): {"thorax": ("neck",), "neck": ("jaw",)},
    ("spin_24", "h36m_16"): {"thorax": ("neck",)},
    # PoseBench3D's choice: spine is SMPL's spine2, thorax its neck, head its head (the skull's base).
    ("smpl_24", "h36m_17"): {"spine": ("spine2",), "thorax": ("neck",), "neck": ("neck", "head")},
    ("smpl_24", "h36m_16"): {"spine": ("spine2",), "thorax": ("neck",)},
}

# Factor by which a pair of a detector's 2D is moved apart, about its middle. MediaPipe's hips lie too near to each
# other in the image: at 0.70 of the breadth of its own 3D (two people of a street photograph), and at 0.66 of that of
# the joints of 12 rendered people (median), whose shoulders it finds where they are (0.97). docs/predict.md has more.
_APART: dict[str, tuple[tuple[str, str], float]] = {"mediapipe_33": (_HIPS, 1.4)}


def convertible(source: Skeleton, target: Skeleton) -> bool:
    """Whether joints of one skeleton can be made of another's.

    Args:
        source: the skeleton that there is.
        target: the one that is wanted.
    """
    try:
        joint_map(source, target)
    except ValueError:
        return source == target
    return True


@cache
def joint_map(source: Skeleton, target: Skeleton) -> Float[Tensor, "target source"]:
    """Build the matrix M with `target_joints = M @ source_joints`; its rows sum to one.

    Args:
        source: the skeleton that is given.
        target: the skeleton that is wanted.

    Returns:
        The matrix.

    Raises:
        ValueError: when a target joint is neither present in the source nor defined as a mean.
    """
    means = _MEANS.get((source.name, target.name), {})
    matrix = torch.zeros(len(target), len(source))
    for row, joint in enumerate(target.joints):
        parts = means.get(joint, (joint,))
        missing = [part for part in parts if part not in source.joints]
        if missing:
            raise ValueError(
                f"no rule makes {target.name}'s joint {joint!r} from {source.name}: {missing} absent; "
                f"known conversions: {sorted(_MEANS)}"
            )
        for part in parts:
            matrix[row, source.index(part)] += 1.0 / len(parts)
    return matrix


@cache
def image_joint_map(source: Skeleton, target: Skeleton) -> Float[Tensor, "target source"]:
    """Build the matrix of `joint_map` for joints that a detector found in images; not for its 3D.

    Args:
        source: the detector's skeleton.
        target: the skeleton that is wanted.

    Returns:
        The matrix; MediaPipe's hips are moved apart about their middle (`_APART`).

    Raises:
        ValueError: as `joint_map` does.
    """
    matrix = joint_map(source, target)
    if source.name not in _APART or source == target:
        return matrix
    pair, factor = _APART[source.name]
    rows = [target.index(joint) for joint in pair]
    middle = matrix[rows].mean(0)
    moved = matrix.clone()
    moved[rows] = middle + factor * (matrix[rows] - middle)
    return moved


def convert_joints(values: Float[Tensor, "*batch source channels"], source: Skeleton, target: Skeleton) -> Tensor:
    """Convert joints between skeletons; they stay as they are where the skeletons are the same.

    Args:
        values: joints in 2D or 3D, or any other value that may be averaged over joints.
        source: the skeleton of the values.
        target: the skeleton that is wanted.

    Returns:
        The values of the target's joints.

    Raises:
        ValueError: for a joint count that is not the source's, or a conversion that is not defined.
    """
    if values.shape[-2] != len(source):
        raise ValueError(f"expected {len(source)} joints ({source.name}), got {values.shape[-2]}")
    if source == target:
        return values
    return joint_map(source, target).to(values) @ values


def skeleton_named(name: str) -> Skeleton:
    """Return the skeleton of a name; raise KeyError that lists the known names for any other."""
    if name not in SKELETONS:
        raise KeyError(f"unknown skeleton {name!r}; known: {sorted(SKELETONS)}")
    return SKELETONS[name]
