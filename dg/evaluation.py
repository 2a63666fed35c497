"""Evaluation of a method on a data set: the same features and `predict` as in training, errors in millimetres."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from dg.datasets.base import PoseDataset
from dg.metrics import PoseErrors, pose_errors
from dg.pose.batch import PoseBatch
from dg.pose.windows import Windows
from lifters.base import Lifter

EVALUATION_FRAMES = 4096  # lifted at a time


@runtime_checkable
class Predictor(Protocol):
    """Lifts poses: a DG method, or a lifter that came from a file."""

    @property
    def lifter(self) -> Lifter: ...

    def predict(self, poses: PoseBatch) -> Tensor: ...


@dataclass(frozen=True)
class Evaluation:
    """Errors on one target under its protocol."""

    target: str
    protocol: str
    errors: PoseErrors


@torch.no_grad()
def predict_all(method: Predictor, poses: PoseBatch, flip_tta: bool = False, windows: Windows | None = None) -> Tensor:
    """Root-relative joints `[batch, joints, 3]` for every pose, metres.

    flip_tta: the mean of the prediction and of the un-flipped prediction of the mirror image (METHODS 2.7).
    windows: over the clips of `poses`; every pose is answered for once, by the frames that the lifter declares.
    """
    windows = windows or Windows.over(torch.arange(len(poses), device=poses.joints_3d.device), 1)
    tiles = windows.tiles(method.lifter.target_frames(windows.frames))
    chunk = max(1, EVALUATION_FRAMES // windows.frames)
    found = torch.empty_like(poses.joints_3d[:, 0])
    for start in range(0, len(tiles.anchor), chunk):
        part = slice(start, start + chunk)
        batch = windows.gather(poses, tiles.anchor[part], tiles.ahead)
        predicted = method.predict(batch)
        if flip_tta:
            predicted = (predicted + flipped_prediction(method, batch)) / 2
        answers = tiles.answers[part]
        found[answers[answers >= 0]] = predicted[answers >= 0]
    return found


def flipped_prediction(method: Predictor, batch: PoseBatch) -> Tensor:
    """What the method says of the mirror image, mirrored back."""
    mirrored = method.predict(batch.flip())[..., list(batch.skeleton.flip), :]
    return mirrored * mirrored.new_tensor([-1.0, 1.0, 1.0])


def evaluate(method: Predictor, dataset: PoseDataset, depth_label: str, frames: int = 1) -> Evaluation:
    """Errors of a method on a data set of single frames, which carry depth if the inputs need it.

    frames: length of the windows that the lifter sees. Every row counts, whatever its `valid`: a protocol's frame
    count does not depend on what could be drawn.
    """
    poses = dataset.poses
    windows = Windows.over(dataset.clip.to(poses.joints_3d.device), frames)
    predicted = predict_all(method, poses, dataset.flip_tta, windows)
    errors = pose_errors(predicted, poses.joints_3d[:, 0], poses.skeleton.root, dataset.action)
    return Evaluation(dataset.name, dataset.protocol(depth_label), errors)
