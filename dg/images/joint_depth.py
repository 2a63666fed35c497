"""Depth at the joints of a person in an image (METHODS 4.1 and 4.2), by the same code that reads it from renders.

Pixels count from the image's corner: the first pixel's centre lies at (0.5, 0.5). Joints beyond the image are read at
its border, as the released scripts do.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dg.pose.skeleton import Skeleton
from dg.pose.uadd import RadiusLaw
from render_workers.base import BACKGROUND
from render_workers.sampling import sample_joints
from render_workers.uadd import disk_statistics

Joints = Float[np.ndarray, "*people joints"]
Pixels = Float[np.ndarray, "*people joints 2"]


@dataclass(frozen=True)
class JointDepths:
    """Depth in the disk around each joint, in the map's unit; NaN where a joint is unknown or nothing has depth."""

    median: Joints
    nearest: Joints
    farthest: Joints


def joint_depths(
    depth: Float[np.ndarray, "height width"],
    keypoints_px: Pixels,
    confidence: Joints | None,
    law: RadiusLaw,
    torso_px: float | Float[np.ndarray, "*people"],
) -> JointDepths:
    """Median, nearest and farthest depth in the disk around each joint of one person, or of all people of an image.

    Args:
        depth: of the image, metres; pixels that are not finite and positive have none.
        keypoints_px: joints in pixels; NaN where unknown.
        confidence: of each joint, in [0, 1]; None: the 2D is certain.
        law: gives a disk's radius, in pixels of a frame 1000 wide; it grows with the longer side of the image.
        torso_px: distance from pelvis to thorax in the image, pixels, for the law's mode `scale`.

    Returns:
        Depth in the unit of `depth`; NaN where a joint is unknown or its disk has no depth.
    """
    height, width = depth.shape
    known, place = _places(keypoints_px, width, height)
    side = max(width, height)
    sure = np.ones(known.shape, np.float32) if confidence is None else np.nan_to_num(confidence).clip(0, 1)
    torso = np.broadcast_to(np.nan_to_num(np.asarray(torso_px, np.float32)), known.shape[:-1])
    radius = law.radius(_tensor(sure), _tensor(torso) * (2 / side)) * (side / 2)
    found = disk_statistics(_map(depth), _tensor(place).view(1, -1, 2), radius.reshape(1, -1))
    values = found.view(*known.shape, 3).masked_fill_(~torch.from_numpy(known)[..., None], torch.nan).numpy()
    return JointDepths(*(values[..., kind].copy() for kind in range(3)))


def depth_at_joints(depth: Float[np.ndarray, "height width"], keypoints_px: Pixels, min_pool: int = 3) -> Joints:
    """Depth right at each joint: the minimum over a window, then bilinear (METHODS 4.4).

    Args:
        depth: of the image, metres; pixels that are not finite and positive have none.
        keypoints_px: joints in pixels; NaN where unknown.
        min_pool: side of the window, pixels: 1, 3 or 5.

    Returns:
        Depth in the unit of `depth`; NaN where a joint is unknown.
    """
    height, width = depth.shape
    known, place = _places(keypoints_px, width, height)
    found = sample_joints(_map(depth), _tensor(place).view(1, -1, 2), min_pool).depth
    return found.view(known.shape).masked_fill_(~torch.from_numpy(known), torch.nan).numpy()


def torso_px(keypoints_px: Pixels, skeleton: Skeleton) -> Float[np.ndarray, "*people"]:
    """The distance from pelvis to thorax in the image.

    Args:
        keypoints_px: joints in pixels.
        skeleton: that the joints belong to.

    Returns:
        Pixels; NaN where one of the two joints is unknown.
    """
    ends = keypoints_px[..., [skeleton.root, skeleton.index("thorax")], :]
    return np.asarray(np.linalg.norm(ends[..., 1, :] - ends[..., 0, :], axis=-1), np.float32)


def _places(keypoints_px: Pixels, width: int, height: int) -> tuple[Bool[np.ndarray, "*people joints"], Pixels]:
    """Which joints are known, and where each is read: in the image, unknown ones anywhere."""
    known = np.asarray(np.isfinite(keypoints_px).all(-1))
    last = np.array([width - 0.5, height - 0.5], np.float32)
    return known, np.clip(np.where(known[..., None], keypoints_px, 0.5), 0.5, last).astype(np.float32)


def _map(depth: Float[np.ndarray, "height width"]) -> Float[Tensor, "1 height width"]:
    usable = np.isfinite(depth) & (depth > 0)
    return torch.from_numpy(np.where(usable, depth, BACKGROUND).astype(np.float32))[None]


def _tensor(values: np.ndarray) -> Tensor:
    return torch.from_numpy(np.array(values, np.float32))
