"""SMPL's model files, `.pkl` (Python 2's with chumpy arrays too) and `.npz`, read without chumpy and without trust.

A downloaded pickle runs nothing here: `dg.files.safe_load` builds numpy arrays and plain containers, chumpy's and
scipy.sparse's objects become holders of their state, and everything else is refused by name.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse

from dg.files.safe_load import FileFormatError, load_npz, load_pickle
from dg.pose.skeleton import SMPL_24

# Other models of the family, by their number of joints.
RELATIVES = {52: "SMPL-H", 55: "SMPL-X", 21: "MANO (two hands)", 16: "MANO", 5: "FLAME", 35: "SMAL"}
NEEDED = ("v_template", "f", "weights", "kintree_table")
# Entries of archives of this family that hold Python objects, which none of our fields is made of.
OBJECTS = ("joint2num", "part2num", "dynamic_lmk_bary_coords", "dynamic_lmk_faces_idx", "bs_style", "bs_type")


class BodyFileError(FileFormatError):
    """A body model file that is missing, damaged, unsafe or of another kind; the message says which."""


@dataclass(frozen=True)
class SMPLFile:
    """What is used of a model file: float64 and int64 arrays, metres, SMPL's axes and T-pose, mean shape."""

    vertices: np.ndarray
    faces: np.ndarray
    joints: np.ndarray
    weights: np.ndarray


class _State:
    """An object of a foreign class, reduced to the attributes its pickle gives it."""


class _Chumpy(_State): ...


class _CSC(_State): ...


class _CSR(_State): ...


class _COO(_State): ...


# Foreign classes that a model file may name.
_STAND_INS: dict[str, type[_State]] = {
    **{f"chumpy.{name}": _Chumpy for name in ("ch.Ch", "reordering.Select", "reordering.Reorder", "reordering.Ravel")},
    **{f"chumpy.ch_ops.{name}": _Chumpy for name in ("add", "subtract", "multiply", "divide")},
    **{
        f"scipy.sparse.{prefix}{kind}.{kind}_{suffix}": holder
        for kind, holder in (("csc", _CSC), ("csr", _CSR), ("coo", _COO))
        for prefix in ("", "_")
        for suffix in ("matrix", "array")
    },
}


def read_smpl(path: str | Path) -> SMPLFile:
    """Read and check a model file; a zip archive is taken for `.npz`, anything else for a pickle.

    Raises BodyFileError for anything that is not a complete SMPL model of 24 joints.
    """
    try:
        fields = load_fields(Path(path))
    except BodyFileError:
        raise
    except FileFormatError as error:
        raise BodyFileError(f"{error} (expected an SMPL model such as SMPL_NEUTRAL.pkl or .npz)") from error
    missing = [key for key in NEEDED if key not in fields]
    if "J_regressor" not in fields and "J" not in fields:
        missing.append("J_regressor")
    if missing:
        raise BodyFileError(
            f"{path}: expected an SMPL model, but {missing} are missing; it holds {sorted(map(str, fields))[:20]}"
        )
    return _checked(path, fields)


def load_fields(path: Path) -> dict[str, Any]:
    """Load the fields of an SMPL model file without running anything in it.

    A file that begins like a zip archive is read as `.npz`, any other one as a pickle. Raises FileFormatError for a
    file that is missing, damaged or unsafe, and its subclass BodyFileError for a pickle that holds no dict.
    """
    if path.is_file() and path.open("rb").read(2) == b"PK":
        return load_npz(path, allow_objects=OBJECTS)
    fields = load_pickle(path, _STAND_INS)
    if not isinstance(fields, dict):
        raise BodyFileError(f"{path}: expected an SMPL model (a dict of arrays), found {type(fields).__name__}")
    return fields


