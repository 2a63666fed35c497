"""Small photographs on disk, people's joints in them, and slow twins of what is extracted."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from dg.images.reading import read_image
from render_workers.depth.depth_anything_network import DepthAnythingNetwork
from tests.conftest import make_camera, make_joints

WIDTH, HEIGHT = 120, 96


def write_photos(folder: Path, count: int, seed: int = 0, portrait_every: int = 7) -> list[str]:
    """Smooth coloured noise, some upright, in two folders; returns names in the order that they are found."""
    rng = np.random.default_rng(seed)
    names = []
    for number in range(count):
        coarse = rng.integers(0, 255, (8, 6, 3), dtype=np.uint8)
        size = (HEIGHT, WIDTH) if number % portrait_every == portrait_every - 1 else (WIDTH, HEIGHT)
        name = f"{'ab'[number >= count // 2]}/{number}.png"
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(folder / name)
        names.append(name)
    return names


def people_in(names: list[str], folder: Path, seed: int = 0) -> dict[str, np.ndarray]:
    """A person for each image, two for every fifth; some joints beyond the image, some unknown."""
    rows = [name for number, name in enumerate(names) for _ in range(1 + (number % 5 == 4))]
    flat = make_camera(len(rows)).project(make_joints(len(rows), seed=seed)[:, None])[:, 0].numpy()
    rng = np.random.default_rng(seed)
    sizes = np.array([Image.open(folder / name).size for name in rows], np.float32)
    joints = ((flat * 2.5 + 1) * sizes[:, None] / 2).astype(np.float32)
    joints[rng.random(joints.shape[:2]) < 0.05] = np.nan
    confidence = rng.uniform(0, 1, joints.shape[:2]).astype(np.float32)
    return {"image": np.array(rows), "joints_2d": joints, "confidence": confidence}


def slow_depths(path: Path, joints: np.ndarray, confidence: np.ndarray, network: DepthAnythingNetwork) -> np.ndarray:
    """`[joints, 3]`, one image and one joint at a time."""
    image = read_image(path)
    rgb = torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float() / 255
    depth = network(rgb)[0].numpy()
    height, width = depth.shape
    found = np.full((len(joints), 3), np.nan, np.float32)
    v, u = np.mgrid[:height, :width]
    for number, joint in enumerate(joints):
        if not np.isfinite(joint).all():
            continue
        radius = (3 + 27 * (1 - confidence[number])) * max(width, height) / 1000
        u0, v0 = np.clip(np.floor(joint), 0, [width - 1, height - 1])
        inside = depth[(u - u0) ** 2 + (v - v0) ** 2 <= radius**2]
        found[number] = np.median(inside), inside.min(), inside.max()
    return found
