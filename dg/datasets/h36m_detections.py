"""2D detections for Human3.6M in VideoPose3D's format, `data_2d_h36m_NAME.npz` (Pavllo et al., CVPR 2019).

`positions_2d` -> {subject: {action: [four arrays [frames, joints, 2]]}}, pixels, cameras in the order of our table;
`metadata` names the joints' layout by the indices of the left and right ones. The file that PoseAug calls `hr` has no
metadata and 16 joints. A third column, where there is one, is the detector's confidence; otherwise none is known.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from dg.datasets import h36m_cameras
from dg.datasets.base import DataError
from dg.datasets.h36m_room import VIEWS
from dg.datasets.validation import check_shape, read_arrays
from dg.pose.camera import normalise_pixels
from dg.pose.joint_map import convert_joints
from dg.pose.skeleton import COCO_17, H36M_16, H36M_17, Skeleton

LAYOUTS = (H36M_17, COCO_17, H36M_16)
FARTHEST = 0.25  # median distance of a take's detections from the projection, width-normalised (125 px of 1000)
EVERY = 16  # frames between those that are looked at


@dataclass(frozen=True)
class Detections:
    """A file's content: joints of `skeleton` by subject and action. `take_2d` empties it."""

    path: Path
    skeleton: Skeleton
    positions: dict[str, dict[str, Any]]


def unboxed(values: np.ndarray) -> Any:  # noqa: ANN401 - a container of any kind
    """The object that numpy stores as an array of one."""
    return values.item() if values.dtype == object and values.size == 1 else values


def read_detections(path: Path) -> Detections:
    """Raises DataError naming the file: missing, damaged, another layout."""
    arrays = read_arrays(path, ["positions_2d"], allow_objects=["positions_2d", "metadata"])
    positions = unboxed(arrays["positions_2d"])
    if not isinstance(positions, dict) or not all(isinstance(v, dict) for v in positions.values()):
        raise DataError(
            f"{path}: expected positions_2d as {{subject: {{action: four arrays}}}}, got {type(positions).__name__}"
        )
    metadata = unboxed(arrays["metadata"]) if "metadata" in arrays else {}
    return Detections(path, _layout(path, positions, metadata), positions)


def take_2d(
    detections: Detections, subject: str, action: str, seen: Float[Tensor, "cameras frames joints 3"]
) -> tuple[Float[Tensor, "cameras kept joints 2"], Float[Tensor, "cameras kept joints"] | None]:
    """Detections of one take as H36M-17 joints, width-normalised, and their confidence.

    kept: the frames that 3D and all four cameras have, as VideoPose3D shortens them. seen: the 3D in the four cameras.
    Raises DataError for a take that is missing, malformed, or of other poses than these.
    """
    path, skeleton = detections.path, detections.skeleton
    what = f"{path}: positions_2d[{subject!r}][{action!r}]"
    # Taken out, so that the file's content does not stay in memory beside what is made of it.
    views = detections.positions.get(subject, {}).pop(action, None)
    if not isinstance(views, list | tuple | np.ndarray) or len(views) != VIEWS:
        raise DataError(f"{what}: expected {VIEWS} arrays, one a camera, got {_described(views)}")
    for camera, view in enumerate(views):
        if not isinstance(view, np.ndarray) or view.ndim != 3:
            raise DataError(f"{what}[{camera}]: expected numbers [frames, joints, 2], got {_described(view)}")
        columns = 3 if view.shape[-1] == 3 else 2
        check_shape(view, (None, len(skeleton), columns), f"{what}[{camera}]")
    kept = min(seen.shape[1], *(len(view) for view in views))
    values = torch.from_numpy(np.stack([np.asarray(view[:kept], dtype=np.float32) for view in views]))
    if not values.isfinite().all():
        raise DataError(f"{what}: expected finite pixels, found NaN or infinity")
    if values[..., :2].abs().max() < 3:
        raise DataError(f"{what}: expected pixels, but no coordinate reaches 3: already normalised?")
    sizes = torch.tensor([c.size for c in h36m_cameras.INTRINSICS], dtype=torch.float32)
    joints_2d = convert_joints(normalise_pixels(values[..., :2], sizes), skeleton, H36M_17)
    _check_pose(joints_2d, h36m_cameras.intrinsics().project(seen[:, :kept:EVERY]), what)
    if values.shape[-1] == 2:
        return joints_2d, None
    return joints_2d, convert_joints(values[..., 2:].clamp(0, 1), skeleton, H36M_17)[..., 0]


def _check_pose(
    found: Float[Tensor, "cameras kept joints 2"], projected: Float[Tensor, "cameras some joints 2"], what: str
) -> None:
    found = found[:, ::EVERY]
    gap = (found - projected).norm(dim=-1).median()
    swapped = (found[..., list(H36M_17.flip), :] - projected).norm(dim=-1).median()
    if gap > FARTHEST:
        raise DataError(
            f"{what}: half of the joints lie more than {gap:.2f} (of half the width) from the projected 3D: other "
            "frames, another camera order or another image size"
        )
    if swapped < 0.5 * gap:
        raise DataError(
            f"{what}: the joints lie {gap:.3f} from the projected 3D, but {swapped:.3f} with left and right swapped; "
            "check the joint order"
        )


def _layout(path: Path, positions: dict[str, Any], metadata: Any) -> Skeleton:  # noqa: ANN401
    symmetry = metadata.get("keypoints_symmetry") if isinstance(metadata, dict) else None
    if symmetry is None:
        some = next((v for actions in positions.values() for views in actions.values() for v in views), None)
        joints = some.shape[1] if isinstance(some, np.ndarray) and some.ndim == 3 else None
        found = next((s for s in (H36M_17, H36M_16) if len(s) == joints), None)
        stated = f"{joints} joints and no metadata"
    else:
        left, right = ({int(j) for j in side} for side in symmetry)
        found = next((s for s in LAYOUTS if set(s.left) == left and set(s.right) == right), None)
        stated = f"left {sorted(left)}, right {sorted(right)}"
    if found is None:
        raise DataError(f"{path}: expected one of the layouts {[s.name for s in LAYOUTS]}, got {stated}")
    return found


def _described(value: Any) -> str:  # noqa: ANN401
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {list(value.shape)}"
    return f"{type(value).__name__}" + (f" of {len(value)}" if isinstance(value, list | tuple) else "")
