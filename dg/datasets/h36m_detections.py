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
from dg.datasets.detected_2d import check_confidence, check_fit, check_places, fill_missing
from dg.datasets.h36m_room import VIEWS
from dg.datasets.validation import check_shape, read_arrays
from dg.pose.camera import normalise_pixels
from dg.pose.joint_map import convert_joints
from dg.pose.skeleton import COCO_17, H36M_16, H36M_17, Skeleton

LAYOUTS = (H36M_17, COCO_17, H36M_16)
LOOKED_AT = 500  # rows of a take that are compared with its 3D


@dataclass(frozen=True)
class Detections:
    """A file's content: joints of `skeleton` by subject and action. `take_2d` empties it."""

    path: Path
    skeleton: Skeleton
    positions: dict[str, dict[str, Any]]


@dataclass(frozen=True)
class TakenDetections:
    """One take's 2D as H36M-17 joints, width-normalised. filled: joints that were not found."""

    joints_2d: Float[Tensor, "cameras kept joints 2"]
    confidence: Float[Tensor, "cameras kept joints"] | None
    filled: int


def unboxed(values: np.ndarray) -> Any:  # noqa: ANN401 - a container of any kind
    """Return the object that numpy stores as an array of one."""
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
) -> TakenDetections:
    """Take the detections of one take out of those of a file.

    Args:
        detections: the file's content; the take is removed from it.
        subject: name of the subject.
        action: name of the action.
        seen: the take's 3D in the frames of the four cameras, metres.

    Returns:
        The 2D of the frames that the 3D and all four cameras have, as VideoPose3D shortens them.

    Raises:
        DataError: for a take that is missing, malformed, or of other poses than these.
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
    return _normalised(values, skeleton, seen[:, :kept], what)


def _normalised(
    values: Float[Tensor, "cameras kept joints columns"],
    skeleton: Skeleton,
    seen: Float[Tensor, "cameras kept moving 3"],
    what: str,
) -> TakenDetections:
    """Raises DataError for 2D that is not what it says (`dg.datasets.detected_2d`)."""
    cameras, kept = values.shape[:2]
    sizes = torch.tensor([c.size for c in h36m_cameras.INTRINSICS], dtype=torch.float32)
    given = normalise_pixels(values[..., :2], sizes).flatten(0, 1)
    extent = (sizes / sizes[:, :1]).repeat_interleave(kept, 0)
    clip = torch.arange(cameras).repeat_interleave(kept)
    confidence = values[..., 2].flatten(0, 1) if values.shape[-1] == 3 else None
    if confidence is not None:
        check_confidence(confidence, what)
    found = fill_missing(given, confidence, extent, clip, skeleton)
    if found.empty.any():
        row = int(found.empty.nonzero()[0])
        raise DataError(
            f"{what}[{row // kept}]: expected some joint in each frame, but none was found in "
            f"{int(found.empty.sum())}, the first is frame {row % kept}; cut the take, or leave it out"
        )
    projected = h36m_cameras.intrinsics().project(seen).flatten(0, 1)
    check_fit(given, skeleton, projected, clip, what, extent, known=~found.missing, most=LOOKED_AT)
    check_places(found.joints_2d, what)
    joints_2d = convert_joints(found.joints_2d, skeleton, H36M_17).unflatten(0, (cameras, kept))
    if confidence is not None:
        confidence = convert_joints(confidence.clamp(0, 1)[..., None], skeleton, H36M_17)[..., 0]
        confidence = confidence.unflatten(0, (cameras, kept))
    return TakenDetections(joints_2d, confidence, int(found.missing.sum()))


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
