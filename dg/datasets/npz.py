"""Any poses of 17 joints in one `.npz`: absolute, camera frame, with their intrinsics, undistorted.

Arrays: `pose3d` [rows, 17, 3] m and `intrinsics` [rows, 4] or [4] = fx, fy, cx, cy divided like the 2D: 2 f / longer
side, and 0 in the middle. May be there too: `pose2d` [rows, 17, 2] normalised by the longer image side (else the
projection), `confidence` [rows, 17] of a detector, `res` [rows, 2] or [2] px (else a square frame), and `subject`,
`action`, `clip` and `image` [rows] of names; by `image`, rows find their 2D and depth from images
(`dg.datasets.image_keypoints`, `dg.datasets.image_depth`). Rows of a clip are consecutive and in time order; without
`clip`, rows of one person and one action that follow each other are a clip.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dg.datasets.base import DataError, Dataset, PoseDataset, content_digest
from dg.datasets.content import content_id
from dg.datasets.detected_2d import Found, check_confidence, check_fit, check_places, fill_missing
from dg.datasets.image_keypoints import with_found
from dg.datasets.image_rows import clips_of_kept
from dg.datasets.splits import held_out
from dg.datasets.validation import (
    check_finite,
    check_in_front,
    check_joints,
    check_shape,
    check_split,
    float_tensor,
    read_arrays,
)
from dg.pose.batch import PoseBatch
from dg.pose.camera import Camera
from dg.pose.skeleton import H36M_17
from dg.settings.config import Count, Positive

SHAPES = {
    "pose3d": (None, 17, 3),
    "intrinsics": (None, 4),
    "pose2d": (None, 17, 2),
    "confidence": (None, 17),
    "res": (None, 2),
}
NEEDED = ("pose3d", "intrinsics")
OPTIONAL = ("pose2d", "confidence", "res", "subject", "action", "clip", "image")
NAMES = ("subject", "action", "clip")
ONE_FOR_ALL = ("intrinsics", "res")  # may be one row for the whole file
LARGEST_2D_GAP = 1e-3


@dataclass(frozen=True)
class Options:
    """path: the file. stride: every which row is kept. flip_tta: average with the mirrored input. source_2d: `gt`, or
    the detector whose `pose2d` this is, which then need not be the projection.

    keypoints: file of 2D that a detector found in the images that `image` names (.npz or COCO .json,
    `dg.datasets.image_keypoints`), in the place of the file's own. image_depth: file of dg.extract_depth, with depth at
    the joints of those images. Rows that either lacks are left out. fps: frame rate of the file, which does not record
    it. train_subjects: names of those who make up a part `train`; the part `test` is then everyone else. None: all rows
    are `test`. validation: `clips` holds out a fixed 5 % of each train subject's clips as the part `val`, which a
    source needs; empty: there is none. label: what tables and protocol ids call it; empty: the file's name without its
    ending.
    """

    path: str
    stride: Count = 1
    flip_tta: bool = False
    source_2d: str = "gt"
    keypoints: str = ""
    image_depth: str = ""
    fps: Positive = 30.0
    train_subjects: tuple[str, ...] = ()
    validation: Literal["", "clips"] = ""
    label: str = ""

    def __post_init__(self) -> None:
        if self.validation and not self.train_subjects:
            raise ValueError("validation=clips holds out clips of those who train; name them with train_subjects")


class CrossDataset(Dataset):
    """A test set in one file, named after it."""

    Options = Options
    located_by = "path"

    def __init__(self, options: Any) -> None:  # noqa: ANN401 - Options, whose name the class attribute shadows
        super().__init__(options)
        trains = ("train", "val") if options.validation else ("train",)
        self.splits = (*trains, "test") if options.train_subjects else ("test",)

    def load(self, split: str) -> PoseDataset:
        """Read the file's rows that belong to a split; rows in which no joint was found are left out."""
        if split == "val" and "val" not in self.splits:
            raise DataError(
                f"{self.options.path}: as a source it needs people to train on and clips to validate on; give "
                "data.train_subjects=[...] data.validation=clips"
            )
        check_split(split, self.splits, self.options.path)
        options: Options = self.options
        arrays = _complete(read_arrays(options.path, NEEDED, optional=OPTIONAL), options.path)
        _check(arrays, options)
        clip = _runs(arrays["clip"], options.path)
        found = _detected(arrays, clip, options)
        names, subject = np.unique(arrays["subject"], return_inverse=True)
        actions, action = np.unique(arrays["action"], return_inverse=True)
        rows = self._rows(split, names, subject, clip)
        if found is not None:
            rows = rows[~found.empty[rows]]
            if not len(rows):
                raise DataError(f"{options.path}: pose2d: expected some rows in which a joint was found, got none")
        joints = float_tensor(arrays["pose3d"])[rows, None]
        camera = _camera(float_tensor(arrays["intrinsics"]), float_tensor(arrays["res"]))[rows]
        joints_2d = float_tensor(arrays["pose2d"])[rows, None] if "pose2d" in arrays else None
        joints_2d = joints_2d if found is None else found.joints_2d[rows, None]
        confidence = float_tensor(arrays["confidence"])[rows, None] if "confidence" in arrays else None
        poses = PoseBatch.from_joints(joints, camera, H36M_17, joints_2d).replace(confidence=confidence)
        dataset = PoseDataset(
            name=options.label or Path(options.path).stem,
            poses=poses,
            subject=torch.from_numpy(subject.astype(np.int64))[rows],
            action=torch.from_numpy(action.astype(np.int64))[rows],
            clip=clips_of_kept(clip, rows, options.stride),
            subjects=tuple(str(n) for n in names),
            actions=tuple(str(n) for n in actions),
            fps=options.fps / options.stride,
            digest=content_digest(joints, poses.joints_2d),
            source_2d=options.source_2d,
            flip_tta=options.flip_tta,
            notes={} if found is None else found.notes(),
            content=_content(arrays, clip.numpy(), subject, action, rows.numpy()),
        )
        if not options.keypoints and not options.image_depth:
            return dataset
        images = _images(arrays, options.path)[rows.numpy()].tolist()
        return with_found(dataset, images, options.keypoints, options.image_depth)

    def _rows(
        self, split: str, names: np.ndarray, subject: np.ndarray, clip: Int[Tensor, " rows"]
    ) -> Int[Tensor, " kept"]:
        """Rows of a part. Raises DataError for training subjects that the file lacks, or that leave none to test."""
        # Counted over the whole file, as the released evaluation code does; frames of a clip stay evenly spaced.
        rows = torch.arange(0, len(subject), self.options.stride)
        if not self.options.train_subjects:
            return rows
        chosen = set(self.options.train_subjects)
        known = {str(name) for name in names}
        if not chosen < known:
            raise DataError(
                f"{self.options.path}: train_subjects: expected some, not all, of the file's subjects "
                f"{sorted(known)}, got {sorted(chosen)}"
            )
        train = torch.from_numpy(np.isin(names.astype(str), sorted(chosen))[subject])[rows]
        if split == "test":
            return rows[~train]
        if not self.options.validation:
            return rows[train]
        held = torch.from_numpy(_held_out(names, subject, clip.numpy()))[rows]
        return rows[train & (held == (split == "val"))]


