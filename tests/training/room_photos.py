"""Pictures of the open body in a room, on disk, and a data set of the people in them: what AugLift trains on, in small.

The brightness of a pixel is how near its surface is, so that the stand-in network of tests.images.image_depth_source
reads metres. The wall is behind everybody.
"""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from dg.body.open_body import OpenBody
from dg.datasets.synthetic import Options, Synthetic
from dg.settings.plugins import resolve
from render_workers import RASTERIZERS

SIZE = 160
FAR_M, RANGE_M = 12.0, 11.0
NETWORK = ["depth=brightness", f"depth.far_m={FAR_M}", f"depth.range_m={RANGE_M}"]
TRAINED_FOCAL = 1.5  # the camera that the stand-in knows
PEOPLE = 4


def write_room(folder: Path, clips: int = 8, frames: int = 6, seed: int = 0) -> Path:
    """A picture a frame below `folder/photos`, and `folder/people.npz`; returns the latter's path."""
    data = Synthetic(Options("near", clips=clips, frames=frames, seed=seed)).load("test")
    poses = data.poses
    camera = poses.camera
    body = OpenBody(OpenBody.Options())
    vertices = body.skin(body.fit(poses.joints_3d[:, 0], poses.skeleton))
    rasterizer = resolve(RASTERIZERS, "rasterizer", "warp")(body.faces, "cpu")
    # The frame is square: normalised coordinates span [-1, 1] both ways.
    focal_px, center_px = camera.focal * SIZE / 2, (camera.center + 1) * SIZE / 2
    depth, _ = rasterizer.zbuffer(vertices, focal_px, center_px, SIZE)
    # As the network's one camera sees it; reading the file brings its metres back to each row's own.
    depth = depth * (TRAINED_FOCAL / (camera.focal.mean(-1) / 2))[:, None, None]
    grey = ((FAR_M - depth.clamp(FAR_M - RANGE_M, FAR_M)) / RANGE_M * 255).round().to(torch.uint8).numpy()
    names = [f"{number:04d}.png" for number in range(len(poses))]
    (folder / "photos").mkdir(parents=True)
    for name, picture in zip(names, grey, strict=True):
        Image.fromarray(np.stack([picture] * 3, -1)).save(folder / "photos" / name)
    clip = data.clip.numpy()
    np.savez(
        folder / "people.npz",
        pose3d=poses.joints_3d[:, 0].numpy(),
        pose2d=camera.project(poses.joints_3d)[:, 0].numpy(),
        intrinsics=torch.cat([camera.focal, camera.center], -1).numpy(),
        subject=np.array([f"p{n % PEOPLE}" for n in clip]),
        clip=np.array([f"take {n}" for n in clip]),
        image=np.array(names),
    )
    return folder / "people.npz"
