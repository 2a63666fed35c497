"""Fit3D: people who exercise, four cameras, marker-based joints, as its JSON files store them.

Source: Fieraru et al., "AIFit", CVPR 2021. Layout: SUBJECT/joints3d_25/ACTION.json, `joints3d_25` [frames, 25, 3] in
metres, world frame, and SUBJECT/camera_parameters/CAMERA/ACTION.json, whose `extrinsics` give x = R (X - T) and whose
`intrinsics_w_distortion` are Human3.6M's camera model, the tangential pair in the other order. The first 17 joints are
Human3.6M's in its order (METHODS 1.2); the last eight (two a foot, two a hand) have no counterpart and are left out.
Frames are 900 x 900 px at 50 fps. The published test part has no 3D.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from dg.datasets.base import DataError, Dataset, PoseDataset, content_digest
from dg.datasets.content import choices, content_id
from dg.datasets.image_keypoints import with_found
from dg.datasets.splits import clips_of
from dg.datasets.validation import check_joints, check_shape, check_split
from dg.files.safe_load import FileFormatError, load_json
from dg.pose.batch import PoseBatch
from dg.pose.camera import Camera
from dg.pose.skeleton import H36M_17
from dg.settings.config import Count, Positive

JOINTS = 25
NEAREST_M = 0.3
INTRINSICS = {"f": 2, "c": 2, "k": 3, "p": 2}
KNOWN_SUBJECTS = ("s03", "s04", "s05", "s07", "s08", "s09", "s10", "s11")


@dataclass(frozen=True)
class Options:
    """root: Fit3D's `train` folder, or the one it lies in. stride: every which frame; 2 is AugLift's 25 Hz.

    subjects_train, subjects_test: AugLift's split (METHODS 1.6); 5 % of a training person's exercises validate.
    size_px: width and height of the frames. keypoints: file of 2D that a detector found in the frames (.npz or COCO
    .json, `dg.datasets.image_keypoints`); frames without are left out. image_depth: file of dg.extract_depth, with
    depth and detections of the frames; frames without are left out.
    """

    root: str
    stride: Count = 2
    subjects_train: tuple[str, ...] = ("s03", "s04", "s05", "s07", "s08", "s09")
    subjects_test: tuple[str, ...] = ("s10", "s11")
    fps: Positive = 50.0
    size_px: Count = 900
    keypoints: str = ""
    image_depth: str = ""

    def __post_init__(self) -> None:
        subjects = (*self.subjects_train, *self.subjects_test)
        if len(set(subjects)) < len(subjects) or not self.subjects_train or not self.subjects_test:
            raise ValueError(
                f"subjects_train and subjects_test must name people of {list(KNOWN_SUBJECTS)}, each once, got "
                f"{list(subjects)}"
            )


class Fit3D(Dataset):
    """Fit3D's people by AugLift's split: train six, validation held out of their exercises, test two."""

    Options = Options

    def load(self, split: str) -> PoseDataset:
        """Read the exercises of a split as each of their cameras sees them."""
        options: Options = self.options
        check_split(split, self.splits, options.root)
        root = _train_folder(Path(options.root))
        subjects = options.subjects_test if split == "test" else options.subjects_train
        joints, cameras, labels, files, frames = [], [], [], [], []
        for subject in subjects:
            exercises = _exercises(root, subject)
            for action in exercises if split == "test" else clips_of(split, subject, exercises):
                files.append(root / subject / "joints3d_25" / f"{action}.json")
                world = _joints(files[-1], options.stride)
                for path in _camera_files(root / subject, action):
                    rotation, centre, camera = _camera(path, options.size_px)
                    joints.append(((world - centre) @ rotation.T).float())
                    cameras.append(camera)
                    labels.append((subject, action))
                    files.append(path)
                    numbers = range(1, options.stride * len(world) + 1, options.stride)
                    frames += [f"{subject}/{path.parent.name}/{action}/{number:06d}" for number in numbers]
        if not joints:
            raise DataError(f"{options.root}: no exercise is left for {split!r} of {options}")
        chosen = choices(options, "root", "subjects_train", "subjects_test", "fps", "keypoints", "image_depth")
        found = _dataset(joints, cameras, labels, options, content_id(chosen, *files))
        return with_found(found, frames, options.keypoints, options.image_depth)


def _dataset(
    clips: list[Float[Tensor, "frames 17 3"]],
    cameras: list[Camera],
    labels: list[tuple[str, str]],
    options: Options,
    content: str,
) -> PoseDataset:
    rows = torch.tensor([len(c) for c in clips])
    subjects = tuple(dict.fromkeys(subject for subject, _ in labels))
    actions = tuple(sorted({action for _, action in labels}))
    numbers = torch.tensor([(subjects.index(s), actions.index(a)) for s, a in labels]).repeat_interleave(rows, 0)
    clip = torch.arange(len(rows)).repeat_interleave(rows)
    poses = PoseBatch.from_joints(torch.cat(clips)[:, None], Camera.concatenate(cameras)[clip], H36M_17)
    in_front = (poses.joints_3d[..., 2] > NEAREST_M).flatten(1).all(1)
    return PoseDataset(
        name="Fit3D",
        poses=poses.replace(valid=in_front),
        subject=numbers[:, 0].contiguous(),
        action=numbers[:, 1].contiguous(),
        clip=clip,
        subjects=subjects,
        actions=actions,
        fps=options.fps / options.stride,
        digest=content_digest(poses.joints_3d, poses.joints_2d),
        flavour="joints3d_25",
        content=content,
        notes={"behind_camera": f"{int((~in_front).sum())} poses come closer than {NEAREST_M} m; marked invalid"},
    )


def _train_folder(root: Path) -> Path:
    for folder in (root, root / "train", root / "fit3d" / "train"):
        if folder.is_dir() and any(folder.glob("*/joints3d_25")):
            return folder
    raise DataError(
        f"{root}: expected Fit3D's train folder with SUBJECT/joints3d_25/ACTION.json; its test part has no 3D"
    )


def _exercises(root: Path, subject: str) -> list[str]:
    found = sorted(path.stem for path in (root / subject / "joints3d_25").glob("*.json"))
    if not found:
        known = sorted(path.parent.name for path in root.glob("*/joints3d_25"))
        raise DataError(
            f"{root}: expected the subject {subject} with joints3d_25/ACTION.json; it has {known}. Name those to use "
            "with data.subjects_train and data.subjects_test"
        )
    return found


def _camera_files(folder: Path, action: str) -> list[Path]:
    found = sorted((folder / "camera_parameters").glob(f"*/{action}.json"))
    if not found:
        raise DataError(f"{folder}: expected camera_parameters/CAMERA/{action}.json for the exercise; found none")
    return found


def _joints(path: Path, stride: int) -> Float[Tensor, "frames 17 3"]:
    content = _read(path)
    if not isinstance(content, dict) or "joints3d_25" not in content:
        found = f"the keys {sorted(content)[:10]}" if isinstance(content, dict) else type(content).__name__
        raise DataError(f"{path}: expected {{'joints3d_25': [frames, {JOINTS}, 3]}}, got {found}")
    values = _numbers(content["joints3d_25"], f"{path}: joints3d_25")
    check_shape(values, (None, JOINTS, 3), f"{path}: joints3d_25")
    joints = torch.from_numpy(values[::stride, : len(H36M_17)].copy())
    check_joints(joints, H36M_17, f"{path}: joints3d_25")
    return joints


def _camera(path: Path, size_px: int) -> tuple[Float[Tensor, "3 3"], Float[Tensor, "3"], Camera]:
    """Rotation from the world, the camera's centre in it, and intrinsics as one row."""
    content = _read(path)
    try:
        outside, inside = content["extrinsics"], content["intrinsics_w_distortion"]
        rotation, centre = (torch.from_numpy(_numbers(outside[name], f"{path}: {name}")) for name in "RT")
        parts = {n: torch.from_numpy(_numbers(inside[n], f"{path}: {n}")).float().reshape(1, -1) for n in INTRINSICS}
    except (KeyError, TypeError) as error:
        raise DataError(f"{path}: expected extrinsics R, T and intrinsics_w_distortion f, c, k, p ({error})") from error
    right_sizes = rotation.shape == (3, 3) and centre.numel() == 3
    if not right_sizes or any(part.shape[1] != INTRINSICS[name] for name, part in parts.items()):
        raise DataError(f"{path}: expected R [3, 3], T [3] and f, c, k, p of 2, 2, 3 and 2 numbers")
    if not torch.allclose(rotation @ rotation.T, torch.eye(3, dtype=rotation.dtype), atol=1e-3) or rotation.det() < 0:
        raise DataError(f"{path}: extrinsics R is no rotation")
    if not (parts["f"] > 0).all() or not (0 < parts["c"]).all() or (parts["c"] > size_px).any():
        raise DataError(
            f"{path}: expected f and c in pixels of a frame of {size_px} px, got {inside['f']}, {inside['c']}"
        )
    distortion = torch.cat([parts["k"], parts["p"].flip(1)], 1)
    size = torch.full((1, 2), float(size_px))
    return rotation, centre.reshape(3), Camera.from_pixels(parts["f"], parts["c"], size, distortion)


def _read(path: Path) -> Any:  # noqa: ANN401 - what a JSON file holds
    try:
        return load_json(path)
    except FileFormatError as error:
        raise DataError(str(error)) from error


def _numbers(value: Any, what: str) -> np.ndarray:  # noqa: ANN401
    try:
        values = np.array(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{what}: expected numbers in a regular array ({error})") from error
    if not np.isfinite(values).all():
        raise DataError(f"{what}: expected finite numbers, found NaN or infinity")
    return values
