"""3DPW's `sequenceFiles/{train,validation,test}/*.pkl`: Python 2 pickles of arrays, read without running anything.

For N frames and each person: `jointPositions` [N, 72] m and `poses` [N, 72] in the world frame, `betas`, `trans`
[N, 3], `genders` m or f, `campose_valid` [N]; for all people `cam_poses` [N, 4, 4] (world to camera) and
`cam_intrinsics` [3, 3] px. `poses2d` are OpenPose's detections, which are not used; nor is what was recorded at 60 Hz.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dg.datasets.base import DataError
from dg.datasets.validation import check_joints, check_shape
from dg.files.safe_load import FileFormatError, load_pickle
from dg.pose.joint_map import convert_joints
from dg.pose.skeleton import H36M_17, SMPL_24

FOLDERS = {"train": "train", "val": "validation", "test": "test"}
NEEDED = ("jointPositions", "cam_poses", "cam_intrinsics", "campose_valid")
OF_BODIES = ("poses", "betas", "trans", "genders")
LONGER_PX, SHORTER_PX = 1920, 1080
FARTHEST_CENTER = 0.1  # of the principal point from the middle of the frame, as a share of the longer side
SHAPE_TERMS = 10
GENDERS = {"m": "MALE", "f": "FEMALE"}


@dataclass(frozen=True)
class Person:
    """Every frame of one person, world frame. body: what SMPL needs, where it was asked for."""

    joints: Float[Tensor, "frames 24 3"]
    valid: Bool[Tensor, " frames"]
    body: "BodyParameters | None" = None


@dataclass(frozen=True)
class BodyParameters:
    """SMPL's parameters, of shape the first ten. gender: MALE or FEMALE."""

    poses: Float[Tensor, "frames 24 3"]
    betas: Float[Tensor, " betas"]
    place: Float[Tensor, "frames 3"]
    gender: str


@dataclass(frozen=True)
class Sequence:
    """One video. focal, center, size: px. to_camera: camera = R world + t, as [R t]."""

    path: Path
    people: tuple[Person, ...]
    to_camera: Float[Tensor, "frames 3 4"]
    focal: Float[Tensor, "2"]
    center: Float[Tensor, "2"]
    size: Float[Tensor, "2"]

    def seen(
        self, joints: Float[Tensor, "kept joints 3"], frames: Bool[Tensor, " frames"]
    ) -> Float[Tensor, "kept joints 3"]:
        """Move world joints into the camera frame.

        Args:
            joints: joints of some frames in the world frame, metres.
            frames: which frames of the sequence these are.

        Returns:
            The joints in the camera frame, metres.
        """
        motion = self.to_camera[frames]
        return (joints.double() @ motion[..., :3].mT + motion[:, None, :, 3]).float()


def files_of_split(root: str, split: str) -> list[Path]:
    """Return the files of a split's sequences in the order of their names; raise DataError where there are none."""
    base = Path(root)
    base = base / "sequenceFiles" if (base / "sequenceFiles").is_dir() else base
    folder = base / FOLDERS[split]
    found = sorted(folder.glob("*.pkl"))
    if not found:
        raise DataError(
            f"{folder}: expected 3DPW's sequences (.pkl) there; found none. data.root must be the folder that holds "
            "sequenceFiles"
        )
    return found


def read_sequence(path: Path, bodies: bool) -> Sequence:
    """Read a sequence of 3DPW.

    Args:
        path: the file.
        bodies: read SMPL's parameters too.

    Raises:
        DataError: naming the file and what is wrong with it.
    """
    try:
        content = load_pickle(path)
    except FileFormatError as error:
        raise DataError(f"{error}; expected a sequence of 3DPW") from error
    needed = [*NEEDED, *(OF_BODIES if bodies else ())]
    if not isinstance(content, dict):
        raise DataError(f"{path}: expected a dict of arrays, got {type(content).__name__}")
    missing = [key for key in needed if key not in content]
    if missing:
        raise DataError(f"{path}: expected {needed}, but {missing} are missing; it has {sorted(map(str, content))}")
    to_camera = _numbers(content["cam_poses"], (None, 4, 4), f"{path}: cam_poses")
    joints = _each(content, "jointPositions", (len(to_camera), 72), path)
    valid = _each(content, "campose_valid", (len(to_camera),), path, len(joints))
    parameters = _bodies(content, len(joints), len(to_camera), path) if bodies else [None] * len(joints)
    people = tuple(
        Person(values.unflatten(1, (24, 3)), flags != 0, body)
        for values, flags, body in zip(joints, valid, parameters, strict=True)
    )
    _check_people(people, path)
    _check_motions(to_camera[torch.stack([person.valid for person in people]).any(0)], path)
    return Sequence(path, people, to_camera[:, :3], *_camera(content["cam_intrinsics"], path))


