"""2D poses of MPII Human Pose's annotation file: the release's MATLAB file, or the JSON that the field made of it.

Andriluka et al., "2D Human Pose Estimation: New Benchmark and State of the Art Analysis", CVPR 2014. The release holds
`RELEASE.annolist(i).annorect(p).annopoints.point(j)` with `x`, `y`, `id` and `is_visible`; joints that nobody marked
are not listed. The JSON (`train.json`, `valid.json` of the stacked hourglass and HRNet code) is a list of people with
`image`, `center`, `scale`, `joints` [16, 2] and `joints_vis` [16], 0 where a joint was not marked. Neither says how
large the images are. Reading executes nothing: SciPy's reader of MATLAB files makes arrays alone.
"""

from pathlib import Path
from typing import Any
from zlib import error as ZlibError

import numpy as np
from jaxtyping import Float32

from dg.files.errors import FileFormatError
from dg.files.plain_text import one_line
from dg.files.reading import read_whole
from dg.files.safe_load import load_json

MPII_JOINTS = (
    "right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle", "pelvis", "thorax", "neck", "head",
    "right_wrist", "right_elbow", "right_shoulder", "left_shoulder", "left_elbow", "left_wrist",
)  # fmt: skip
_EXPECTED = "MPII's mpii_human_pose_v1_u12_1.mat, or its train.json or valid.json as HRNet's code has them"
_LARGEST_PX = 1e5


def read_mpii(path: str | Path) -> Float32[np.ndarray, "people 16 2"]:
    """Read the people of MPII's annotation file of whom all 16 joints are marked, occluded ones included.

    Args:
        path: the .mat or .json file.

    Returns:
        Joints in the order of `MPII_JOINTS`, pixels.

    Raises:
        FileFormatError: the file is missing, truncated, of another kind, or nobody in it is complete.
    """
    path = Path(path)
    try:
        people = _of_json(load_json(path)) if path.suffix.lower() == ".json" else _of_mat(path)
        joints = np.asarray(people, np.float32).reshape(-1, len(MPII_JOINTS), 2)
    except FileFormatError:
        raise
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
        raise FileFormatError(f"{path}: expected {_EXPECTED}, but {type(error).__name__}: {one_line(error)}") from error
    if not len(joints):
        raise FileFormatError(f"{path}: expected {_EXPECTED}, but nobody in it has all 16 joints")
    if not (np.abs(joints) <= _LARGEST_PX).all():
        row = int((~(np.abs(joints) <= _LARGEST_PX)).any((1, 2)).argmax())
        raise FileFormatError(f"{path}: expected pixels, but the joints of person {row} are no such numbers")
    return joints


def _of_json(content: Any) -> list[Any]:  # noqa: ANN401 - what a file holds
    """Raises FileFormatError and whatever error other content causes."""
    if not isinstance(content, list):
        raise TypeError(f"expected a list of people, got {type(content).__name__}")
    return [person["joints"] for person in content if all(float(v) > 0 for v in _of_all(person["joints_vis"]))]


def _of_all(values: Any) -> list[Any]:  # noqa: ANN401
    if len(values) != len(MPII_JOINTS):
        raise ValueError(f"expected {len(MPII_JOINTS)} joints a person, got {len(values)}")
    return values


def _of_mat(path: Path) -> list[Any]:
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    read_whole(path)  # says what is wrong with a file that is missing or none
    try:
        content = loadmat(path, variable_names=["RELEASE"])
    except (MatReadError, NotImplementedError, ValueError, TypeError, OSError, EOFError, KeyError, ZlibError) as error:
        raise FileFormatError(
            f"{path}: expected {_EXPECTED}, but it is truncated or of another kind ({one_line(error)}); fetch it again"
        ) from error
    if "RELEASE" not in content:
        raise FileFormatError(f"{path}: expected {_EXPECTED}, but it has no RELEASE")
    found = []
    for people in content["RELEASE"]["annolist"][0, 0]["annorect"].flat:
        for points in people["annopoints"].flat if "annopoints" in (people.dtype.names or ()) else ():
            if "point" not in (points.dtype.names or ()) or not points.size:
                continue
            marked = points["point"].item().flat
            joints = {int(p["id"].item()): (float(p["x"].item()), float(p["y"].item())) for p in marked}
            if len(joints) == len(MPII_JOINTS):
                found.append([joints[number] for number in range(len(MPII_JOINTS))])
    return found