def _held_out(names: np.ndarray, subject: np.ndarray, clip: np.ndarray) -> np.ndarray:
    """Whether each row is of a clip that validates. A person's clips go by their number: names may be missing."""
    held = np.zeros(len(clip), bool)
    for number, name in enumerate(names):
        own = [str(n) for n in np.unique(clip[subject == number])]
        held |= np.isin(clip, [int(n) for n in held_out(str(name), own)]) & (subject == number)
    return held


def _content(arrays: dict[str, np.ndarray], *rows_of: np.ndarray) -> str:
    """Of the rows that are kept, with clips, people and actions as numbers: names may change.

    rows_of: clip, subject and action of each row of the file, and the rows.
    """
    *numbers, rows = rows_of
    present = [name for name in SHAPES if name in arrays]
    values = [np.asarray(arrays[name][rows], np.float32) for name in present]
    return content_id(" ".join(present), *values, *(n[rows].astype(np.int64) for n in numbers))


def _images(arrays: dict[str, np.ndarray], path: str) -> np.ndarray:
    """Name of each row's image. Raises DataError where the file does not say."""
    names = arrays.get("image", np.zeros(0))
    if names.shape != (len(arrays["pose3d"]),) or names.dtype.kind not in "US":
        raise DataError(
            f"{path}: image: expected the name of each row's image, by which keypoints and image_depth know it"
        )
    return np.char.decode(names, "utf-8") if names.dtype.kind == "S" else names


def _camera(intrinsics: Float[Tensor, "rows 4"], size_px: Float[Tensor, "rows 2"]) -> Camera:
    return Camera(
        focal=intrinsics[:, :2],
        center=intrinsics[:, 2:],
        distortion=intrinsics.new_zeros(len(intrinsics), 5),
        extent=size_px / size_px.amax(-1, keepdim=True),
    )


