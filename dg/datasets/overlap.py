"""Whether a test set holds poses that were trained on: an error on those says nothing about new people or cameras."""

import numpy as np
from jaxtyping import UInt64

from dg.datasets.base import DataError, PoseDataset
from dg.datasets.laws import REFUSE

_LARGEST_SHARE = 0.01  # of a test set; a few poses may be equal by chance, as rest poses of made-up motion are


def shared_poses(train: PoseDataset, target: PoseDataset) -> int:
    """Count the poses of a test set whose 3D is, bit for bit, that of a training pose.

    Args:
        train: the source's training part.
        target: on the same skeleton; another skeleton shares nothing.
    """
    if train.poses.skeleton is not target.poses.skeleton:
        return 0
    return int(np.isin(_words(target), _words(train)).sum())


def check_unseen(train: PoseDataset, target: PoseDataset, checks: str = REFUSE) -> None:
    """Raise DataError where a test set's poses were trained on, unless `data.checks=warn`.

    Args:
        train: the source's training part.
        target: a test set.
        checks: `refuse` or `warn`.
    """
    shared = shared_poses(train, target)
    if checks == REFUSE and shared > _LARGEST_SHARE * len(target):
        raise DataError(
            f"{target.name}: {shared:,} of {len(target):,} test poses are training poses of {train.name}, bit for bit; "
            "choose other parts for one of them (of 3DPW, whole=true in the source trains on the test part), or "
            "data.checks=warn to go on"
        )


def _words(data: PoseDataset) -> UInt64[np.ndarray, " poses"]:
    """A number for each pose, of the bits of its absolute joints."""
    joints = data.poses.joints_3d[:, data.poses.joints_3d.shape[1] // 2].contiguous().cpu().numpy()
    bits = joints.reshape(len(joints), -1).view(np.uint32)
    factors = np.random.default_rng(0).integers(1, 2**63, bits.shape[1], np.uint64) | np.uint64(1)
    words = np.zeros(len(bits), np.uint64)
    for column, factor in enumerate(factors):  # column by column: a data set has millions of poses
        words += bits[:, column] * factor
    return words
