"""Human3.6M as VideoPose3D's `data_3d_h36m.npz` stores it, and any motion written in that format.

Source: Ionescu et al., TPAMI 2014; file format of Pavllo et al., CVPR 2019: `positions_3d` -> {subject: {action:
[frames, 32, 3]}}, metres, world frame, z up. Every pose is seen by the data set's four cameras; the 2D is projected
with their distortion and divided by the image width (METHODS 1.4, 1.5).
"""

from dataclasses import dataclass
from hashlib import blake2b
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from dg.datasets import h36m_cameras
from dg.datasets.base import DataError, Dataset, PoseDataset, content_digest
from dg.datasets.validation import check_joints, check_shape, check_split, read_arrays
from dg.pose.batch import PoseBatch
from dg.pose.skeleton import H36M_17

FILE = "data_3d_h36m.npz"
# Which of the file's 32 joints are our 17; the others do not move or repeat these.
MOVING_JOINTS = (0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27)
VALIDATION_SHARE = 0.05
NEAREST_M = 0.3
VIEWS = len(h36m_cameras.INTRINSICS)


@dataclass(frozen=True)
class Options:
    """root: the file, or the folder it lies in. stride: every which frame of each clip is kept.

    validation: `clips` holds out a fixed 5 % of each train subject's clips, with all four cameras; a subject's name
    (`S8`) holds out that person instead. actions: names to keep (`Walking` keeps `Walking 1` too); none: all.
    fps: frame rate of the file, 50 for Human3.6M. label: what tables call it; give other motion its own.
    """

    root: str
    stride: int = 1
    subjects_train: tuple[str, ...] = ("S1", "S5", "S6", "S7", "S8")
    subjects_test: tuple[str, ...] = ("S9", "S11")
    validation: str = "clips"
    actions: tuple[str, ...] = ()
    keypoints: str = "gt"
    fps: float = 50.0
    label: str = "h36m"

    def __post_init__(self) -> None:
        subjects = (*self.subjects_train, *self.subjects_test)
        unknown = sorted(set(subjects) - set(h36m_cameras.EXTRINSICS))
        if unknown or not self.subjects_train or not self.subjects_test:
            raise ValueError(f"subjects must be among {list(h36m_cameras.EXTRINSICS)}, got {list(subjects)}")
        if len(set(subjects)) < len(subjects):
            raise ValueError(f"a subject may be named once, for train or for test, got {list(subjects)}")
        if self.validation != "clips" and self.validation not in self.subjects_train:
            raise ValueError(
                f"validation must be 'clips' or one of {list(self.subjects_train)}, got {self.validation!r}"
            )
        if self.keypoints != "gt":
            raise ValueError(f"keypoints must be 'gt' (2D by projection), got {self.keypoints!r}")
        if self.stride < 1 or not self.fps > 0:
            raise ValueError(f"stride must be at least 1 and fps positive, got {self.stride} and {self.fps}")


class Human36M(Dataset):
    """Human3.6M's poses and cameras: train S1, S5, S6, S7, S8, test S9, S11, validation held out of train."""

    Options = Options

    def load(self, split: str) -> PoseDataset:
        options: Options = self.options
        check_split(split, self.splits, options.root)
        path = Path(options.root)
        path = path / FILE if path.is_dir() else path
        motion = _read_motion(path, options.subjects_test if split == "test" else options.subjects_train)
        takes = {subject: _takes_of(split, subject, list(motion[subject]), options) for subject in motion}
        if not any(takes.values()):
            known = sorted({_action_name(action) for actions in motion.values() for action in actions})
            raise DataError(f"{path}: no clip is left for {split!r} of {options}; the file's actions: {known[:40]}")
        return _assemble(path, motion, takes, options)


