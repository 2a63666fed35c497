"""`python -m tests.bench.evaluation [FRAMES]`: processor time of evaluation on one thread, as one JSON object.

FRAMES defaults to 35,515, 3DPW's test set. Random poses; the best of five, in processor seconds, which other work on
the machine changes little. `released_pa_s`: PA-MPJPE as a batched numpy SVD in single precision, the way released
evaluation code goes about it, for comparison. `lift_s`: the full-size simple baseline without test-time augmentation,
0.30 TFLOP.
"""

import json
import sys
import time
from collections.abc import Callable

import numpy as np
import torch

from dg.datasets.base import PoseDataset
from dg.evaluation.metrics import pose_errors, root_aligned_mm, similarity_aligned
from dg.evaluation.predictions import LifterPredictor, predict_all
from dg.methods.fast_matmul import use_fast_matmul
from dg.pose.batch import InputSpec, PoseBatch
from dg.pose.skeleton import H36M_16
from lifters.simple_baseline import SimpleBaseline, SimpleBaselineOptions
from tests.conftest import make_camera, make_joints

FRAMES = 35_515
REPEATS = 5


def best(work: Callable[[], object]) -> float:
    times = []
    for _ in range(REPEATS):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return round(min(times), 4)


def released_pa(predicted: np.ndarray, target: np.ndarray) -> float:
    x, y = (pose - pose.mean(1, keepdims=True) for pose in (target, predicted))
    x_size, y_size = (np.sqrt((pose**2).sum((1, 2), keepdims=True)) for pose in (x, y))
    left, singular, right = np.linalg.svd((x / x_size).transpose(0, 2, 1) @ (y / y_size))
    sign = np.sign(np.linalg.det(left @ right))
    left[:, :, -1] *= sign[:, None]
    singular[:, -1] *= sign
    scale = singular.sum(1)[:, None, None] * x_size / y_size
    return float(np.linalg.norm(scale * (y @ (left @ right).transpose(0, 2, 1)) - x, axis=-1).mean())


def dataset(frames: int) -> PoseDataset:
    poses = PoseBatch.from_joints(make_joints(frames, 16)[:, None], make_camera(frames), H36M_16)
    zeros = torch.zeros(frames, dtype=torch.int64)
    return PoseDataset("random", poses, zeros, zeros, zeros, ("one",), ("all",), 30.0, "0")


def mpjpe_and_pa_mpjpe(predicted: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    p, t = root_aligned_mm(predicted, target)
    return (p - t).norm(dim=-1).mean(-1), (similarity_aligned(p, t) - t).norm(dim=-1).mean(-1)


def main(words: list[str]) -> None:
    torch.set_num_threads(1)
    use_fast_matmul()
    frames = int(words[0]) if words else FRAMES
    data = dataset(frames)
    target = data.poses.root_relative[:, 0]
    predicted = target + 0.05 * torch.randn_like(target)
    lifter = LifterPredictor(SimpleBaseline(H36M_16, 2, SimpleBaselineOptions()), InputSpec("xy", "off"))
    arrays = predicted.numpy(), target.numpy()
    print(json.dumps({
        "frames": frames,
        "mpjpe_and_pa_mpjpe_s": best(lambda: mpjpe_and_pa_mpjpe(predicted, target)),
        "all_five_metrics_s": best(lambda: pose_errors(predicted, target, 0, data.action).summary()),
        "released_pa_s": best(lambda: released_pa(*arrays)),
        "lift_s": best(lambda: predict_all(lifter, data.poses)),
        "pa_mpjpe_difference_mm": abs(
            1000 * released_pa(*arrays) - float(mpjpe_and_pa_mpjpe(predicted, target)[1].mean())
        ),
    }, indent=1))  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1:])
