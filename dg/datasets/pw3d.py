"""3DPW (von Marcard et al., ECCV 2018) under PoseBench3D's and the J_regressor protocol (METHODS 1.6, 4.5 and 7).

`3DPW-PB`: SMPL's 24 joints as the files hold them; `3DPW-jreg`: Human3.6M's 17, regressed from the surface of each
person's SMPL body, which takes SMPL's own files. Both keep every person-frame with a valid camera pose, of all
sequences of a split (35,515 in the 24 test sequences), bring it to the camera frame, and take the projection for 2D.

Frames are upright or lying, as each sequence's principal point says, and both are divided by the longer side, as
PoseAug's authors do; PoseBench3D takes 1080 x 1920 px for all, which shifts the 2D of every lying sequence.
"""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dg.datasets.base import SPLITS, DataError, Dataset, PoseDataset, content_digest
from dg.datasets.content import choices, content_id
from dg.datasets.image_keypoints import with_found
from dg.datasets.protocols import BENCHMARKS, POSEBENCH, Normalise
from dg.datasets.pw3d_regressed import RegressedJoints
from dg.datasets.pw3d_sequences import Person, Sequence, files_of_split, read_sequence
from dg.datasets.validation import check_split
from dg.pose.batch import PoseBatch
from dg.pose.camera import Camera
from dg.pose.skeleton import H36M_17, SMPL_24
from dg.settings.config import Count, Positive

REGRESSED = "3DPW-jreg"
LARGEST_SHARE_BEHIND = 0.01
# Whose sequences make up the parts of 3DPW as a whole: a target tests on all, a source holds out its validation part.
WHOLE = {"train": ("train", "test"), "val": ("val",), "test": SPLITS}


@dataclass(frozen=True)
class Options:
    """root: the folder that holds `sequenceFiles`. protocol: `3DPW-PB` or `3DPW-jreg`. stride: every which frame.

    smpl, regressor: for `3DPW-jreg`, the SMPL file (`{gender}` in it stands for MALE or FEMALE; one file without it
    serves for both) and `J_regressor_h36m.npy`. normalise: `frame` divides the 2D by each frame's longer side,
    `posebench` by 1080, of a frame of 1080 x 1920 px whatever the video's, as PoseBench3D and AugLift's numbers do.
    keypoints: file of 2D that a detector found in the frames (.npz or COCO .json, `dg.datasets.image_keypoints`), which
    is then on Human3.6M's joints. image_depth: file of dg.extract_depth, with depth and detections of the frames, and
    the joints are those that depth was read at. Frames that either lacks are left out. whole: the sequences of all
    three splits make up the part `test`, as in AugLift's tables with detections; as a source all but its validation
    part train, and a run that tests on them is refused.
    """

    root: str
    protocol: Literal["3DPW-PB", "3DPW-jreg"] = "3DPW-PB"
    smpl: str = ""
    regressor: str = ""
    stride: Count = 1
    fps: Positive = 30.0
    normalise: Normalise = "frame"
    keypoints: str = ""
    image_depth: str = ""
    whole: bool = False

    def __post_init__(self) -> None:
        if (self.protocol == REGRESSED) != bool(self.smpl and self.regressor):
            raise ValueError(
                f"protocol={REGRESSED} needs both smpl and regressor, and no other takes them; got "
                f"protocol={self.protocol}, smpl={self.smpl!r} and regressor={self.regressor!r}"
            )
        if (self.keypoints or self.image_depth) and self.normalise == POSEBENCH:
            raise ValueError(
                "normalise=posebench takes every frame for 1080 x 1920 px, which the frames of keypoints and "
                "image_depth are not; give normalise=frame"
            )


@dataclass(frozen=True)
class Track:
    """One person of one sequence: camera-frame joints of the frames that are kept, and their numbers."""

    sequence: Sequence
    number: int
    joints: Float[Tensor, "rows joints 3"]
    frames: Int[Tensor, " rows"]


class PW3D(Dataset):
    """3DPW's own splits. The files do not name people, so a person is `SEQUENCE person NUMBER`."""

    Options = Options

    def load(self, split: str) -> PoseDataset:
        """Read every person-frame of a split that has a valid camera pose."""
        options: Options = self.options
        check_split(split, self.splits, options.root)
        regressed = RegressedJoints(options.smpl, options.regressor) if options.protocol == REGRESSED else None
        parts = WHOLE[split] if options.whole else (split,)
        tracks, left_out, files = [], 0, [path for part in parts for path in files_of_split(options.root, part)]
        for path in files:
            sequence = read_sequence(path, bodies=regressed is not None)
            for number, person in enumerate(sequence.people):
                left_out += int((~person.valid).sum())
                if person.valid.any():
                    tracks.append(_track(sequence, number, person, regressed, options.stride))
        if not tracks:
            raise DataError(f"{files[0].parent}: expected frames with a valid camera pose; none of {left_out} has one")
        notes = {"left_out": f"{left_out:,} person-frames of {len(files)} sequences have no valid camera pose"}
        if regressed is not None:
            notes["smpl"] = regressed.note()
        models = [Path(options.smpl.format(gender=gender)) for gender in ("MALE", "FEMALE")] if options.smpl else []
        models = [*dict.fromkeys(models), *([Path(options.regressor)] if options.regressor else [])]
        chosen = choices(options, "root", "smpl", "regressor", "fps", "keypoints", "image_depth")
        found = replace(
            _dataset(tracks, split, options, notes),
            content=content_id(chosen, *files, *(m for m in models if m.is_file())),
        )
        if not options.keypoints and not options.image_depth:
            return found
        names = [f"{t.sequence.path.stem}/image_{frame:05d}.jpg" for t in tracks for frame in t.frames.tolist()]
        return with_found(found, names, options.keypoints, options.image_depth)