def _numbers(values: Any, shape: tuple[int | None, ...], what: str) -> Tensor:  # noqa: ANN401
    try:
        array = values if isinstance(values, np.ndarray) else np.asarray(values)
    except ValueError as error:
        raise DataError(f"{what}: expected numbers, got a {type(values).__name__} of uneven lengths") from error
    check_shape(array.astype(np.uint8) if array.dtype.kind == "b" else array, shape, what)
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float64))


def _each(
    content: dict[str, Any], key: str, shape: tuple[int | None, ...], path: Path, people: int | None = None
) -> list[Tensor]:
    """One array a person."""
    values = content[key]
    if not isinstance(values, list | tuple) or not values or len(values) != (people or len(values)):
        found = f"{len(values)}" if isinstance(values, list | tuple) else type(values).__name__
        raise DataError(f"{path}: {key}: expected a list of one array a person ({people or 'some'}), got {found}")
    return [_numbers(value, shape, f"{path}: {key}[{n}]") for n, value in enumerate(values)]


def _bodies(content: dict[str, Any], people: int, frames: int, path: Path) -> list[BodyParameters]:
    poses = _each(content, "poses", (frames, 72), path, people)
    betas = _each(content, "betas", (None,), path, people)
    places = _each(content, "trans", (frames, 3), path, people)
    genders = content["genders"]
    if not isinstance(genders, list | tuple) or len(genders) != people or not set(map(str, genders)) <= set(GENDERS):
        raise DataError(f"{path}: genders: expected {people} of {list(GENDERS)}, got {genders!r}")
    for key, values in (("poses", poses), ("betas", betas), ("trans", places)):
        if not all(value.isfinite().all() for value in values):
            raise DataError(f"{path}: {key}: expected finite numbers, found NaN or infinity")
    return [
        BodyParameters(pose.unflatten(1, (24, 3)), shape[:SHAPE_TERMS], place, GENDERS[str(gender)])
        for pose, shape, place, gender in zip(poses, betas, places, genders, strict=True)
    ]


def _check_people(people: tuple[Person, ...], path: Path) -> None:
    for number, person in enumerate(people):
        if person.valid.any():
            joints = convert_joints(person.joints[person.valid], SMPL_24, H36M_17)
            check_joints(joints, H36M_17, f"{path}: jointPositions[{number}]")


def _check_motions(motions: Float[Tensor, "frames 4 4"], path: Path) -> None:
    turns = motions[:, :3, :3]
    rigid = (turns @ turns.mT - torch.eye(3, dtype=turns.dtype)).abs().amax((1, 2)) < 1e-2
    rigid &= (torch.linalg.det(turns) > 0) & motions.isfinite().all(-1).all(-1)
    rigid &= (motions[:, 3] - motions.new_tensor([0.0, 0.0, 0.0, 1.0])).abs().amax(1) < 1e-6
    if not rigid.all():
        raise DataError(
            f"{path}: cam_poses: expected rigid motions, world to camera, but {int((~rigid).sum())} of the valid ones "
            f"are not, the first of them is number {int((~rigid).nonzero()[0])}"
        )


def _camera(values: Any, path: Path) -> tuple[Tensor, Tensor, Tensor]:  # noqa: ANN401
    """Focal lengths, principal point and frame, upright or lying as the principal point says."""
    matrix = _numbers(values, (3, 3), f"{path}: cam_intrinsics")
    focal, center = matrix.diagonal()[:2], matrix[:2, 2]
    if not matrix.isfinite().all() or not (focal > 0).all():
        raise DataError(f"{path}: cam_intrinsics: expected positive focal lengths in px, got {focal.tolist()}")
    landscape = bool(center[0] >= center[1])
    size = center.new_tensor([LONGER_PX, SHORTER_PX] if landscape else [SHORTER_PX, LONGER_PX])
    if not ((center - size / 2).abs() <= FARTHEST_CENTER * LONGER_PX).all():
        raise DataError(
            f"{path}: cam_intrinsics: expected the principal point near the middle of a frame of {LONGER_PX} by "
            f"{SHORTER_PX} px, upright or lying, got {center.tolist()}"
        )
    return focal.float(), center.float(), size.float()
