"""Photographs of rendered people in a room, of which everything is known."""

from dataclasses import dataclass

import numpy as np
import torch

from dg.body.open_body import OpenBody
from dg.images.people import Person
from dg.pose.skeleton import COCO_17, H36M_17
from render_workers.rasterizers.warp_zbuffer import WarpZBuffer
from render_workers.shading import Headlight, Look
from tests.conftest import make_joints

FLOOR_M, WALL_M = 1.05, 7.5
_SKIN = np.array([0.93, 0.78, 0.68])
# What COCO has and Human3.6M has not, as (joint, shift in metres) of a person who faces the camera.
_FACE = {
    "nose": ("neck", (0, 0, 0)), "left_eye": ("head", (0.03, 0, 0)), "right_eye": ("head", (-0.03, 0, 0)),
    "left_ear": ("head", (0.07, 0.02, 0.06)), "right_ear": ("head", (-0.07, 0.02, 0.06)),
}  # fmt: skip


@dataclass(frozen=True)
class Photo:
    """rgb: bytes. depth: metres. joints_3d: `[people, 17, 3]`, Human3.6M's joints, camera frame. people: as a detector
    without errors finds them.
    """

    rgb: np.ndarray
    depth: np.ndarray
    joints_3d: torch.Tensor
    people: list[Person]
    focal_px: float


def two_people() -> torch.Tensor:
    joints = make_joints(2, 17, noise=0.02, seed=3)
    joints = joints - joints[:, :1]
    return joints + torch.tensor([[[-0.5, 0.1, 4.0]], [[0.7, 0.12, 5.2]]])


def photograph(joints_3d: torch.Tensor, width: int = 480, height: int = 360, focal_px: float = 420.0) -> Photo:
    body = OpenBody()
    side = max(width, height)
    focal, centre = torch.full((1, 2), focal_px), torch.tensor([[width / 2, height / 2]])
    rgb, depth = _room(width, height, focal_px)
    shade = Headlight(body.faces, Look(ambient=0.35))
    for joints in joints_3d:
        vertices = body.skin(body.fit(joints[None], H36M_17))
        zbuffer, seen = WarpZBuffer(body.faces).zbuffer(vertices, focal, centre, side)
        grey = shade(vertices, zbuffer, seen, focal, centre)[0, 0, :height, :width].numpy()
        z = zbuffer[0, :height, :width].numpy()
        nearer = z < depth
        rgb[nearer] = grey[nearer][:, None] * _SKIN
        depth[nearer] = z[nearer]
    people = [_detected(joints, centre[0], focal_px) for joints in joints_3d]
    return Photo((rgb * 255).clip(0, 255).astype(np.uint8), depth, joints_3d, people, focal_px)


def _room(width: int, height: int, focal_px: float) -> tuple[np.ndarray, np.ndarray]:
    """A checked floor and a plain wall."""
    x = (np.arange(width) + 0.5 - width / 2) / focal_px
    y = (np.arange(height) + 0.5 - height / 2) / focal_px
    x, y = np.meshgrid(x, y)
    floor = np.where(y > 0, FLOOR_M / np.maximum(y, 1e-6), np.inf)
    depth = np.minimum(floor, WALL_M)
    checks = (np.floor(x * depth / 0.5) + np.floor(depth / 0.5)) % 2
    grey = np.where(floor < WALL_M, 0.45 + 0.12 * checks, 0.72 - 0.1 * np.abs(x))
    return grey[..., None] * np.array([0.95, 1.0, 1.05]), depth.astype(np.float32)


def _detected(joints: torch.Tensor, centre: torch.Tensor, focal_px: float) -> Person:
    places = []
    for name in COCO_17.joints:
        joint, shift = _FACE.get(name, (name, (0, 0, 0)))
        places.append(joints[H36M_17.index(joint)] + torch.tensor(shift, dtype=torch.float32))
    points = torch.stack(places)
    pixels = (points[:, :2] / points[:, 2:] * focal_px + centre).numpy()
    margin = 0.08 * np.ptp(pixels, axis=0)
    box = np.concatenate([pixels.min(0) - margin, pixels.max(0) + margin])
    confidence = np.linspace(0.95, 0.6, len(pixels), dtype=np.float32)
    confidence[COCO_17.index("right_wrist")] = 0.2
    return Person(box.astype(np.float32), 0.9, pixels.astype(np.float32), confidence)
