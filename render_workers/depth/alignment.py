"""Metres from the disparity of a relative depth network, whose unknown scale and shift are fitted for each image."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from render_workers.base import BACKGROUND

# An aligned disparity may come out at zero or below, which is infinitely far or behind the camera.
FARTHEST_M = 100.0
# Disparities that differ by less than this part of their size are one disparity: nothing can be fitted to them.
_SAME = 1e-6


def align_disparity(
    disparity: Float[Tensor, "batch height width"], zbuffer: Float[Tensor, "batch height width"]
) -> Float[Tensor, "batch height width"]:
    """Depth 1 / (s d + t), with the s >= 0 and t of each image that minimise the squared error of s d + t against
    1 / zbuffer over the pixels of the body, in closed form.

    Args:
        disparity: d, larger for what is nearer.
        zbuffer: true depth of the body, metres; inf for background.

    Returns:
        Metres; inf for background. Where the body's disparities are all the same, or fall where they should rise, the
        best s is 0 and the whole body gets one depth, the harmonic mean of the z-buffer.
    """
    seen = zbuffer < BACKGROUND
    target = torch.where(seen, 1 / zbuffer, 0.0)
    d_mean, target_mean = _mean(disparity, seen), _mean(target, seen)
    d = torch.where(seen, disparity - d_mean, 0.0)
    spread = d.square().sum((1, 2), keepdim=True)
    slope = (d * (target - target_mean)).sum((1, 2), keepdim=True).clamp_min(0.0) / spread
    level = (_SAME * d_mean).square() * seen.sum((1, 2), keepdim=True)
    slope = torch.where(spread > level, slope, 0.0)
    return torch.where(seen, 1 / (slope * d + target_mean).clamp_min(1 / FARTHEST_M), BACKGROUND)


def _mean(values: Tensor, seen: Bool[Tensor, "batch height width"]) -> Tensor:
    """`[batch, 1, 1]` mean over the body; 0 where there is none."""
    total = torch.where(seen, values, 0.0).sum((1, 2), keepdim=True)
    return total / seen.sum((1, 2), keepdim=True).clamp_min(1)