def _read_motion(path: Path, subjects: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    if not path.exists():
        raise DataError(f"{path}: no such file; data.root must be VideoPose3D's {FILE}, or the folder it is in")
    motion = read_arrays(path, ["positions_3d"], allow_objects=["positions_3d"])["positions_3d"]
    motion = motion.item() if motion.dtype == object and motion.size == 1 else motion
    if not isinstance(motion, dict) or not all(isinstance(actions, dict) for actions in motion.values()):
        raise DataError(
            f"{path}: expected positions_3d as {{subject: {{action: joints}}}}, got {type(motion).__name__}"
        )
    missing = [s for s in subjects if not motion.get(s)]
    if missing:
        raise DataError(
            f"{path}: expected the subjects {list(subjects)}, but {missing} are missing; it has {sorted(motion)}. Name "
            "those to use with data.subjects_train and data.subjects_test"
        )
    return {s: motion[s] for s in subjects}


def _action_name(action: str) -> str:
    """`Walking` for the take `Walking 1`."""
    return action.split(" ")[0]


def _takes_of(split: str, subject: str, actions: list[str], options: Options) -> list[str]:
    """The clips of one subject that belong to a split, in file order."""
    actions = [a for a in actions if not options.actions or {a, _action_name(a)} & set(options.actions)]
    if split == "test":
        return actions
    if options.validation != "clips":
        return actions if (subject == options.validation) == (split == "val") else []

    # A hash and not a generator: a clip stays on its side whatever else the file holds.
    def draw(action: str) -> bytes:
        return blake2b(f"{subject}/{action}".encode(), digest_size=8).digest()

    count = ceil(VALIDATION_SHARE * len(actions)) if len(actions) > 1 else 0
    held_out = set(sorted(actions, key=draw)[:count])
    return [a for a in actions if (a in held_out) == (split == "val")]


def _assemble(
    path: Path, motion: dict[str, dict[str, Any]], takes: dict[str, list[str]], options: Options
) -> PoseDataset:
    """All clips of a split, each followed by itself in the next camera."""
    subjects = tuple(s for s in takes if takes[s])
    actions = tuple(sorted({_action_name(a) for s in subjects for a in takes[s]}))
    joints, lengths, labels = [], [], []
    for number, subject in enumerate(subjects):
        clips = [_joints_of(path, subject, a, motion[subject][a])[:: options.stride] for a in takes[subject]]
        views = h36m_cameras.see(torch.cat(clips), subject)
        for action, parts in zip(takes[subject], views.split([len(c) for c in clips], dim=1), strict=True):
            joints.append(parts.flatten(0, 1))
            lengths.append(parts.shape[1])
            labels.append((number, actions.index(_action_name(action))))
    frames = torch.tensor(lengths).repeat_interleave(VIEWS)
    camera_of = torch.arange(VIEWS).repeat(len(lengths)).repeat_interleave(frames)
    label_of = torch.tensor(labels).repeat_interleave(VIEWS, 0).repeat_interleave(frames, 0)
    poses = PoseBatch.from_joints(torch.cat(joints)[:, None], h36m_cameras.intrinsics()[camera_of], H36M_17)
    in_front = (poses.joints_3d[..., 2] > NEAREST_M).flatten(1).all(1)
    out_of_frame = int((~poses.camera.in_frame(poses.joints_3d)).sum())
    return PoseDataset(
        name=options.label,
        poses=poses.replace(valid=in_front),
        subject=label_of[:, 0],
        action=label_of[:, 1],
        clip=torch.arange(len(frames)).repeat_interleave(frames),
        subjects=subjects,
        actions=actions,
        fps=options.fps / options.stride,
        digest=content_digest(poses.joints_3d, poses.joints_2d),
        notes={
            "out_of_frame": f"{out_of_frame} of {len(poses)} poses leave the frame; kept, as the protocol does",
            "behind_camera": f"{int((~in_front).sum())} poses come closer than {NEAREST_M} m; marked invalid",
        },
    )


def _joints_of(path: Path, subject: str, action: str, take: Any) -> Float[Tensor, "frames 17 3"]:  # noqa: ANN401
    what = f"{path}: positions_3d[{subject!r}][{action!r}]"
    if not isinstance(take, np.ndarray):
        raise DataError(f"{what}: expected an array [rows, 32, 3], got {type(take).__name__}")
    check_shape(take, (None, 32, 3), what)
    joints = torch.from_numpy(np.ascontiguousarray(take[:, list(MOVING_JOINTS)], dtype=np.float32))
    check_joints(joints, H36M_17, what)
    return joints
