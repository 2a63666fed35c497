"""Where the errors on a target lie: by joint, by action, by the camera's elevation, and the poses to look at."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from dg.augment.viewpoint import viewpoint_deg
from dg.datasets.base import PoseDataset
from dg.evaluation.metrics import PoseErrors, root_aligned_mm

ELEVATION_STEP_DEG = 15
EXAMPLES = 3  # of the worst, the median and the best poses each
_CHUNK = 65_536


def error_details(
    predicted: Float[Tensor, "rows joints 3"], dataset: PoseDataset, errors: PoseErrors
) -> dict[str, Any]:
    """Return where the errors of an evaluation lie, as plain containers.

    Args:
        predicted: root-relative joints, metres.
        dataset: what was lifted.
        errors: of the same rows.

    Returns:
        `joints`: mean error of each joint, mm. `actions`: the means of each action; none without actions. `elevation`:
        rows of `from_deg`, `n`, `mpjpe_mm`, by the camera's elevation against the trunk. `examples`: the worst, median
        and best poses with `which`, `row`, `mpjpe_mm`, `action`, `predicted` and `truth` (metres, root-relative).
    """
    truth, skeleton = dataset.poses.joints_3d[:, 0], dataset.poses.skeleton
    joints = torch.zeros(len(skeleton), dtype=torch.float64)
    for start in range(0, len(truth), _CHUNK):
        part = slice(start, start + _CHUNK)
        p, t = root_aligned_mm(predicted[part], truth[part], skeleton.root)
        joints += torch.linalg.vector_norm(p - t, dim=-1).sum(0).cpu()
    per_action = {} if errors.action is None else errors.per_action(dataset.actions)
    return {
        "joints": dict(zip(skeleton.joints, (joints / len(truth)).tolist(), strict=True)),
        "actions": per_action,
        "elevation": _by_elevation(viewpoint_deg(truth, skeleton)[1], errors.mpjpe_mm),
        "examples": _examples(predicted, dataset, errors.mpjpe_mm),
    }


def _by_elevation(elevation: Float[Tensor, " rows"], error: Float[Tensor, " rows"]) -> list[dict[str, float]]:
    seen = elevation.isfinite()
    bins = (elevation[seen] / ELEVATION_STEP_DEG).floor().long()
    rows = []
    for number in bins.unique().tolist():
        own = error[seen][bins == number]
        rows.append({"from_deg": number * ELEVATION_STEP_DEG, "n": len(own), "mpjpe_mm": float(own.mean())})
    return rows


def _examples(
    predicted: Float[Tensor, "rows joints 3"], dataset: PoseDataset, error: Float[Tensor, " rows"]
) -> list[dict[str, Any]]:
    order = error.argsort()
    count = min(EXAMPLES, len(order))
    middle = max(0, len(order) // 2 - count // 2)
    chosen = {"worst": order.flip(0)[:count], "median": order[middle : middle + count], "best": order[:count]}
    truth, root = dataset.poses.joints_3d[:, 0], dataset.poses.skeleton.root
    rows = [(which, row) for which, found in chosen.items() for row in found.tolist()]
    return [
        {
            "which": which,
            "row": row,
            "mpjpe_mm": round(float(error[row]), 2),
            "action": dataset.actions[int(dataset.action[row])] if dataset.actions else "",
            "predicted": _plain(predicted[row] - predicted[row, root]),
            "truth": _plain(truth[row] - truth[row, root]),
        }
        for which, row in rows
    ]


def _plain(pose: Float[Tensor, "joints 3"]) -> list[list[float]]:
    return [[round(value, 4) for value in joint] for joint in pose.double().cpu().tolist()]
