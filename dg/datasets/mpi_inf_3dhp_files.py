"""MPI-INF-3DHP's valid test frames as SPIN and PoseAug pass them on: root-relative, `univ_annot3`, without intrinsics.

| file | content |
|---|---|
| SPIN's `mpi_inf_3dhp_valid.npz` | `imgname`; `S` [rows, 24, 4] m, `part` [rows, 24, 3] px; last: 1 where known |
| PoseAug's `test_3dhp.npz` | `pose3d` [rows, 16, 3] m, `pose2d` [rows, 16, 2] divided by the image width; no names |

Neither says where a person stands. The root is placed where the pose projects onto its 2D through the data set's
calibration. PoseAug's file does not name the sequences either, but has them in order: the row from which the outdoor
camera explains the 2D better is found from the data.
"""

import re
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from dg.datasets.base import DataError
from dg.datasets.mpi_inf_3dhp_cameras import SEQUENCES, Views, check_projection, placed
from dg.datasets.validation import check_finite, check_joints, check_shape, float_tensor, read_arrays
from dg.files.safe_load import npz_names
from dg.pose.camera import denormalise_pixels
from dg.pose.joint_map import convert_joints, joint_map
from dg.pose.skeleton import H36M_16, H36M_17, SPIN_24, Skeleton

SPIN_ARRAYS, POSEAUG_ARRAYS = ("S", "part", "imgname"), ("pose3d", "pose2d")
GROUND_TRUTH = "univ_annot3"
STUDIO_SEQUENCE, OUTDOOR_SEQUENCE = 0, 5
IMAGE_NAME = re.compile(r"TS([1-6])\b.*?(\d+)\.\w+$")


@dataclass(frozen=True)
class Frames:
    """Rows in file order. joints: metres, camera frame, absolute; pixels: px; sequence: number into `sequences`.

    frame: number in the sequence from 0, -1 where unknown. activity: number into `ACTIVITIES`, 0 where unknown.
    """

    joints: Float[Tensor, "rows joints 3"]
    pixels: Float[Tensor, "rows joints 2"]
    skeleton: Skeleton
    views: Views
    sequence: Int[Tensor, " rows"]
    frame: Int[Tensor, " rows"]
    activity: Int[Tensor, " rows"]
    sequences: tuple[str, ...]

    def take(self, rows: Tensor) -> "Frames":
        """Return the chosen rows, by index or mask."""
        views = Views(*[value[rows] for value in (self.views.size, self.views.focal, self.views.center)])
        names = ("joints", "pixels", "sequence", "frame", "activity")
        return replace(self, views=views, **{name: getattr(self, name)[rows] for name in names})


def read_file(path: str) -> Frames:
    """Read one of the two files, told apart by its arrays.

    Raises DataError naming the file and what is wrong with it.
    """
    arrays = read_arrays(path, (), optional=(*SPIN_ARRAYS, *POSEAUG_ARRAYS))
    if set(SPIN_ARRAYS) <= set(arrays):
        return _spin(arrays, path)
    if set(POSEAUG_ARRAYS) <= set(arrays):
        return _poseaug(arrays, path)
    raise DataError(
        f"{path}: expected SPIN's arrays (imgname, part, S) or PoseAug's (pose3d, pose2d); it has {npz_names(path)}"
    )


