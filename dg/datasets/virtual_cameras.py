"""Held-out source poses as other cameras would see them: a validation of viewpoint that needs no target.

A run that is selected on the source's own cameras never learns what new viewpoints cost. Here each held-out clip is
seen by virtual cameras of many focal lengths, distances and heights, drawn once and the same for every run. The ranges
are those of cameras in general (fields of view of 37 to 80 degrees, from near the floor to 3 m high, the person 0.3 to
0.8 of the frame high) and were not fitted to any test set.

A camera aims at a place beside the person and moves along with it, so that every frame stays in view. Which way is up
is not recorded in camera-frame poses; it is taken from the mean trunk of all people whom the same camera saw.
"""

from dataclasses import dataclass, replace
from math import log, pi, radians

import torch
from jaxtyping import Float
from torch import Tensor

from dg.datasets.base import PoseDataset, content_digest
from dg.pose.batch import PoseBatch
from dg.pose.camera import Camera

NAME = "virtual_cameras"
CANDIDATES = 16
PERSON_M, ROOT_HEIGHT_M = 1.7, 0.9


@dataclass(frozen=True)
class CameraRanges:
    """focal: width-normalised, drawn evenly in its logarithm. fill: height of a standing person over the frame's.
    height_m: of the camera above the floor. distance_m: to the person. aim: how far from the middle the person stands,
    share of the half frame. roll_deg: half range.
    """

    focal: tuple[float, float] = (1.2, 3.0)
    fill: tuple[float, float] = (0.3, 0.8)
    height_m: tuple[float, float] = (0.2, 3.0)
    distance_m: tuple[float, float] = (1.5, 9.0)
    aim: float = 0.4
    roll_deg: float = 5.0


def seen_by_virtual_cameras(
    dataset: PoseDataset, reference: PoseBatch, views: int, ranges: CameraRanges | None = None, seed: int = 0
) -> PoseDataset:
    """See every clip of a data set by virtual cameras.

    Args:
        dataset: single frames with true 3D, in the frames of the cameras that saw them.
        reference: poses by which the vertical of each camera is found; those of the data set's source.
        views: virtual cameras a clip.
        ranges: of the cameras.
        seed: of the draw; the run's seed has no part in it.

    Returns:
        As many rows as the data set has, times `views`: ground-truth 2D of pinhole cameras, square frames.
    """
    ranges = ranges or CameraRanges()
    poses, clips = dataset.poses, dataset.clip.unique_consecutive(return_inverse=True)[1]
    up = vertical(poses, reference)
    centred = poses.root_relative[:, 0]
    random = torch.Generator().manual_seed(seed)
    joints, cameras = [], []
    for _ in range(views):
        seen, camera = _see(centred, up, clips, ranges, random)
        joints.append(seen)
        cameras.append(camera)
    seen = PoseBatch.from_joints(torch.cat(joints)[:, None], Camera.concatenate(cameras), poses.skeleton)
    count = int(clips.max()) + 1
    return replace(
        dataset,
        name=NAME,
        poses=seen.replace(valid=poses.valid.repeat(views)),
        subject=dataset.subject.repeat(views),
        action=dataset.action.repeat(views),
        clip=torch.cat([clips + view * count for view in range(views)]),
        digest=content_digest(seen.joints_3d, seen.joints_2d),
        notes={},
    )


def vertical(poses: PoseBatch, reference: PoseBatch) -> Float[Tensor, "poses 3"]:
    """Estimate the upward vertical in the camera frame of each pose, as the mean trunk of people whom its camera saw.

    Args:
        poses: the poses whose cameras are asked about.
        reference: poses of the same cameras, by which the vertical is estimated.

    Returns:
        Unit vectors in the camera frames. Poses whose camera saw none of the reference poses get the mean over all of
        them.
    """
    centre = reference.joints_3d.shape[1] // 2
    joints, skeleton = reference.joints_3d[:, centre], reference.skeleton
    trunk = torch.nn.functional.normalize(joints[:, skeleton.index("thorax")] - joints[:, skeleton.root], dim=-1)
    known, of_reference = _intrinsics(reference.camera).unique(dim=0, return_inverse=True)
    sums = trunk.new_zeros(len(known), 3).index_add(0, of_reference, trunk)
    own = (_intrinsics(poses.camera)[:, None] == known[None]).all(-1)
    found = own.to(trunk) @ sums + (~own.any(1, keepdim=True)).to(trunk) * trunk.sum(0)
    return torch.nn.functional.normalize(found, dim=-1)


