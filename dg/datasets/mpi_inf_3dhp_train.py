"""MPI-INF-3DHP's training part: `S1/Seq1/annot.mat` to `S8/Seq2/annot.mat`, MATLAB v5 files.

Source: Mehta et al., 3DV 2017. `annot2`, `annot3` and `univ_annot3` are cells of the fourteen cameras, each
[frames, 2 J] px or [frames, 3 J] mm in the camera frame, of the authors' 28 joints or of the test set's 17. Eight
cameras hang at the height of a chest (0, 1, 2, 4, 5, 6, 7, 8), which is the choice of the literature. Frames are 2048 x
2048 px. Five sequences were filmed at 50 frames a second, the others at 25; of the former every second frame is taken.
The intrinsics of each camera are least squares from `annot2` and `annot3`, as for the test set.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from dg.datasets.base import DataError, PoseDataset, content_digest
from dg.datasets.intrinsics import solve_intrinsics
from dg.datasets.mpi_inf_3dhp_cameras import Views, check_projection, placed
from dg.datasets.splits import VALIDATION_SHARE
from dg.datasets.validation import check_in_front, check_joints
from dg.pose.batch import PoseBatch
from dg.pose.camera import Camera, normalise_pixels
from dg.pose.joint_map import convert_joints
from dg.pose.skeleton import H36M_17, MPI_INF_3DHP_17, MPI_INF_3DHP_28, Skeleton

FILE = "annot.mat"
SUBJECTS = tuple(f"S{number}" for number in range(1, 9))
SEQUENCES = ("Seq1", "Seq2")
CAMERAS = 14
CHEST_HEIGHT = (0, 1, 2, 4, 5, 6, 7, 8)
SIDE_PX = 2048.0
FPS = 25
# Filmed at twice the rate of the others, as the authors' scripts have it.
FAST = {("S1", "Seq2"), ("S3", "Seq1"), ("S3", "Seq2"), ("S5", "Seq1"), ("S5", "Seq2")}
LAYOUTS = {len(MPI_INF_3DHP_28): MPI_INF_3DHP_28, len(MPI_INF_3DHP_17): MPI_INF_3DHP_17}
TAIL = "tail"
NEAREST_M = 0.3
FOLDERS = ("", "train", "mpi_inf_3dhp_train_set")


@dataclass(frozen=True)
class TrainingPart:
    """Which of the training part is read.

    Attributes:
        ground_truth: `annot3` or `univ_annot3`.
        stride: every which frame at 25 frames a second.
        validation: `tail`, the last 5 % of each sequence in all its cameras, or the name of a subject.
    """

    subjects: tuple[str, ...] = SUBJECTS
    cameras: tuple[int, ...] = CHEST_HEIGHT
    ground_truth: str = "annot3"
    stride: int = 1
    validation: str = TAIL

    def problems(self) -> str:
        """What is wrong with the choice, in words; empty where nothing is."""
        if not self.subjects or not set(self.subjects) <= set(SUBJECTS):
            return f"subjects_train must be among {list(SUBJECTS)}, got {list(self.subjects)}"
        if (
            not self.cameras
            or not set(self.cameras) <= set(range(CAMERAS))
            or len(set(self.cameras)) < len(self.cameras)
        ):
            return f"cameras must be different numbers from 0 to {CAMERAS - 1}, got {list(self.cameras)}"
        if self.validation != TAIL and (self.validation not in self.subjects or len(self.subjects) < 2):
            return f"validation must be '{TAIL}' or one of {list(self.subjects)}, got {self.validation!r}"
        return ""


@dataclass(frozen=True)
class _Clip:
    """One sequence as one camera sees it. frames: numbers in the video, from 0."""

    subject: str
    sequence: str
    camera: int
    joints: Float[Tensor, "frames 17 3"]
    pixels: Float[Tensor, "frames 17 2"]
    views: Views
    frames: Int[Tensor, " frames"]


def training_folder(root: Path) -> Path | None:
    """Return the folder that holds S1 to S8, which may lie in the one that is named; None where there is none."""
    if not root.is_dir():
        return None
    return next((root / name for name in FOLDERS if any((root / name).glob(f"S[1-8]/Seq[12]/{FILE}"))), None)


def files_of(folder: Path, part: TrainingPart, split: str) -> list[Path]:
    """Return the files of a split, in order.

    Args:
        folder: that holds S1 to S8.
        part: which of it is read.
        split: `train` or `val`.

    Raises:
        DataError: a subject's sequence is missing.
    """
    subjects = [s for s in part.subjects if part.validation == TAIL or (s == part.validation) == (split == "val")]
    found = [folder / subject / sequence / FILE for subject in subjects for sequence in SEQUENCES]
    missing = [str(path.relative_to(folder)) for path in found if not path.is_file()]
    if missing:
        raise DataError(
            f"{folder}: expected {FILE} in S1/Seq1 to S8/Seq2 of {list(part.subjects)}, but {missing} are missing; "
            "name the people to train on with data.subjects_train"
        )
    return found


def load_training(folder: Path, part: TrainingPart, split: str) -> tuple[PoseDataset, list[str]]:
    """Read a split of the training part.

    Args:
        folder: that holds S1 to S8.
        part: which of it is read.
        split: `train` or `val`.

    Returns:
        The poses, and the name of each row's frame.

    Raises:
        DataError: naming the file and the reason.
    """
    clips = [clip for path in files_of(folder, part, split) for clip in _clips(path, part, split)]
    names = [
        f"{clip.subject}/{clip.sequence}/video_{clip.camera}/{frame + 1:06d}"
        for clip in clips
        for frame in clip.frames.tolist()
    ]
    return _dataset(clips, part), names


def _clips(path: Path, part: TrainingPart, split: str) -> list[_Clip]:
    subject, sequence = path.parts[-3:-1]
    cells = _read(path, {"annot2", "annot3", part.ground_truth})
    step = part.stride * (2 if (subject, sequence) in FAST else 1)
    found = []
    for camera in part.cameras:
        pixels, skeleton = _numbers(cells["annot2"][camera], 2, f"{path}: annot2{{{camera}}}")
        metric = _metres(cells["annot3"][camera], skeleton, len(pixels), f"{path}: annot3{{{camera}}}")
        flat = convert_joints(pixels, skeleton, H36M_17)
        wanted = metric
        if part.ground_truth != "annot3":
            wanted = _metres(cells[part.ground_truth][camera], skeleton, len(pixels), f"{path}: {part.ground_truth}")
        kept = _kept(len(pixels), step, part, split)
        found.append(_seen(path, (subject, sequence, camera), metric, wanted, flat, kept))
    return found


def _kept(frames: int, step: int, part: TrainingPart, split: str) -> Int[Tensor, " kept"]:
    """Numbers of the frames of a split."""
    number = torch.arange(0, frames, step)
    if part.validation != TAIL:
        return number
    border = frames - ceil(VALIDATION_SHARE * frames)
    return number[number >= border] if split == "val" else number[number < border]


def _seen(
    path: Path,
    place: tuple[str, str, int],
    metric: Float[Tensor, "frames 17 3"],
    wanted: Float[Tensor, "frames 17 3"],
    flat: Float[Tensor, "frames 17 2"],
    kept: Int[Tensor, " kept"],
) -> _Clip:
    """With the camera's intrinsics from all frames, so that every split has the same."""
    what = f"{path}: camera {place[2]}"
    check_in_front(metric, f"{what}: annot3")
    focal, center, _ = solve_intrinsics(metric, flat, torch.zeros(len(flat), dtype=torch.long))
    size = torch.full_like(focal, SIDE_PX)
    check_projection(metric, flat, Views(size, focal, center), f"{what}: annot2 and annot3")
    views = Views(size[kept], focal[kept], center[kept])
    joints = wanted[kept]
    if wanted is not metric:
        joints = placed(joints, flat[kept], views)
    return _Clip(*place, joints, flat[kept], views, kept)