def _spin(arrays: dict[str, np.ndarray], path: str) -> Frames:
    for name, width in (("S", 4), ("part", 3)):
        check_shape(arrays[name], (None, len(SPIN_24), width), f"{path}: {name}")
    rows = len(arrays["S"])
    if len(arrays["part"]) != rows or arrays["imgname"].shape != (rows,):
        raise DataError(
            f"{path}: expected {rows} rows in S, part and imgname, got {len(arrays['part'])} in part and "
            f"{list(arrays['imgname'].shape)} in imgname"
        )
    used = joint_map(SPIN_24, H36M_17).sum(0).numpy() > 0
    for name in ("S", "part"):
        absent = [SPIN_24.joints[j] for j in np.flatnonzero(used & ~(arrays[name][..., -1] > 0).all(0))]
        if absent:
            raise DataError(f"{path}: {name}: expected 17 joints that are marked as known, but not so: {absent}")
    matches = [IMAGE_NAME.search(str(name)) for name in arrays["imgname"].astype(str)]
    if not all(matches):
        first = matches.index(None)
        raise DataError(
            f"{path}: imgname: expected names such as TS1/imageSequence/img_000001.jpg, got "
            f"{str(arrays['imgname'][first])!r} in row {first}"
        )
    numbers = torch.tensor([[int(part) for part in match.groups()] for match in matches if match])
    joints, pixels = (
        convert_joints(float_tensor(arrays[name][..., :width]), SPIN_24, H36M_17)
        for name, width in (("S", 3), ("part", 2))
    )
    _check_values(joints, pixels, H36M_17, path, ("S", "part"))
    sequence = numbers[:, 0] - 1
    views = Views.calibrated(sequence)
    return _placed(joints, pixels, H36M_17, views, sequence, numbers[:, 1] - 1, SEQUENCES, path)


def _poseaug(arrays: dict[str, np.ndarray], path: str) -> Frames:
    for name, width in (("pose3d", 3), ("pose2d", 2)):
        check_shape(arrays[name], (None, len(H36M_16), width), f"{path}: {name}")
    joints, flat = float_tensor(arrays["pose3d"]), float_tensor(arrays["pose2d"])
    if len(joints) != len(flat):
        raise DataError(f"{path}: expected as many 2D as 3D poses, got {len(flat)} and {len(joints)}")
    _check_values(joints, flat, H36M_16, path, ("pose3d", "pose2d"))
    outdoors_from, pixels = _split_by_camera(joints, flat)
    outdoors = torch.arange(len(joints)) >= outdoors_from
    views = Views.calibrated(torch.where(outdoors, OUTDOOR_SEQUENCE, STUDIO_SEQUENCE))
    unknown = torch.full((len(joints),), -1)
    return _placed(joints, pixels, H36M_16, views, outdoors.long(), unknown, ("TS1 to TS4", "TS5 and TS6"), path)


def _split_by_camera(
    joints: Float[Tensor, "rows 16 3"], flat: Float[Tensor, "rows 16 2"]
) -> tuple[int, Float[Tensor, "rows 16 2"]]:
    """The row from which the poses are seen by the outdoor camera, and everyone's pixels."""
    pixels, gaps = [], []
    for sequence in (STUDIO_SEQUENCE, OUTDOOR_SEQUENCE):
        views = Views.calibrated(torch.full((len(joints),), sequence))
        pixels.append(denormalise_pixels(flat, views.size))
        # As a share of the width; limited, so that one stray row moves no border.
        gap = views.gap(placed(joints, pixels[-1], views), pixels[-1]) / views.size[:, 0]
        gaps.append(gap.double().clamp_max(0.1))
    before = torch.cat([gaps[0].new_zeros(1), (gaps[0] - gaps[1]).cumsum(0)])
    # Rounding leaves ties where the cameras explain a row equally well; the earlier camera takes them.
    border = int((before <= before.min() + 1e-9).nonzero()[-1])
    return border, torch.cat([pixels[0][:border], pixels[1][border:]])


def _placed(
    joints: Float[Tensor, "rows joints 3"],
    pixels: Float[Tensor, "rows joints 2"],
    skeleton: Skeleton,
    views: Views,
    sequence: Int[Tensor, " rows"],
    frame: Int[Tensor, " rows"],
    sequences: tuple[str, ...],
    path: str,
) -> Frames:
    absolute = placed(joints, pixels, views)
    check_projection(absolute, pixels, views, path)
    return Frames(absolute, pixels, skeleton, views, sequence, frame, torch.zeros_like(sequence), sequences)


def _check_values(joints: Tensor, flat: Tensor, skeleton: Skeleton, path: str, names: tuple[str, str]) -> None:
    check_joints(joints, skeleton, f"{path}: {names[0]}")
    check_finite(flat, f"{path}: {names[1]}")