def _intrinsics(camera: Camera) -> Float[Tensor, "poses 4"]:
    return torch.cat([camera.focal, camera.center], -1)


def _see(
    centred: Float[Tensor, "rows joints 3"], up: Tensor, clips: Tensor, ranges: CameraRanges, random: torch.Generator
) -> tuple[Tensor, Camera]:
    """One camera a clip: of several, the first that keeps all of it in the frame, or else the most."""
    count = int(clips.max()) + 1
    best = centred.new_full((count,), -1.0)
    joints, values = torch.zeros_like(centred), centred.new_zeros(count)
    for _ in range(CANDIDATES):
        draw = torch.rand(count, 7, generator=random).to(centred)
        focal, turned = _place(centred, up, draw[clips], ranges)
        camera = _camera(focal)
        inside = camera.in_frame(turned[:, None]).reshape(len(centred), -1).all(-1).to(centred)
        share = centred.new_zeros(count).index_add(0, clips, inside) / clips.bincount()
        better = share > best
        joints = torch.where(better[clips][:, None, None], turned, joints)
        values = torch.where(better, centred.new_zeros(count).index_put((clips,), focal), values)
        best = torch.maximum(best, share)
    return joints, _camera(values[clips])


def _place(
    centred: Float[Tensor, "rows joints 3"], up: Float[Tensor, "rows 3"], draw: Tensor, ranges: CameraRanges
) -> tuple[Float[Tensor, " rows"], Float[Tensor, "rows joints 3"]]:
    """Focal lengths, and the poses in the frames of their cameras. draw: uniform in [0, 1]."""

    def within(bounds: tuple[float, float], row: int) -> Tensor:
        return bounds[0] + (bounds[1] - bounds[0]) * draw[:, row]

    focal = within((log(ranges.focal[0]), log(ranges.focal[1])), 0).exp()
    distance = (focal * PERSON_M / (2 * within(ranges.fill, 1))).clamp(*ranges.distance_m)
    rise = (within(ranges.height_m, 2) - ROOT_HEIGHT_M) / distance
    elevation = torch.asin(rise.clamp(-0.7, 0.7))
    azimuth, roll = 2 * pi * draw[:, 3], radians(ranges.roll_deg) * (2 * draw[:, 4] - 1)
    ahead = torch.zeros_like(up)
    ahead[:, 2] = 1.0
    level = torch.nn.functional.normalize(ahead - (ahead * up).sum(-1, keepdim=True) * up, dim=-1)
    across = torch.linalg.cross(up, level)
    sideways = azimuth.cos()[:, None] * level + azimuth.sin()[:, None] * across
    forward = -(elevation.cos()[:, None] * sideways + elevation.sin()[:, None] * up)
    right = torch.nn.functional.normalize(torch.linalg.cross(forward, up), dim=-1)
    down = torch.linalg.cross(forward, right)
    cosine, sine = roll.cos()[:, None], roll.sin()[:, None]
    rotation = torch.stack([cosine * right + sine * down, cosine * down - sine * right, forward], 1)
    aim = ranges.aim * (2 * draw[:, 5:7] - 1) / focal[:, None]
    place = torch.cat([aim * distance[:, None], distance[:, None]], -1)
    return focal, centred @ rotation.mT + place[:, None]


def _camera(focal: Float[Tensor, " rows"]) -> Camera:
    pair = focal[:, None].expand(-1, 2).contiguous()
    return Camera(pair, torch.zeros_like(pair), pair.new_zeros(len(pair), 5), torch.ones_like(pair))