def _track(sequence: Sequence, number: int, person: Person, regressed: RegressedJoints | None, stride: int) -> Track:
    world = person.joints[person.valid] if regressed is None else regressed.of(sequence, person)
    frames = person.valid.nonzero()[:, 0]
    # By number in the video, so that what is kept of it stays evenly spaced.
    kept = frames % stride == 0
    return Track(sequence, number, sequence.seen(world, person.valid)[kept], frames[kept])


def _dataset(tracks: list[Track], split: str, options: Options, notes: dict[str, str]) -> PoseDataset:
    benchmark = BENCHMARKS[options.protocol]
    skeleton = H36M_17 if options.protocol == REGRESSED else SMPL_24
    joints = torch.cat([track.joints for track in tracks])[:, None]
    rows = torch.tensor([len(track.joints) for track in tracks])
    _check_in_front(joints, tracks)
    focal, center, size = (
        torch.stack([getattr(track.sequence, name) for track in tracks]).repeat_interleave(rows, 0)
        for name in ("focal", "center", "size")
    )
    camera = Camera.from_pixels(focal, center, size, longer_side=True)
    inside = camera.in_frame(joints).flatten()
    if options.normalise == POSEBENCH:
        camera = Camera.as_posebench(focal, center)
    poses = PoseBatch.from_joints(joints, camera, skeleton)
    videos = [re.sub(r"_\d+$", "", track.sequence.path.stem) for track in tracks]
    actions = tuple(sorted(set(videos)))
    upright = int((size[:, 0] < size[:, 1]).sum())
    return PoseDataset(
        name=benchmark.name,
        poses=poses.replace(valid=inside),
        subject=torch.arange(len(tracks)).repeat_interleave(rows),
        action=torch.tensor([actions.index(video) for video in videos]).repeat_interleave(rows),
        clip=_clips(tracks, options.stride),
        subjects=tuple(f"{track.sequence.path.stem} person {track.number}" for track in tracks),
        actions=actions,
        fps=options.fps / options.stride,
        digest=content_digest(joints, poses.joints_2d),
        flavour=benchmark.flavour,
        norm=options.normalise,
        flip_tta=benchmark.tta == "flip",
        notes={
            "frames": _frames_note(len(joints), split, options),
            "upright": f"{upright:,} rows are from portrait videos, {len(joints) - upright:,} from landscape ones",
            "out_of_frame": f"{int((~inside).sum()):,} poses leave the frame; evaluated, not trained on",
            **notes,
        },
    )


def _frames_note(rows: int, split: str, options: Options) -> str:
    benchmark = BENCHMARKS[options.protocol]
    if options.whole:
        return f"the {', '.join(WHOLE[split])} parts; the field's {benchmark.name} is the test part"
    if split != "test":
        return f"the {split} part; the field's {benchmark.name} is the test part"
    if rows == benchmark.frames:
        return f"as the field's {benchmark.name}"
    return f"{rows:,}; the field's {benchmark.name} has {benchmark.frames:,}: not comparable"


def _check_in_front(joints: Float[Tensor, "rows 1 joints 3"], tracks: list[Track]) -> None:
    """Raises DataError where people lie behind the camera; single poses that reach past it are only not trained on."""
    behind = torch.cat([(track.joints[..., 2] <= 0).any(1) for track in tracks])
    if behind.float().mean() > LARGEST_SHARE_BEHIND:
        worst = max(tracks, key=lambda track: int((track.joints[..., 2] <= 0).any(1).sum()))
        raise DataError(
            f"{worst.sequence.path}: jointPositions and cam_poses: {int(behind.sum())} of {len(joints)} poses of the "
            "split lie behind the camera, most of them here; expected world joints and world-to-camera motions"
        )


def _clips(tracks: list[Track], stride: int) -> Int[Tensor, " rows"]:
    """Numbers of the stretches of one person without a gap."""
    starts = []
    for track in tracks:
        first = torch.ones(min(len(track.frames), 1), dtype=torch.bool)
        starts.append(torch.cat([first, track.frames.diff() != stride]))
    return torch.cat(starts).long().cumsum(0) - 1
