"""Pictures of poses."""

from typing import Any

import numpy as np

from dg.drawing.pose import PoseFigure, draw_pose
from dg.pose.joint_map import skeleton_named
from dg.pose.skeleton import H36M_16, H36M_17, Skeleton


def plot_pose(
    joints: Any,  # noqa: ANN401 - whatever numpy makes an array of
    reference: Any = None,  # noqa: ANN401
    skeleton: str = "",
    title: str = "",
) -> PoseFigure:
    """One pose in 3D, seen from behind the camera; a person's left is orange, the right blue.

    Args:
        joints: `[joints, 3]`, metres, camera axes.
        reference: another pose in the same axes, drawn grey: the ground truth, for example.
        skeleton: the name of the joints' skeleton. Without it 17 joints are `h36m_17` and 16 are `h36m_16`.
        title: above the pose.

    Returns:
        A figure that a notebook shows by itself; `savefig("pose.png")` writes it.

    Raises:
        ValueError: for joints of another shape, or that are not finite.
        KeyError: for an unknown skeleton.
    """
    pose = np.asarray(joints, np.float64)
    other = None if reference is None else np.asarray(reference, np.float64)
    return draw_pose(pose, _skeleton_of(pose, skeleton), other, title)


def _skeleton_of(pose: np.ndarray, name: str) -> Skeleton:
    if name:
        return skeleton_named(name)
    known = {len(s): s for s in (H36M_17, H36M_16)}
    if pose.ndim != 2 or pose.shape[1] != 3 or len(pose) not in known:
        raise ValueError(
            f"expected one pose, [17, 3] or [16, 3], got shape {list(pose.shape)}; take one row of several poses, and "
            "give skeleton=NAME for joints other than Human3.6M's"
        )
    return known[len(pose)]
