"""Held-out source poses as other cameras would see them: a validation of viewpoint that needs no target.

A run that is selected on the source's own cameras never learns what new viewpoints cost. Here each held-out clip is
seen by virtual cameras of many focal lengths, distances and heights, drawn once and the same for every run. The ranges
are those of cameras in general (fields of view of 37 to 80 degrees, from near the floor to 3 m high, the person 0.3 to
0.8 of the frame high) and were not fitted to any test set.

A camera aims at a place beside the person and moves along with it, so that every frame stays in view. Which way is up
is not recorded in camera-frame poses; it is taken from the mean trunk of all people whom the same camera saw.
"""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from dg.augment.virtual_views import DRAWS, CameraRanges, place_views, square_camera, vertical
from dg.datasets.base import PoseDataset, content_digest
from dg.pose.batch import PoseBatch
from dg.pose.camera import Camera

NAME = "virtual_cameras"
CANDIDATES = 16


def seen_by_virtual_cameras(dataset: PoseDataset, reference: PoseBatch, views: int, seed: int = 0) -> PoseDataset:
    """See every clip of a data set by virtual cameras.

    Args:
        dataset: single frames with true 3D, in the frames of the cameras that saw them.
        reference: poses by which the vertical of each camera is found; those of the data set's source.
        views: virtual cameras a clip.
        seed: of the draw; the run's seed has no part in it.

    Returns:
        As many rows as the data set has, times `views`: ground-truth 2D of pinhole cameras, square frames.
    """
    ranges = CameraRanges()
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


def _see(
    centred: Float[Tensor, "rows joints 3"], up: Tensor, clips: Tensor, ranges: CameraRanges, random: torch.Generator
) -> tuple[Tensor, Camera]:
    """One camera a clip: of several, the first that keeps all of it in the frame, or else the most."""
    count = int(clips.max()) + 1
    best = centred.new_full((count,), -1.0)
    joints, values = torch.zeros_like(centred), centred.new_zeros(count)
    for _ in range(CANDIDATES):
        draw = torch.rand(count, DRAWS, generator=random).to(centred)
        focal, turned = place_views(centred, up, draw[clips], ranges)
        camera = square_camera(focal)
        inside = camera.in_frame(turned[:, None]).reshape(len(centred), -1).all(-1).to(centred)
        share = centred.new_zeros(count).index_add(0, clips, inside) / clips.bincount()
        better = share > best
        joints = torch.where(better[clips][:, None, None], turned, joints)
        values = torch.where(better, centred.new_zeros(count).index_put((clips,), focal), values)
        best = torch.maximum(best, share)
    return joints, square_camera(values[clips])
