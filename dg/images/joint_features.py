"""Features of networks at the joints of people in an image (METHODS 4.6), by the same reader as for renders."""

import numpy as np
import torch
from jaxtyping import Float16, Float32, UInt8

from render_workers.feature_maps import FeatureMap
from render_workers.joint_features import FeatureReader


def features_at_joints(
    reader: FeatureReader,
    image: UInt8[np.ndarray, "height width 3"],
    joints_px: Float32[np.ndarray, "people joints 2"],
    depth_map: FeatureMap | None,
    device: torch.device,
) -> Float16[np.ndarray, "people joints channels"]:
    """What the networks of a reader say of an image at people's joints.

    Args:
        reader: with the pose network, where its features are wanted.
        image: RGB.
        joints_px: joints in pixels of the image; NaN where unknown.
        depth_map: last map of the depth network over the image; None where its features are not wanted.
        device: that the pose network computes on.

    Returns:
        Features, those of the depth network first; zero at a joint that is unknown.
    """
    joints = torch.from_numpy(joints_px)
    known = joints.isfinite().all(-1)
    # An unknown joint moves no box; of a person without any, the middle of the image is looked at.
    middle = torch.tensor([image.shape[1] / 2, image.shape[0] / 2])
    some = torch.where(known[..., None], joints, 0.0).sum(1) / known.sum(1)[:, None]
    inside = torch.where(known[..., None], joints, torch.where(some.isfinite(), some, middle)[:, None]).to(device)
    count = len(inside)
    rgb = rgb_batch(image[None], device).expand(count, -1, -1, -1) if reader.needs_rgb else None
    of_all = None if depth_map is None else depth_map.expanded(count)
    found = reader.read_at(of_all, rgb, inside, inside).cpu()
    return torch.where(known[..., None], found, torch.zeros_like(found)).numpy()


def rgb_batch(images: UInt8[np.ndarray, "images height width 3"], device: torch.device) -> torch.Tensor:
    """Images as networks take them: `[images, 3, height, width]` in [0, 1].

    Args:
        images: RGB, of one size.
        device: that they are needed on.
    """
    return torch.from_numpy(images).to(device).permute(0, 3, 1, 2).float() / 255
