"""`TS*/annot_data.mat` of MPI-INF-3DHP's test set: MATLAB v7.3 files, which are HDF5.

`annot2` [frames, 1, 17, 2] px, `annot3` and `univ_annot3` [frames, 1, 17, 3] mm in the camera frame, `valid_frame`
[frames, 1], `activity_annotation` [frames, 1] of 1 to 7 (which may be absent). `annot3` has each actor's own size;
`univ_annot3` is scaled to one height for all. `bb_crop` and whatever else is there is not read.
"""

from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dg.datasets.base import DataError
from dg.datasets.validation import check_shape

if TYPE_CHECKING:
    import h5py

INSTALL = "pip install -c constraints.txt -e '.[mpi_inf_3dhp]'"
FILE = "annot_data.mat"
JOINTS = 17
GROUND_TRUTHS = ("annot3", "univ_annot3")
NEEDED = ("annot2", *GROUND_TRUTHS, "valid_frame")
ACTIVITY = "activity_annotation"
ACTIVITIES = (
    "unknown", "Standing/Walking", "Exercising", "Sitting", "Reaching/Crouching", "On The Floor", "Sports",
    "Miscellaneous",
)  # fmt: skip
MOST_FRAMES = 200_000  # thirty times the longest sequence: a small file may declare a huge array


@dataclass(frozen=True)
class Annotations:
    """One sequence, every frame. joints: metres, camera frame, by ground truth; pixels: px; activity: 0 is unknown."""

    pixels: Float[Tensor, "frames 17 2"]
    joints: dict[str, Float[Tensor, "frames 17 3"]]
    valid: Bool[Tensor, " frames"]
    activity: Int[Tensor, " frames"]


def read_annotations(path: Path) -> Annotations:
    """Read one sequence of the test set; links and external storage of the file are not followed.

    Raises DataError naming the file and what is wrong with it, or the extra to install where h5py is missing.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file; data.root must be the folder that holds TS1 to TS6")
    if not path.stat().st_size:
        raise DataError(f"{path}: the file is empty; fetch it again")
    try:
        import h5py
    except ImportError as error:
        raise DataError(f"{path}: an HDF5 file needs h5py, of the extra `mpi_inf_3dhp`; {INSTALL}") from error
    try:
        with h5py.File(path, "r") as file:
            names = [*NEEDED, *([ACTIVITY] if ACTIVITY in file else [])]
            arrays = {name: _values(file, name, path) for name in names}
    except DataError:
        raise
    # What h5py raises for a damaged file depends on which part of it is damaged.
    except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path}: expected a MATLAB v7.3 (HDF5) file, but it is truncated or of another kind ({error}); fetch it "
            "again"
        ) from error
    return _checked(arrays, path)


def _values(file: "h5py.File", name: str, path: Path) -> np.ndarray:
    import h5py

    link = file.get(name, getlink=True)
    if link is None:
        raise DataError(f"{path}: expected {list(NEEDED)}, but {name!r} is missing; it has {sorted(file)}")
    values = file[name] if isinstance(link, h5py.HardLink) else None
    if not isinstance(values, h5py.Dataset) or values.is_virtual or values.external:
        raise DataError(f"{path}: {name}: expected an array in this file, found something that points elsewhere")
    if not values.shape or prod(values.shape) > MOST_FRAMES * JOINTS * 3:
        raise DataError(f"{path}: {name}: expected one row a frame, got shape {list(values.shape)}")
    return values[()]


def _checked(arrays: dict[str, np.ndarray], path: Path) -> Annotations:
    poses = {}
    for name in ("annot2", *GROUND_TRUTHS):
        values = arrays[name][:, 0] if arrays[name].ndim == 4 and arrays[name].shape[1] == 1 else arrays[name]
        check_shape(values, (None, JOINTS, 2 if name == "annot2" else 3), f"{path}: {name}")
        poses[name] = values
    frames = len(poses["annot2"])
    valid = _flags(arrays["valid_frame"], range(2), frames, f"{path}: valid_frame")
    activity = arrays.get(ACTIVITY, np.zeros(frames))
    activity = _flags(activity, range(len(ACTIVITIES)), frames, f"{path}: {ACTIVITY}")
    unequal = {name: len(values) for name, values in poses.items() if len(values) != frames}
    if unequal:
        raise DataError(f"{path}: expected as many frames everywhere: annot2 has {frames}, but {unequal}")
    return Annotations(
        pixels=torch.from_numpy(poses["annot2"].astype(np.float32)),
        joints={name: torch.from_numpy((poses[name] / 1000.0).astype(np.float32)) for name in GROUND_TRUTHS},
        valid=torch.from_numpy(valid.astype(bool)),
        activity=torch.from_numpy(activity.astype(np.int64)),
    )


def _flags(values: np.ndarray, known: range, frames: int, what: str) -> np.ndarray:
    """One whole number a frame. Raises DataError for another shape or value."""
    flat = values.reshape(-1)
    if len(flat) != frames or flat.dtype.kind not in "fiub" or not np.isin(flat, list(known)).all():
        raise DataError(
            f"{what}: expected {frames} numbers of {known.start} to {known.stop - 1}, one a frame, got "
            f"{values.dtype} {list(values.shape)}"
        )
    return flat
