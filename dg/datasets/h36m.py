"""Human3.6M as VideoPose3D's `data_3d_h36m.npz` stores it, and any motion written in that format.

Source: Ionescu et al., TPAMI 2014; file format of Pavllo et al., CVPR 2019: `positions_3d` -> {subject: {action:
[frames, 32, 3]}}, metres, world frame, z up. Every pose is seen by the data set's four cameras; the 2D is projected
(`dg.datasets.h36m_room`) or a detector's (`dg.datasets.h36m_detections`).
"""

import re
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float
from torch import Tensor

from dg.datasets import h36m_cameras
from dg.datasets.base import DataError, Dataset, PoseDataset
from dg.datasets.content import choices, content_id
from dg.datasets.h36m_detections import Detections, read_detections, take_2d, unboxed
from dg.datasets.h36m_room import Take, seen_by_four
from dg.datasets.image_keypoints import with_found
from dg.datasets.keypoints import is_file_of_keypoints
from dg.datasets.splits import clips_of
from dg.datasets.validation import check_joints, check_shape, check_split, float_tensor, read_arrays
from dg.pose.skeleton import H36M_17
from dg.settings.config import Count, Positive

FILE = "data_3d_h36m.npz"
DETECTIONS = "data_2d_h36m_{}.npz"
# Which of the file's 32 joints are our 17; the others do not move or repeat these.
MOVING_JOINTS = (0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27)
# Takes with corrupt video or misplaced 3D, by who leaves them out (METHODS 1.6). MotionBERT's act_05_subact_02,
# act_10_subact_02 and act_13_subact_01 are the takes that AugLift calls Greeting, SittingDown and Waiting_1.
_MISPLACED = (("S9", "Greeting"), ("S9", "SittingDown"), ("S9", "Waiting 1"))
CORRUPT_TAKES: dict[str, tuple[tuple[str, str], ...]] = {
    "videopose3d": (("S11", "Directions"),),
    "motionbert": _MISPLACED,
    "auglift": _MISPLACED,
    "all": (),
}


@dataclass(frozen=True)
class Options:
    """root: the 3D file, or the folder it lies in. stride: every which frame of each clip is kept.

    validation: `clips` holds out a fixed 5 % of each train subject's clips, with all four cameras; a subject's name
    (`S8`) holds out that person instead. actions: names to keep (`Walking` keeps `Walking 1` too, and `Wal*` is a
    pattern); none: all. without: names to leave out, likewise.
    keypoints: `gt` (projected), a detector's name, such as `cpn_ft_h36m_dbb`, whose `data_2d_h36m_NAME.npz` lies beside
    the 3D file, or any other file (.npz or COCO .json, `dg.datasets.image_keypoints`), which knows frames by their
    names. takes: whose list of corrupt takes is left out (`videopose3d`, `motionbert`, `auglift`), or
    `all` to keep every one. image_depth: file of dg.extract_depth, with depth and detections of the frames, which take
    the place of `keypoints` where they are others; frames without are left out. fps: frame rate of the file, 50 for
    Human3.6M. label: what tables call it; give other motion its own.
    """

    root: str
    stride: Count = 1
    subjects_train: tuple[str, ...] = ("S1", "S5", "S6", "S7", "S8")
    subjects_test: tuple[str, ...] = ("S9", "S11")
    validation: str = "clips"
    actions: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    keypoints: str = "gt"
    takes: Literal["videopose3d", "motionbert", "auglift", "all"] = "videopose3d"
    image_depth: str = ""
    fps: Positive = 50.0
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
        if not self.keypoint_file and not re.fullmatch(r"\w[\w.-]*", self.keypoints):
            raise ValueError(
                "keypoints must be 'gt', a detector such as 'cpn_ft_h36m_dbb' or a file .npz or .json, got "
                f"{self.keypoints!r}"
            )

    @property
    def keypoint_file(self) -> str:
        """The file that `keypoints` names; empty where it is a detector's name or `gt`."""
        return self.keypoints if is_file_of_keypoints(self.keypoints) else ""

    @property
    def detector(self) -> str:
        """The detector whose 2D lies beside the 3D file, or `gt`."""
        return "gt" if self.keypoint_file else self.keypoints


