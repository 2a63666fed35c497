"""Speed of depth in disks on one thread: `python -m tests.bench.uadd` prints one JSON object.

All joints of many images at once against a loop over joints, each read with numpy. `crops`: 256 maps of 128 pixels, as
a render worker makes them, with the radii that the linear law gives there to detections as they are made up where a
tenth of the joints is hidden; `hidden_crops`: where half of them is. `full_frames`: 16 maps of 1000 pixels with radii
of 3 to 30 pixels. CPU time of this process, the best of several runs; `largest_difference` in metres.
"""

import json
import time
from collections.abc import Callable

import numpy as np
import torch

from dg.pose.detections import SyntheticDetector
from render_workers.base import BACKGROUND
from render_workers.uadd import disk_statistics

JOINTS = 17
# Pixels of a crop that spans 100 pixels of a person, for one of a frame 1000 wide: of Human3.6M's people at 5 m.
CROP = 0.27


def statistics_by_loop(depth: np.ndarray, joints_px: np.ndarray, radius_px: np.ndarray) -> np.ndarray:
    """What `disk_statistics` finds, one joint after another: the slow twin of test and benchmark."""
    images, joints = radius_px.shape
    height, width = depth.shape[1:]
    found = np.full((images, joints, 3), np.nan, np.float32)
    for image in range(images):
        for joint in range(joints):
            u, v = np.floor(joints_px[image, joint]).astype(int).clip(0, (width - 1, height - 1))
            radius = radius_px[image, joint]
            reach = int(radius)
            rows = np.arange(max(0, v - reach), min(height, v + reach + 1))
            columns = np.arange(max(0, u - reach), min(width, u + reach + 1))
            square = np.square(rows - v)[:, None] + np.square(columns - u)
            values = depth[image, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1][square <= radius * radius]
            values = values[values < BACKGROUND]
            if len(values):
                found[image, joint] = np.median(values), values.min(), values.max()
    return found


def seconds(run: Callable[[], object], times: int) -> float:
    best = float("inf")
    for _ in range(times):
        start = time.process_time()
        run()
        best = min(best, time.process_time() - start)
    return best


def case(confidence: torch.Tensor, side: int, scale: float, random: torch.Generator) -> dict[str, float]:
    depth = 4 + 0.5 * torch.rand(len(confidence), side, side, generator=random)
    joints = side * (0.11 + 0.78 * torch.rand(*confidence.shape, 2, generator=random))  # a crop's margin is 14 of 128
    radius = scale * (3 + 27 * (1 - confidence))
    arrays = depth.numpy(), joints.numpy(), radius.numpy()
    loop = seconds(lambda: statistics_by_loop(*arrays), 2)
    ours = seconds(lambda: disk_statistics(depth, joints, radius), 20)
    difference = disk_statistics(depth, joints, radius).numpy() - statistics_by_loop(*arrays)
    return {
        "mean_radius_px": round(radius.mean().item(), 2),
        "loop_us_per_joint": round(1e6 * loop / confidence.numel(), 2),
        "ours_us_per_joint": round(1e6 * ours / confidence.numel(), 3),
        "times_faster": round(loop / ours, 1),
        "largest_difference": float(np.abs(difference).max()),
    }


def confidences(images: int, hidden: float, random: torch.Generator) -> torch.Tensor:
    """Of joints a part of which is hidden, as `dg.pose.detections` makes them up."""
    detector, shape = SyntheticDetector(), (images, JOINTS)
    clear, low = detector.confidence
    mean = torch.where(torch.rand(shape, generator=random) < hidden, low, clear)
    return (mean + detector.confidence_sigma * torch.randn(shape, generator=random)).clamp(0, 1)


def main() -> None:
    torch.set_num_threads(1)
    random = torch.Generator().manual_seed(0)
    print(json.dumps({
        "crops": case(confidences(256, 0.1, random), 128, CROP, random),
        "hidden_crops": case(confidences(256, 0.5, random), 128, CROP, random),
        "full_frames": case(torch.rand(16, JOINTS, generator=random), 1000, 1.0, random),
    }, indent=1))  # fmt: skip


if __name__ == "__main__":
    main()
