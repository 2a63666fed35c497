"""Rigid moves drawn at random: a pose turned about its root and put elsewhere inside the frame of its own camera.

What random rigid augmentation does, and what AugLift's appendix 7.H calls PoseAug's RT. Rotation about the root: yaw
about the camera's vertical axis, then pitch and roll. Place: root depth uniform in a range, root projection uniform in
the inner part of the frame.
"""

from dataclasses import dataclass
from math import pi

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dg.pose.batch import PoseBatch
from dg.pose.devices import constant
from dg.pose.rotation import rotation_from_turns

LEARNED, RANDOM = "learned", "random"  # of the option `rigid` of the methods that have one


@dataclass(frozen=True)
class MoveRanges:
    """yaw_deg, pitch_deg, roll_deg: half ranges of the uniform angles. depth_m: range of the root's depth. spread: the
    part of the frame's half width and half height in which the root's projection lies. attempts: draws a pose gets.
    """

    yaw_deg: float = 180.0
    pitch_deg: float = 30.0
    roll_deg: float = 15.0
    depth_m: tuple[float, ...] = (2.0, 8.0)
    spread: float = 0.7
    attempts: int = 4

    def __post_init__(self) -> None:
        if len(self.depth_m) != 2 or not 0 < self.depth_m[0] <= self.depth_m[1]:
            raise ValueError(f"depth_m must be two positive numbers, nearest first, got {list(self.depth_m)}")
        if min(self.yaw_deg, self.pitch_deg, self.roll_deg) < 0 or not 0 <= self.spread <= 1:
            raise ValueError("angles must not be negative and spread must lie in [0, 1]")
        if self.attempts < 1:
            raise ValueError("attempts must be at least 1")


def move(
    source: PoseBatch,
    ranges: MoveRanges,
    draw: Float[Tensor, "batch *draws 6"],
    centre: Float[Tensor, "batch 3"],
) -> Float[Tensor, "batch *draws frames joints 3"]:
    """Turn each pose (all its frames alike) about a centre, which goes elsewhere in front of the pose's own camera.

    Args:
        source: the poses; the gradient with respect to their joints passes.
        ranges: within which they move.
        draw: uniform in [0, 1]: yaw, pitch, roll, depth, and the place in the frame; one move a pose, or several.
        centre: what they turn about, camera frame, metres.

    Returns:
        The moved joints, camera frame, metres; they may lie outside the frame.
    """
    half = constant((ranges.yaw_deg, ranges.pitch_deg, ranges.roll_deg), draw.device, draw.dtype) * (pi / 180)
    turn = rotation_from_turns(*((2 * draw[..., :3] - 1) * half).unbind(-1))
    nearest, farthest = ranges.depth_m
    z = nearest + (farthest - nearest) * draw[..., 3:4]
    several = [1] * (draw.ndim - 2)
    extent = source.camera.extent.reshape(len(source), *several, 2)
    centre_2d = (2 * draw[..., 4:] - 1) * ranges.spread * extent
    place = torch.cat([source.camera.unproject(centre_2d) * z, z], -1)
    about = source.joints_3d - centre[:, None, None]
    about = about.reshape(len(source), *several, *about.shape[1:])
    return about @ turn[..., None, :, :].mT + place[..., None, None, :]


def move_once(
    source: PoseBatch, ranges: MoveRanges, generator: torch.Generator
) -> Float[Tensor, "batch frames joints 3"]:
    """Move every pose by one draw of its own about its (centre frame's) root, wherever that puts it.

    Args:
        source: the poses; the gradient with respect to their joints passes.
        ranges: within which they move.
        generator: on the poses' device.

    Returns:
        The moved joints, camera frame, metres.
    """
    draw = torch.rand(len(source), 6, generator=generator, device=source.joints_3d.device).to(source.joints_3d)
    return move(source, ranges, draw, _roots(source).detach())


def move_into_frame(
    source: PoseBatch, ranges: MoveRanges, generator: torch.Generator, group: Int[Tensor, " batch"] | None = None
) -> tuple[Float[Tensor, "batch frames joints 3"], Bool[Tensor, " batch"]]:
    """Move poses so that they stay in the frame, drawing again up to `ranges.attempts` times.

    Args:
        source: the poses.
        ranges: within which they move.
        generator: on the poses' device.
        group: numbers from zero, rows in order; the rows of a group make one move about their mean root and fit only
            if all of them do. None: each row by itself.

    Returns:
        The joints, camera frame, metres, and which rows were moved; the others are as they were.
    """
    root = _roots(source)
    if group is not None:
        return _move_groups(source, ranges, generator, group, root)
    rows, device = len(source), root.device
    draws = [torch.rand(rows, 6, generator=generator, device=device) for _ in range(ranges.attempts)]
    # All at once, fit or not: a look between them would wait for the device.
    moved = move(source, ranges, torch.stack(draws, 1).to(root), root)
    fits = source.camera.in_frame(moved).all(-1)
    first = (fits.cumsum(1) == 0).sum(1).clamp_max(ranges.attempts - 1)
    done = fits.any(1)
    chosen = moved[torch.arange(rows, device=device), first]
    return torch.where(done[:, None, None, None], chosen, source.joints_3d), done


def _move_groups(
    source: PoseBatch,
    ranges: MoveRanges,
    generator: torch.Generator,
    group: Int[Tensor, " batch"],
    root: Float[Tensor, "batch 3"],
) -> tuple[Float[Tensor, "batch frames joints 3"], Bool[Tensor, " batch"]]:
    """`move_into_frame` with groups. Once a pass, not a step: it waits for the device."""
    sizes = group.bincount()
    # On the CPU, where sums have one order; index_add on a GPU adds in any, and runs would differ in the last bits.
    centre = root.new_zeros(len(sizes), 3, device="cpu").index_add(0, group.cpu(), root.cpu()).to(root)
    centre = centre / sizes[:, None]
    placed = source.joints_3d
    done = torch.zeros(len(sizes), dtype=torch.bool, device=placed.device)
    for _ in range(ranges.attempts):
        draw = torch.rand(len(sizes), 6, generator=generator, device=placed.device).to(placed)
        moved = move(source, ranges, draw[group], centre[group])
        outside = ~source.camera.in_frame(moved).reshape(len(source), -1).all(-1)
        # A count: whole numbers add up to the same in any order.
        fits = (root.new_zeros(len(sizes)).index_add(0, group, outside.to(root)) == 0) & ~done
        placed = torch.where(fits[group][:, None, None, None], moved, placed)
        done = done | fits
    return placed, done[group]


def _roots(source: PoseBatch) -> Float[Tensor, "batch 3"]:
    return source.joints_3d[:, source.joints_3d.shape[1] // 2, source.skeleton.root]