def _dataset(clips: Sequence[_Clip], part: TrainingPart) -> PoseDataset:
    rows = torch.tensor([len(clip.joints) for clip in clips])
    if not int(rows.sum()):
        raise DataError(f"no frame is left of MPI-INF-3DHP's training part for {part}")
    subjects = tuple(dict.fromkeys(clip.subject for clip in clips))
    labels = torch.tensor([(subjects.index(c.subject), SEQUENCES.index(c.sequence)) for c in clips])
    labels = labels.repeat_interleave(rows, 0)
    joints = torch.cat([clip.joints for clip in clips])[:, None]
    size, focal, center = (torch.cat([getattr(c.views, name) for c in clips]) for name in ("size", "focal", "center"))
    pixels = torch.cat([clip.pixels for clip in clips])
    camera = Camera.from_pixels(focal, center, size)
    poses = PoseBatch.from_joints(joints, camera, H36M_17, normalise_pixels(pixels, size)[:, None])
    in_front = (joints[..., 2] > NEAREST_M).flatten(1).all(1)
    outside = int((~camera.in_frame(joints).flatten()).sum())
    return PoseDataset(
        name="3DHP-train",
        poses=poses.replace(valid=in_front),
        subject=labels[:, 0].contiguous(),
        action=labels[:, 1].contiguous(),
        clip=torch.arange(len(clips)).repeat_interleave(rows),
        subjects=subjects,
        actions=SEQUENCES,
        fps=FPS / part.stride,
        digest=content_digest(joints, poses.joints_2d),
        flavour=part.ground_truth,
        notes={
            "cameras": f"{list(part.cameras)} of {CAMERAS}; sequences of 50 frames a second at 25",
            "out_of_frame": f"{outside} of {len(joints)} poses leave the frame; trained on",
            "behind_camera": f"{int((~in_front).sum())} poses come closer than {NEAREST_M} m; marked invalid",
        },
    )


