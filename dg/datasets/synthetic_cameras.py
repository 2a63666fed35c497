"""Where synthetic motion is seen from: Human3.6M's room, a hand-held camera close by (3DPW), a wide studio (3DHP).

Intrinsics: METHODS 1.5. Distances and heights: METHODS 1.5 and AugLift's table of root depths.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dg.datasets import h36m_cameras
from dg.pose.camera import Camera

# The point of Human3.6M's room that its four cameras look at, metres.
ROOM_CENTRE = (0.0, 0.45, 0.0)
CANDIDATES = 32
FRAME_MARGIN = 0.95
# A hand-held camera follows the person's mean place over this time.
FOLLOW_SECONDS = 0.8


@dataclass(frozen=True)
class Placement:
    """Random cameras of one kind. `lenses`: (f_px, width, height); distances along the floor and heights in metres.

    follows: the camera walks along with the person. closeness: above 1, near distances are drawn more often.
    """

    lenses: tuple[tuple[float, float, float], ...]
    distance_m: tuple[float, float]
    height_m: tuple[float, float]
    depth_m: tuple[float, float]
    follows: bool
    closeness: float = 1.0


PLACEMENTS = {
    "near": Placement(((1968.0, 1080.0, 1920.0),), (2.7, 4.6), (1.2, 1.9), (2.6, 4.7), follows=True, closeness=1.6),
    "wide": Placement(
        ((1500.2, 2048.0, 2048.0), (1683.8, 1920.0, 1080.0)), (3.9, 6.4), (0.3, 2.6), (3.9, 6.4), follows=False
    ),
}

Seen = tuple[Float[Tensor, "rows 17 3"], Camera, Int[Tensor, " rows"]]


def see_from_room(world: Float[Tensor, "clips frames 17 3"]) -> Seen:
    """Show each clip to Human3.6M's four cameras (as set up for S1).

    Returns joints, cameras and view numbers, clip by clip.
    """
    clips, frames = world.shape[:2]
    placed = (world + world.new_tensor(ROOM_CENTRE)).flatten(0, 1)
    views = h36m_cameras.see(placed, "S1").unflatten(1, (clips, frames)).transpose(0, 1)
    view = torch.arange(len(h36m_cameras.INTRINSICS)).repeat(clips).repeat_interleave(frames)
    return views.flatten(0, 2), h36m_cameras.intrinsics()[view], view


def see_from_anywhere(
    world: Float[Tensor, "clips frames 17 3"], fps: float, placement: Placement, generator: torch.Generator
) -> Seen:
    """Show each clip to one random camera that keeps the whole person in its frame and within the depth range.

    Of several random cameras the first that does so is taken, or else the one that fails in the fewest frames.

    Args:
        world: joints in the world frame (z up), metres.
        fps: frames per second.
        placement: where cameras stand, and their lenses.
        generator: the random generator.

    Returns:
        The clips as their cameras see them.
    """
    clips, frames = world.shape[:2]

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(clips, CANDIDATES, generator=generator)

    near, far = placement.distance_m
    distance = near + (far - near) * uniform(0, 1) ** placement.closeness
    azimuth = uniform(-math.pi, math.pi)
    place = torch.stack([distance * azimuth.cos(), distance * azimuth.sin(), uniform(*placement.height_m)], -1)
    target = world.mean((1, 2))[:, None] + 0.08 * torch.randn(clips, CANDIDATES, 3, generator=generator)
    rotation = look_at(place + target * target.new_tensor([1.0, 1.0, 0.0]), target)
    lenses = torch.tensor(placement.lenses)
    lens = lenses[torch.randint(len(lenses), (clips, CANDIDATES), generator=generator)].flatten(0, 1)
    camera = Camera.from_pixels(lens[:, :1].expand(-1, 2), lens[:, 1:] / 2, lens[:, 1:], longer_side=True)

    centre = target[:, :, None] * target.new_tensor([1.0, 1.0, 0.0])
    if placement.follows:
        path = _smooth(world[:, :, 0, :2], round(FOLLOW_SECONDS * fps / 2))
        centre = torch.cat([path, torch.zeros(clips, frames, 1)], -1)[:, None]
    moved = world[:, None] - (place[:, :, None] + centre)[:, :, :, None]
    joints = (moved.flatten(2, 3) @ rotation.transpose(-1, -2)).unflatten(2, (frames, 17))

    tight = Camera(camera.focal, camera.center, camera.distortion, camera.extent * FRAME_MARGIN)
    good = tight.in_frame(joints.flatten(0, 1)).unflatten(0, (clips, CANDIDATES))
    root_z = joints[..., 0, 2]
    good &= (root_z > placement.depth_m[0]) & (root_z < placement.depth_m[1])
    # argmax takes the first of equals, so a camera that never fails is chosen by chance and not by its position.
    chosen = good.sum(-1).argmax(1)
    row = torch.arange(clips)
    picked = (row * CANDIDATES + chosen).repeat_interleave(frames)
    return joints[row, chosen].flatten(0, 1), camera[picked], torch.zeros(clips * frames, dtype=torch.int64)


def look_at(place: Float[Tensor, "*batch 3"], target: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Turn upright cameras towards a point.

    Args:
        place: positions of the cameras in the world frame, metres.
        target: the points that they look at, metres.

    Returns:
        World-to-camera rotations, whose rows point right, down and forward.
    """
    forward = torch.nn.functional.normalize(target - place, dim=-1)
    up = forward.new_tensor([0.0, 0.0, 1.0]).expand_as(forward)
    right = torch.nn.functional.normalize(torch.linalg.cross(forward, up), dim=-1)
    return torch.stack([right, torch.linalg.cross(forward, right), forward], -2)


def _smooth(path: Float[Tensor, "clips frames 2"], reach: int) -> Float[Tensor, "clips frames 2"]:
    """Moving average over `reach` frames to either side, the ends repeated."""
    padded = torch.nn.functional.pad(path.transpose(1, 2), (reach, reach), mode="replicate")
    return torch.nn.functional.avg_pool1d(padded, 2 * reach + 1, 1).transpose(1, 2)
