"""What every data file must satisfy before a pose of it is used; each failure is one DataError."""

from collections.abc import Collection
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from dg.datasets.base import DataError
from dg.files.safe_load import FileFormatError, load_npz, npz_names
from dg.pose.bones import bone_lengths
from dg.pose.skeleton import Skeleton

# Medians of a bone over a file, metres: no bone of the skeletons used here is shorter or longer, from infant to giant.
SHORTEST_BONE_M, LONGEST_BONE_M = 0.02, 0.9


def read_arrays(
    path: str | Path,
    needed: Collection[str],
    allow_objects: Collection[str] = (),
    optional: Collection[str] = (),
) -> dict[str, np.ndarray]:
    """Some arrays of an `.npz` file; others are not even unpacked.

    Args:
        path: Of the file.
        needed: Names of arrays that it must have.
        allow_objects: Names of arrays, read where they are there, that may hold Python objects.
        optional: Names of further arrays, read where they are there.

    Returns:
        The arrays by name.

    Raises:
        DataError: It names the file and what is wrong with it.
    """
    try:
        arrays = load_npz(path, allow_objects, {*needed, *allow_objects, *optional})
        missing = sorted(set(needed) - set(arrays))
        names = npz_names(path) if missing else []
    except FileFormatError as error:
        raise DataError(f"{error}; expected an .npz with {sorted(needed)} there (docs/datasets.md)") from error
    if missing:
        raise DataError(f"{path}: expected the arrays {sorted(needed)}, but {missing} are missing; it has {names}")
    return arrays


def check_split(split: str, known: Collection[str], what: str) -> None:
    """Raise DataError that lists the splits of a data set, for any other one.

    Args:
        split: what was asked for.
        known: the splits that the data set has.
        what: the data set, for the message.
    """
    if split not in known:
        raise DataError(f"{what}: expected one of the splits {list(known)}, got {split!r}")


def check_shape(values: np.ndarray, shape: tuple[int | None, ...], what: str) -> None:
    """Refuse an array that does not hold real numbers of a shape, in at least one row.

    Args:
        values: the array as it was read.
        shape: length of each axis; None: any.
        what: names the array in the message, such as `FILE: positions_3d`.

    Raises:
        DataError: another shape, another kind of values, or no row.
    """
    spelled = "[" + ", ".join("rows" if n is None else str(n) for n in shape) + "]"
    matches = len(values.shape) == len(shape) and all(n in (None, m) for n, m in zip(shape, values.shape, strict=True))
    if not matches or values.dtype.kind not in "fiu":
        raise DataError(f"{what}: expected numbers of shape {spelled}, got {values.dtype} {list(values.shape)}")
    if not len(values):
        raise DataError(f"{what}: expected at least one row of shape {spelled}, got none")


def check_finite(values: Tensor, what: str) -> None:
    """Raise DataError that names the first row with NaN or infinity."""
    wrong = ~values.isfinite().flatten(1).all(1)
    if wrong.any():
        raise DataError(
            f"{what}: expected finite numbers, but {int(wrong.sum())} of {len(values)} rows hold NaN or infinity, the "
            f"first is row {int(wrong.nonzero()[0])}; leave those rows out"
        )


def check_in_front(joints: Float[Tensor, "rows joints 3"], what: str) -> None:
    """Raise DataError that names the first row with a joint behind the camera."""
    behind = (joints[..., 2] <= 0).any(1)
    if behind.any():
        raise DataError(
            f"{what}: {int(behind.sum())} of {len(behind)} poses lie behind the camera (z <= 0), the first in row "
            f"{int(behind.nonzero()[0])}; expected absolute camera-frame joints, z forward"
        )


def float_tensor(values: np.ndarray) -> Tensor:
    """The numbers as float32, in memory of their own where they were not yet."""
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))


def check_joints(joints: Float[Tensor, "rows joints 3"], skeleton: Skeleton, what: str) -> None:
    """Raise DataError for joints that are not finite, not metres, or not all there.

    Args:
        joints: metres, camera or world axes.
        skeleton: of the joints; its bone lengths tell metres from millimetres.
        what: the file and the place in it, for the message.
    """
    finite = joints.isfinite().all(-1).all(-1)
    if not finite.all():
        first = int((~finite).nonzero()[0])
        raise DataError(
            f"{what}: expected finite joints, but {int((~finite).sum())} of {len(joints)} poses hold NaN or infinity, "
            f"the first in row {first}; leave those rows out"
        )
    median = bone_lengths(joints, skeleton).median(0).values
    torso = float(median[skeleton.bone("thorax")])
    ends = [skeleton.joints[child] for _, child in skeleton.bones]
    if 30 < median.median() < 3000:
        raise DataError(
            f"{what}: expected metres, but the bone from spine to thorax is {torso:.0f} long: this looks like "
            "millimetres; divide the joints by 1000"
        )
    short = [f"{end} {m:.3f}" for end, m in zip(ends, median.tolist(), strict=True) if m < SHORTEST_BONE_M]
    long = [f"{end} {m:.3f}" for end, m in zip(ends, median.tolist(), strict=True) if m > LONGEST_BONE_M]
    if short or long:
        raise DataError(
            f"{what}: expected bones of {SHORTEST_BONE_M} to {LONGEST_BONE_M} m in {skeleton.name} order, but the "
            f"bones that end at these joints have medians (m) {', '.join(short + long)}; check joint order, units "
            "and missing joints"
        )
