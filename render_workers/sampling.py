"""Depth at the joints: min-pooling for edge tolerance, then bilinear sampling (METHODS 4.4).

Background has no depth. Bilinear weights are taken over the pixels that have one; a joint without any looks further and
further around itself, and at last takes the nearest depth of its image.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import get_args

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dg.settings.config import MinPool
from render_workers.base import BACKGROUND

MIN_POOLS = get_args(MinPool)
# How far, in pixels, a joint looks for the body around its own pixel before it takes the body's nearest depth.
WIDER_PX = (2, 4, 8)


@dataclass(frozen=True)
class JointDepth:
    """Depth that was read at joints.

    Attributes:
        depth: metres, NaN where an image shows no body; or the readings of each joint (`render_workers.uadd`).
        widened: joints that looked further than their own pixels.
    """

    depth: Float[Tensor, "batch joints *readings"]
    widened: Bool[Tensor, "batch joints"]


# Depth maps, joints in pixels, side of the pooling window: see `sample_joints`.
Sampler = Callable[[Tensor, Tensor, int], JointDepth]


def sample_joints(
    depth_map: Float[Tensor, "batch height width"], joints_px: Float[Tensor, "batch joints 2"], min_pool: int
) -> JointDepth:
    """Sample a depth map at the joints.

    Args:
        depth_map: metres, background as `BACKGROUND`.
        joints_px: joints in pixels, pixel centres at +0.5.
        min_pool: side of the minimum-pooling window, 1, 3 or 5 pixels.

    Returns:
        Absolute depth in metres, NaN where the image shows no body, and which joints looked beyond their own pixels.

    Raises:
        ValueError: another pooling window.
    """
    check_min_pool(min_pool)
    depth, missing = _bilinear(depth_map, joints_px, min_pool)
    rows = missing.any(-1).nonzero()[:, 0]
    if len(rows):
        depth[rows] = torch.where(missing[rows], _around(depth_map[rows], joints_px[rows]), depth[rows])
    return JointDepth(depth, missing)


def check_min_pool(min_pool: int) -> None:
    """Raise ValueError for a pooling window that is not in `MIN_POOLS`."""
    if min_pool not in MIN_POOLS:
        raise ValueError(f"min_pool must be one of {MIN_POOLS}, got {min_pool!r}")


def read_windows(
    depth_map: Float[Tensor, "batch height width"], windows: Int[Tensor, "batch joints 2"], size: int
) -> Float[Tensor, "batch joints size size"]:
    """Read square windows of a depth map.

    Args:
        depth_map: depth in any unit.
        windows: column and row of each window's first pixel.
        size: side of a window, pixels.

    Returns:
        The values, rows before columns; `BACKGROUND` beyond the image.
    """
    height, width = depth_map.shape[1:]
    steps = torch.arange(size, device=windows.device, dtype=windows.dtype)
    x, y = windows[..., :1] + steps, windows[..., 1:] + steps
    inside = ((y >= 0) & (y < height))[..., :, None] & ((x >= 0) & (x < width))[..., None, :]
    flat = (y.clamp(0, height - 1) * width)[..., :, None] + x.clamp(0, width - 1)[..., None, :]
    values = depth_map.flatten(1).gather(1, flat.flatten(1).long()).view(flat.shape)
    return torch.where(inside, values, BACKGROUND)


def _bilinear(depth_map: Tensor, joints_px: Tensor, min_pool: int) -> tuple[Tensor, Tensor]:
    """Pooled, interpolated depth, and which joints have none: their four pooled pixels are all background."""
    corner = (joints_px - 0.5).floor()
    taps = read_windows(depth_map, corner.int() - min_pool // 2, min_pool + 1)
    pooled = _pool(_pool(taps, 2, min_pool), 3, min_pool)
    x, y = (joints_px - 0.5 - corner).unbind(-1)
    weight = torch.stack([(1 - x) * (1 - y), x * (1 - y), (1 - x) * y, x * y], -1)
    pooled = pooled.flatten(2)
    seen = pooled < BACKGROUND
    weight = weight * seen
    total = weight.sum(-1)
    return (weight * pooled.masked_fill(~seen, 0.0)).sum(-1) / total, total <= 0


def _pool(taps: Tensor, axis: int, window: int) -> Tensor:
    """Running minimum over `window` neighbours along an axis of window + 1."""
    low = taps.narrow(axis, 0, window).amin(axis, keepdim=True)
    high = taps.narrow(axis, 1, window).amin(axis, keepdim=True)
    return torch.cat([low, high], axis)


def _around(depth_map: Tensor, joints_px: Tensor) -> Tensor:
    """The nearest depth in the smallest window around each joint that shows any, else that of the image, else NaN."""
    pixel = joints_px.floor().int()
    value = torch.full_like(joints_px[..., 0], BACKGROUND)
    for reach in WIDER_PX:
        found = read_windows(depth_map, pixel - reach, 2 * reach + 1).flatten(2).amin(-1)
        value = torch.where(value < BACKGROUND, value, found)
    value = torch.where(value < BACKGROUND, value, depth_map.flatten(1).amin(-1, keepdim=True))
    return torch.where(value < BACKGROUND, value, torch.nan)
