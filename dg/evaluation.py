"""Evaluation of a method on a data set: the same features and `predict` as in training, errors in millimetres."""

from dataclasses import dataclass

import torch
from torch import Tensor

from dg.datasets.base import PoseDataset
from dg.methods.base import DGMethod
from dg.metrics import PoseErrors, pose_errors
from dg.pose.batch import PoseBatch

EVALUATION_BATCH = 4096


@dataclass(frozen=True)
class Evaluation:
    """Errors on one target under its protocol."""

    target: str
    protocol: str
    errors: PoseErrors


@torch.no_grad()
def predict_all(method: DGMethod, poses: PoseBatch, flip_tta: bool = False) -> Tensor:
    """Root-relative joints `[batch, joints, 3]` for every pose, metres.

    flip_tta: the mean of the prediction and of the un-flipped prediction of the mirror image (METHODS 2.7).
    """
    order = list(poses.skeleton.flip)
    parts = []
    for start in range(0, len(poses), EVALUATION_BATCH):
        batch = poses[start : start + EVALUATION_BATCH]
        predicted = method.predict(batch)[:, 0]
        if flip_tta:
            mirrored = method.predict(batch.flip())[:, 0][:, order]
            predicted = (predicted + mirrored * mirrored.new_tensor([-1.0, 1.0, 1.0])) / 2
        parts.append(predicted)
    return torch.cat(parts)


def evaluate(method: DGMethod, dataset: PoseDataset, depth_label: str) -> Evaluation:
    """Errors of a method on a data set whose poses carry depth if the inputs need it.

    Every row counts, whatever its `valid`: a protocol's frame count does not depend on what could be drawn.
    """
    middle = dataset.poses.joints_3d.shape[1] // 2
    predicted = predict_all(method, dataset.poses, dataset.flip_tta)
    errors = pose_errors(predicted, dataset.poses.joints_3d[:, middle], dataset.poses.skeleton.root, dataset.action)
    return Evaluation(dataset.name, dataset.protocol(depth_label), errors)