# -- files ------------------------------------------------------------------------------------------------------------


def _read(path: Path, names: set[str]) -> dict[str, np.ndarray]:
    """The cells of each camera. Raises DataError for a file of another form."""
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        content = loadmat(path, variable_names=list(names))
    except (MatReadError, NotImplementedError, ValueError, TypeError, OSError, EOFError, KeyError) as error:
        raise DataError(
            f"{path}: expected a MATLAB v5 file as the authors' {FILE}, but it is truncated or of another kind "
            f"({error}); fetch it again"
        ) from error
    missing = sorted(names - set(content))
    if missing:
        raise DataError(f"{path}: expected {sorted(names)}, but {missing} are missing")
    cells = {name: content[name] for name in names}
    for name, cell in cells.items():
        if cell.dtype != object or cell.size != CAMERAS:
            raise DataError(f"{path}: {name}: expected a cell for each of {CAMERAS} cameras, got {list(cell.shape)}")
    return {name: cell.reshape(-1) for name, cell in cells.items()}


def _numbers(values: Any, width: int, what: str) -> tuple[Float[Tensor, "frames joints width"], Skeleton]:  # noqa: ANN401
    """One camera's array with its joints apart, and which joints these are."""
    array = np.asarray(values)
    joints = array.shape[1] // width if array.ndim == 2 else 0
    if array.ndim != 2 or array.dtype.kind not in "fiu" or joints * width != array.shape[1] or joints not in LAYOUTS:
        raise DataError(
            f"{what}: expected numbers [frames, {width} x {' or '.join(map(str, LAYOUTS))}], got {array.dtype} "
            f"{list(array.shape)}"
        )
    if not np.isfinite(array).all() or not len(array):
        raise DataError(f"{what}: expected at least one frame of finite numbers")
    return torch.from_numpy(array.reshape(len(array), joints, width).astype(np.float32)), LAYOUTS[joints]


def _metres(values: Any, skeleton: Skeleton, frames: int, what: str) -> Float[Tensor, "frames 17 3"]:  # noqa: ANN401
    joints, found = _numbers(values, 3, what)
    if found != skeleton or len(joints) != frames:
        raise DataError(
            f"{what}: expected {frames} frames of {len(skeleton)} joints as in annot2, got {len(joints)} of "
            f"{len(found)}"
        )
    metres = convert_joints(joints, skeleton, H36M_17) / 1000
    check_joints(metres, H36M_17, f"{what} (mm, divided by 1000)")
    return metres