class Human36M(Dataset):
    """Human3.6M's poses and cameras: train S1, S5, S6, S7, S8, test S9, S11, validation held out of train."""

    Options = Options

    def load(self, split: str) -> PoseDataset:
        """Read the takes of a split as the four cameras see them, with the 2D that the option `keypoints` names."""
        options: Options = self.options
        check_split(split, self.splits, options.root)
        path = Path(options.root)
        path = path / FILE if path.is_dir() else path
        motion = _read_motion(path, options.subjects_test if split == "test" else options.subjects_train)
        names = {subject: _takes_of(split, subject, list(motion[subject]), options) for subject in motion}
        if not any(names.values()):
            known = sorted({_action_name(action) for actions in motion.values() for action in actions})
            raise DataError(f"{path}: no clip is left for {split!r} of {options}; the file's actions: {known[:40]}")
        detections, files = None, [path]
        if options.detector != "gt":
            files.append(path.with_name(DETECTIONS.format(options.detector)))
            detections = read_detections(files[-1])
        dropped = [f"{s} {a}" for s, a in CORRUPT_TAKES[options.takes] if a in motion.get(s, {})]
        takes, cut, filled = _takes(path, motion, names, detections, options)
        found = seen_by_four(
            takes,
            H36M_17,
            name=options.label,
            fps=options.fps / options.stride,
            flavour="camera-frame" if options.takes == "videopose3d" else f"camera-frame-{options.takes}",
            source_2d=options.detector,
            content=content_id(split, choices(options, "root", "label", "fps", "keypoints", "image_depth"), *files),
            notes={
                "corrupt_takes": f"left out as {options.takes} does: {', '.join(dropped) or 'none of them is here'}",
                **({"without_2d": f"{cut} frames have no 2D in some camera; left out"} if detections else {}),
                **({"missing_2d": f"{filled:,} joints were not found; put where they may have been"} if filled else {}),
            },
        )
        if not options.keypoint_file and not options.image_depth:
            return found
        frames = _frames_of(names, takes, options.stride)
        return with_found(found, frames, options.keypoint_file, options.image_depth)


def _frames_of(names: dict[str, list[str]], takes: list[Take], stride: int) -> list[str]:
    """Name of each row's frame, in the order of `seen_by_four`."""
    clips = [(subject, action) for subject, actions in names.items() for action in actions]
    return [
        f"{subject}/{action}.{camera.id}/{frame:06d}"
        for (subject, action), take in zip(clips, takes, strict=True)
        for camera in h36m_cameras.INTRINSICS
        for frame in range(1, stride * len(take.joints) + 1, stride)
    ]


def _read_motion(path: Path, subjects: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    if not path.exists():
        raise DataError(f"{path}: no such file; data.root must be VideoPose3D's {FILE}, or the folder it is in")
    motion = unboxed(read_arrays(path, ["positions_3d"], allow_objects=["positions_3d"])["positions_3d"])
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


def _is_one_of(action: str, names: tuple[str, ...]) -> bool:
    return any(fnmatchcase(known, name) for name in names for known in (action, _action_name(action)))


def _takes_of(split: str, subject: str, actions: list[str], options: Options) -> list[str]:
    """The clips of one subject that belong to a split, in file order."""
    corrupt = {a for s, a in CORRUPT_TAKES[options.takes] if s == subject}
    actions = [a for a in actions if a not in corrupt]
    actions = [a for a in actions if not options.actions or _is_one_of(a, options.actions)]
    actions = [a for a in actions if not _is_one_of(a, options.without)]
    if split == "test":
        return actions
    if options.validation != "clips":
        return actions if (subject == options.validation) == (split == "val") else []
    return clips_of(split, subject, actions)


def _takes(
    path: Path,
    motion: dict[str, dict[str, Any]],
    names: dict[str, list[str]],
    detections: Detections | None,
    options: Options,
) -> tuple[list[Take], int, int]:
    """The clips, how many frames were left out for want of 2D, and how many joints no detector found."""
    takes, cut, filled = [], 0, 0
    for subject, actions in names.items():
        for action in actions:
            # Popped, so that the file's 32 joints do not stay in memory beside our 17.
            joints = _joints_of(path, subject, action, motion[subject].pop(action))
            take = Take(subject, _action_name(action), joints, cameras_of=subject)
            if detections is not None:
                seen = h36m_cameras.see(take.joints, take.subject)
                found = take_2d(detections, take.subject, action, seen)
                kept = found.joints_2d.shape[1]
                take = replace(take, joints=joints[:kept], joints_2d=found.joints_2d, confidence=found.confidence)
                cut, filled = cut + len(joints) - kept, filled + found.filled
            takes.append(_strided(take, options.stride))
    return takes, cut, filled


def _strided(take: Take, stride: int) -> Take:
    if stride == 1:
        return take
    return replace(
        take,
        joints=take.joints[::stride],
        joints_2d=None if take.joints_2d is None else take.joints_2d[:, ::stride],
        confidence=None if take.confidence is None else take.confidence[:, ::stride],
    )


def _joints_of(path: Path, subject: str, action: str, take: Any) -> Float[Tensor, "frames 17 3"]:  # noqa: ANN401
    what = f"{path}: positions_3d[{subject!r}][{action!r}]"
    if not isinstance(take, np.ndarray):
        raise DataError(f"{what}: expected an array [rows, 32, 3], got {type(take).__name__}")
    check_shape(take, (None, 32, 3), what)
    joints = float_tensor(take[:, list(MOVING_JOINTS)])
    check_joints(joints, H36M_17, what)
    return joints