def _complete(arrays: dict[str, np.ndarray], path: str) -> dict[str, np.ndarray]:
    """The arrays with what may be left out filled in. Raises DataError for poses of another shape."""
    check_shape(arrays["pose3d"], SHAPES["pose3d"], f"{path}: pose3d")
    rows = len(arrays["pose3d"])
    found = {"res": np.ones(2), "subject": np.full(rows, "unknown"), "action": np.full(rows, "all")} | arrays
    for name in ONE_FOR_ALL:
        if found[name].ndim == 1:
            found[name] = np.broadcast_to(found[name], (rows, len(found[name])))
    if "clip" not in found and all(len(found[name]) == rows for name in ("subject", "action")):
        person, action = (np.unique(found[name], return_inverse=True)[1] for name in ("subject", "action"))
        found["clip"] = np.cumsum([0, *((np.diff(person) != 0) | (np.diff(action) != 0))])
    return found


def _check(arrays: dict[str, np.ndarray], options: Options) -> None:
    """Raises DataError naming the array that breaks the format."""
    path, rows = options.path, len(arrays["pose3d"])
    numbers = [name for name in SHAPES if name in arrays]
    for name in numbers:
        check_shape(arrays[name], SHAPES[name], f"{path}: {name}")
    for name in (*numbers, *NAMES):
        values = arrays.get(name, np.zeros(0))
        if values.shape[:1] != (rows,) or (name in NAMES and values.ndim != 1):
            raise DataError(f"{path}: {name}: expected {rows} rows as in pose3d, got {list(values.shape)}")
    for name in numbers[1:]:
        check_finite(float_tensor(arrays[name]), f"{path}: {name}")
    if "confidence" in arrays:
        check_confidence(float_tensor(arrays["confidence"]), f"{path}: confidence")
    if (arrays["intrinsics"][:, :2] <= 0).any() or (arrays["res"] <= 0).any():
        raise DataError(f"{path}: focal lengths in intrinsics and sizes in res must be positive")
    joints = float_tensor(arrays["pose3d"])
    check_joints(joints, H36M_17, f"{path}: pose3d")
    _check_projection(arrays, joints, options)


def _check_projection(arrays: dict[str, np.ndarray], joints: Float[Tensor, "rows joints 3"], options: Options) -> None:
    path = options.path
    check_in_front(joints, f"{path}: pose3d")
    if "pose2d" not in arrays or options.source_2d != "gt":
        return
    camera = _camera(float_tensor(arrays["intrinsics"]), float_tensor(arrays["res"]))
    projected, given = camera.project(joints), float_tensor(arrays["pose2d"])
    gap = float((projected - given).abs().max())
    if gap > LARGEST_2D_GAP:
        _check_fit(arrays, given, projected, _runs(arrays["clip"], path), path)
        raise DataError(
            f"{path}: pose2d: expected the projection of pose3d by intrinsics, both normalised by the longer image "
            f"side, but they differ by up to {gap:.3g} (limit {LARGEST_2D_GAP}); check the normalisation, or name the "
            "detector with source_2d"
        )


def _detected(arrays: dict[str, np.ndarray], clip: Int[Tensor, " rows"], options: Options) -> Found | None:
    """The 2D of a detector with what it did not find filled in. Raises DataError where it is not what it says."""
    if "pose2d" not in arrays or options.source_2d == "gt":
        return None
    what, given = f"{options.path}: pose2d", float_tensor(arrays["pose2d"])
    camera = _camera(float_tensor(arrays["intrinsics"]), float_tensor(arrays["res"]))
    confidence = float_tensor(arrays["confidence"]) if "confidence" in arrays else None
    found = fill_missing(given, confidence, camera.extent, clip, H36M_17)
    projected = camera.project(float_tensor(arrays["pose3d"]))
    _check_fit(arrays, given, projected, clip, options.path, ~found.missing)
    check_places(found.joints_2d, what)
    return found


def _check_fit(
    arrays: dict[str, np.ndarray],
    given: Float[Tensor, "rows 17 2"],
    projected: Float[Tensor, "rows 17 2"],
    clip: Int[Tensor, " rows"],
    path: str,
    known: Bool[Tensor, "rows 17"] | None = None,
) -> None:
    size = float_tensor(arrays["res"])
    in_pixels = size if bool((size.amax(-1) > 2).all()) else None
    check_fit(given, H36M_17, projected, clip, f"{path}: pose2d", size / size.amax(-1, keepdim=True), in_pixels, known)


def _runs(names: np.ndarray, path: str) -> Int[Tensor, " rows"]:
    """Numbers of the clips in order of appearance. Raises DataError where a clip is interrupted by another."""
    starts = np.concatenate([[True], names[1:] != names[:-1]])
    first = names[starts]
    if len(np.unique(first)) < len(first):
        values, counts = np.unique(first, return_counts=True)
        raise DataError(
            f"{path}: clip: rows of a clip must be consecutive, but {str(values[counts > 1][0])!r} is interrupted"
        )
    return torch.from_numpy(np.cumsum(starts) - 1)