def _checked(path: str | Path, fields: dict[str, Any]) -> SMPLFile:
    weights = numbers_of(path, "weights", fields["weights"])
    if weights.ndim != 2 or weights.shape[1] != len(SMPL_24):
        joints = weights.shape[-1] if weights.ndim else 0
        kind = f", like {RELATIVES[joints]}" if joints in RELATIVES else ""
        raise BodyFileError(
            f"{path}: expected SMPL's 24 joints, but weights have shape {weights.shape}{kind}; take SMPL's own file"
        )
    count = len(weights)
    vertices = numbers_of(path, "v_template", fields["v_template"], (count, 3))
    faces = numbers_of(path, "f", fields["f"]).astype(np.int64)
    if faces.ndim != 2 or faces.shape[1] != 3 or not len(faces) or faces.min() < 0 or faces.max() >= count:
        raise BodyFileError(f"{path}: f must hold triangles of the {count} vertices, got shape {faces.shape}")
    parents = numbers_of(path, "kintree_table", fields["kintree_table"], (2, len(SMPL_24)))[0, 1:]
    if tuple(parents) != SMPL_24.parents[1:]:
        raise BodyFileError(f"{path}: the joints hang together otherwise than SMPL's: parents {parents.tolist()}")
    if weights.min() < -1e-6 or np.abs(weights.sum(1) - 1).max() > 1e-3:
        raise BodyFileError(f"{path}: skinning weights must be at least zero and sum to one at each vertex")
    if "J_regressor" in fields:
        joints = numbers_of(path, "J_regressor", fields["J_regressor"], (len(SMPL_24), count)) @ vertices
    else:
        joints = numbers_of(path, "J", fields["J"], (len(SMPL_24), 3))
    return SMPLFile(vertices, faces, joints, weights / weights.sum(1, keepdims=True))


def numbers_of(path: str | Path, key: str, value: Any, shape: tuple[int, ...] | None = None) -> np.ndarray:  # noqa: ANN401
    """Convert a field of a model file to a float64 array.

    Args:
        path: the file, for messages.
        key: the field's name, for messages.
        value: the field as it was loaded: an array, or the reduced object of chumpy or scipy.sparse.
        shape: the shape that the array must have; a sparse matrix needs one.

    Returns:
        The array; all of its values are finite.

    Raises:
        BodyFileError: when the field holds no numbers, has another shape, or has values that are not finite.
    """
    try:
        if isinstance(value, _Chumpy):
            value = vars(value)["x"]
        elif isinstance(value, _State):
            value = _dense(path, key, value, shape)
        array = np.asarray(value, dtype=np.float64)
    except (KeyError, TypeError, ValueError) as error:
        raise BodyFileError(f"{path}: {key} is not an array of numbers ({type(error).__name__}: {error})") from error
    if shape is not None and array.shape != shape:
        raise BodyFileError(f"{path}: {key} must have shape {shape}, got {array.shape}")
    if not np.isfinite(array).all():
        raise BodyFileError(f"{path}: {key} contains values that are not finite")
    return array


def _dense(path: str | Path, key: str, holder: Any, shape: tuple[int, ...] | None) -> np.ndarray:  # noqa: ANN401
    """A sparse matrix, rebuilt from its checked parts."""
    parts = vars(holder)
    declared = tuple(parts.get("_shape", ()))
    # Before anything is allocated: a small file may declare a huge matrix.
    if shape is None or declared != shape:
        raise BodyFileError(f"{path}: {key} must have shape {shape or 'of a dense array'}, got {declared}")
    if isinstance(holder, _COO):
        rows, columns = parts["coords"] if "coords" in parts else (parts["row"], parts["col"])
        return scipy.sparse.coo_matrix((parts["data"], (rows, columns)), shape=shape).toarray()
    build = scipy.sparse.csc_matrix if isinstance(holder, _CSC) else scipy.sparse.csr_matrix
    matrix = build((parts["data"], parts["indices"], parts["indptr"]), shape=shape)
    matrix.check_format(full_check=True)
    return matrix.toarray()
