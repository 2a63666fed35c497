"""`python -m tests.bench.data FILE`: what data cost, as one JSON object. FILE: a motion file in Human3.6M's format.

Processor seconds of loading all splits and seeing every pose by four cameras, on one thread; bytes of a loaded pose and
what Human3.6M's 1,559,752 training poses would take; seconds of all five metrics of 35,515 poses (3DPW's test set); and
the peak memory of this process.
"""

import argparse
import json
import resource
import sys
import time
from dataclasses import fields

import torch

from dg.datasets.h36m import Human36M, Options
from dg.evaluation.metrics import pose_errors
from dg.pose.batch import PoseBatch

HUMAN36M_TRAIN, PW3D_TEST = 1_559_752, 35_515


def bytes_per_pose(poses: PoseBatch) -> float:
    """Of every tensor of the batch, its cameras' included."""
    held = [getattr(poses, f.name) for f in fields(poses)]
    held += [getattr(poses.camera, f.name) for f in fields(poses.camera)]
    return sum(t.numel() * t.element_size() for t in held if isinstance(t, torch.Tensor)) / len(poses)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file")
    parser.add_argument("--stride", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    start, wall = time.process_time(), time.perf_counter()
    source = Human36M(Options(arguments.file, stride=arguments.stride))
    splits = [source.load(split) for split in source.splits]
    loading, loading_wall = time.process_time() - start, time.perf_counter() - wall
    size = bytes_per_pose(splits[0].poses)
    joints = splits[0].poses.joints_3d[:PW3D_TEST, 0]
    predicted = joints + 0.05 * torch.randn(joints.shape, generator=torch.Generator().manual_seed(0))
    start = time.process_time()
    pose_errors(predicted, joints)
    json.dump({
        "poses": sum(map(len, splits)),
        "load_and_project_s": round(loading, 2),
        "load_and_project_wall_s": round(loading_wall, 2),
        "bytes_per_pose": round(size),
        "human36m_train_gb": round(size * HUMAN36M_TRAIN / 1e9, 2),
        "evaluated_poses": len(joints),
        "evaluation_s": round(time.process_time() - start, 2),
        "peak_memory_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9, 2),
    }, sys.stdout, indent=1)  # fmt: skip
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
