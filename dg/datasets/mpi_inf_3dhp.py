"""MPI-INF-3DHP: its test set under the field's protocols, from its own files or from those of SPIN and PoseAug, and its
training part (`dg.datasets.mpi_inf_3dhp_train`) as a source.

Source: Mehta et al., "Monocular 3D Human Pose Estimation In The Wild", 3DV 2017; protocols: METHODS 1.6 and 7. The 2D
is the file's own, never the projection. Intrinsics are estimated by least squares from `annot2` and `annot3` of a whole
sequence (as MMPose does) or the data set's calibration; where the file leaves out where people stand, they stand where
they project best onto their 2D.

| root is | joints | intrinsics | position |
|---|---|---|---|
| the folder of TS1 to TS6, `annot3` | 17 | estimated, or calibration | the file's |
| the same, `univ_annot3` | 17 | estimated, or calibration | from the 2D, on which the rescaled person projects |
| SPIN's `mpi_inf_3dhp_valid.npz` | 17 of its 24 | calibration | from the 2D |
| PoseAug's `test_3dhp.npz` | 16 | calibration | from the 2D |
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from dg.datasets.base import SPLITS, DataError, Dataset, PoseDataset, content_digest
from dg.datasets.content import choices, content_id
from dg.datasets.image_keypoints import with_found
from dg.datasets.mpi_inf_3dhp_annotations import ACTIVITIES, FILE, Annotations, read_annotations
from dg.datasets.mpi_inf_3dhp_cameras import SEQUENCES, Views, check_projection, placed
from dg.datasets.mpi_inf_3dhp_files import GROUND_TRUTH, Frames, read_file
from dg.datasets.mpi_inf_3dhp_train import (
    CHEST_HEIGHT,
    SUBJECTS,
    TAIL,
    TrainingPart,
    files_of,
    load_training,
    training_folder,
)
from dg.datasets.protocols import BENCHMARKS
from dg.datasets.validation import check_finite, check_in_front, check_joints, check_split
from dg.pose.batch import PoseBatch
from dg.pose.camera import Camera, normalise_pixels
from dg.pose.joint_map import convert_joints
from dg.pose.skeleton import H36M_17, MPI_INF_3DHP_17
from dg.settings.config import Count, Positive

# AdaptPose leaves out the first frames of these two (METHODS 1.6).
CUT_SEQUENCES, CUT_FRAMES = ("TS3", "TS4"), 100
FOLDERS = ("", "mpi_inf_3dhp_test_set", "test")


@dataclass(frozen=True)
class Options:
    """root: the folder that holds TS1 to TS6, or one of the two npz files. protocol: which frames, and whether the
    mirror image is averaged: `3DHP-2929` and `3DHP-valid` take the frames marked valid, `3DHP-all` all of them,
    `3DHP-all-24688` all but the first hundred of TS3 and TS4.

    gt: `annot3` or `univ_annot3`; empty: the protocol's. intrinsics: `estimated` or `calibration`; empty: estimated
    where the file allows it. inside: leave out frames with a joint outside the image, as SPIN's script does. stride:
    every which of the kept frames of a sequence. keypoints: file of 2D that a detector found in the frames (.npz or
    COCO .json, `dg.datasets.image_keypoints`), in the place of the file's own. image_depth: file of dg.extract_depth,
    with depth and detections of the frames. Frames that either lacks are left out. fps: of the video; the files do not
    say.

    Of the training part: subjects_train and cameras, by number; validation: `tail`, the last 5 % of each sequence in
    all its cameras, or a subject's name.
    """

    root: str
    protocol: Literal["3DHP-2929", "3DHP-valid", "3DHP-all", "3DHP-all-24688"] = "3DHP-2929"
    gt: Literal["", "annot3", "univ_annot3"] = ""
    intrinsics: Literal["", "estimated", "calibration"] = ""
    inside: bool = False
    sequences: tuple[str, ...] = SEQUENCES
    stride: Count = 1
    keypoints: str = ""
    image_depth: str = ""
    fps: Positive = 25.0
    subjects_train: tuple[str, ...] = SUBJECTS
    cameras: tuple[int, ...] = CHEST_HEIGHT
    validation: str = TAIL

    def __post_init__(self) -> None:
        if not self.sequences or not set(self.sequences) <= set(SEQUENCES):
            raise ValueError(f"sequences must be among {list(SEQUENCES)}, got {list(self.sequences)}")
        if problem := self.training_part.problems():
            raise ValueError(problem)

    @property
    def training_part(self) -> TrainingPart:
        """Which of the training part is read."""
        return TrainingPart(self.subjects_train, self.cameras, self.ground_truth, self.stride, self.validation)

    @property
    def ground_truth(self) -> str:
        """The 3D that is read: the option `gt`, or the protocol's own."""
        return self.gt or BENCHMARKS[self.protocol].flavour


_Options = Options  # inside the class the name is its attribute


class MpiInf3DHP(Dataset):
    """The test set, and the training part where `root` holds it too."""

    Options = Options

    def __init__(self, options: _Options) -> None:
        super().__init__(options)
        self.splits = SPLITS if training_folder(Path(options.root)) else ("test",)

    def load(self, split: str) -> PoseDataset:
        """Read the frames of the protocol of the test set's folder or npz file, or a split of the training part."""
        options: Options = self.options
        if split in ("train", "val"):
            return self._training(split)
        check_split(split, self.splits, options.root)
        if Path(options.root).is_dir():
            frames = _read_sequences(Path(options.root), options)
        else:
            frames = _read_npz(options)
        rows = _rows(frames, options)
        if not rows.any():
            raise DataError(f"{options.root}: no frame is left for {options}")
        kept = frames.take(rows)
        found = replace(_dataset(kept, options), content=_content(Path(options.root), options))
        if not options.keypoints and not options.image_depth:
            return found
        return with_found(found, _frame_names(kept, options), options.keypoints, options.image_depth)

    def _training(self, split: str) -> PoseDataset:
        options: Options = self.options
        folder = training_folder(Path(options.root))
        if folder is None:
            raise DataError(
                f"{options.root}: the training part of MPI-INF-3DHP is not here; expected S1/Seq1/annot.mat to "
                "S8/Seq2/annot.mat below it"
            )
        part = options.training_part
        found, names = load_training(folder, part, split)
        found = replace(found, content=content_id(split, repr(part), *files_of(folder, part, split)))
        return with_found(found, names, options.keypoints, options.image_depth)


def _frame_names(frames: Frames, options: Options) -> list[str]:
    """Raises DataError where the file does not say which frame a row is."""
    if frames.sequences != SEQUENCES or (frames.frame < 0).any():
        raise DataError(
            f"{options.root}: does not say which frame a row is, by which keypoints and image_depth know it; give the "
            "folder of TS1 to TS6, or SPIN's file"
        )
    places = zip(frames.sequence.tolist(), frames.frame.tolist(), strict=True)
    return [f"{SEQUENCES[sequence]}/imageSequence/img_{frame + 1:06d}.jpg" for sequence, frame in places]


def _content(root: Path, options: Options) -> str:
    files = (
        [root] if root.is_file() else [_folder(root) / name / FILE for name in SEQUENCES if name in options.sequences]
    )
    chosen = choices(options, "root", "fps", "keypoints", "image_depth", "subjects_train", "cameras", "validation")
    return content_id(chosen, *files)


def _read_sequences(root: Path, options: Options) -> Frames:
    folder = _folder(root)
    missing = [name for name in options.sequences if not (folder / name / FILE).is_file()]
    if missing:
        raise DataError(
            f"{folder}: expected {FILE} in each of {list(options.sequences)}, but {missing} have none; data.root must "
            "be the folder that holds them"
        )
    parts = [_sequence(folder / name / FILE, name, options) for name in SEQUENCES if name in options.sequences]
    views = Views(*[torch.cat([getattr(p.views, n) for p in parts]) for n in ("size", "focal", "center")])
    names = ("joints", "pixels", "sequence", "frame", "activity")
    joints, pixels, sequence, frame, activity = (torch.cat([getattr(p, n) for p in parts]) for n in names)
    return Frames(joints, pixels, H36M_17, views, sequence, frame, activity, SEQUENCES)


def _folder(root: Path) -> Path:
    return next((root / name for name in FOLDERS if (root / name / SEQUENCES[0]).is_dir()), root)


def _sequence(path: Path, name: str, options: Options) -> Frames:
    found = read_annotations(path)
    kept = _kept_frames(found, name, options).nonzero()[:, 0]
    if not len(kept):
        raise DataError(f"{path}: valid_frame: expected some valid frames, found none")
    pixels, metric, wanted = (
        convert_joints(values[kept], MPI_INF_3DHP_17, H36M_17)
        for values in (found.pixels, found.joints["annot3"], found.joints[options.ground_truth])
    )
    check_finite(pixels, f"{path}: annot2")
    for label, joints in (("annot3", metric), (options.ground_truth, wanted)):
        check_joints(joints, H36M_17, f"{path}: {label} (mm, divided by 1000)")
    check_in_front(metric, f"{path}: annot3")
    number = SEQUENCES.index(name)
    sequence = torch.full((len(kept),), number)
    calibrated = options.intrinsics == "calibration"
    views = Views.calibrated(sequence) if calibrated else Views.estimated(metric, pixels, number)
    check_projection(metric, pixels, views, f"{path}: annot2 and annot3")
    if options.ground_truth != "annot3":
        wanted = placed(wanted, pixels, views)
        check_projection(wanted, pixels, views, f"{path}: annot2 and {options.ground_truth}")
    return Frames(wanted, pixels, H36M_17, views, sequence, kept, found.activity[kept], SEQUENCES)


def _kept_frames(found: Annotations, name: str, options: Options) -> Bool[Tensor, " frames"]:
    kept = torch.ones_like(found.valid) if "all" in options.protocol else found.valid.clone()
    if options.protocol == "3DHP-all-24688" and name in CUT_SEQUENCES:
        kept[:CUT_FRAMES] = False
    return kept


def _read_npz(options: Options) -> Frames:
    if "all" in options.protocol or options.ground_truth != GROUND_TRUTH or options.intrinsics == "estimated":
        raise DataError(
            f"{options.root}: SPIN's and PoseAug's files hold valid frames of {GROUND_TRUTH} without position, so the "
            f"intrinsics cannot be estimated; expected protocol=3DHP-2929, got {options}"
        )
    frames = read_file(options.root)
    if options.sequences != SEQUENCES and frames.sequences != SEQUENCES:
        raise DataError(f"{options.root}: does not name the sequences; expected all of them, got {options.sequences}")
    return frames


def _rows(frames: Frames, options: Options) -> Bool[Tensor, " rows"]:
    """The rows that stay: those inside the image where asked for, and every `stride`-th of them in each sequence."""
    named = frames.sequences == SEQUENCES
    kept = torch.tensor([not named or name in options.sequences for name in frames.sequences])[frames.sequence]
    if options.inside:
        size = frames.views.size[:, None]
        kept &= ((frames.pixels >= 0) & (frames.pixels < size)).all(-1).all(-1)
    for number in frames.sequence.unique().tolist():
        here = (kept & (frames.sequence == number)).nonzero()[:, 0]
        kept[here] = torch.arange(len(here)) % options.stride == 0
    return kept


def _dataset(frames: Frames, options: Options) -> PoseDataset:
    benchmark, views = BENCHMARKS[options.protocol], frames.views
    camera = Camera.from_pixels(views.focal, views.center, views.size)
    joints = frames.joints[:, None].contiguous()
    poses = PoseBatch.from_joints(joints, camera, frames.skeleton, normalise_pixels(frames.pixels, views.size)[:, None])
    inside = camera.in_frame(joints).flatten()
    clip, step = _clips(frames)
    (sequences, sequence), (activities, activity) = (
        values.unique(return_inverse=True) for values in (frames.sequence, frames.activity)
    )
    gap = views.gap(frames.joints, frames.pixels)
    return PoseDataset(
        name=benchmark.name,
        poses=poses.replace(valid=inside),
        subject=sequence,
        action=activity,
        clip=clip,
        subjects=tuple(frames.sequences[n] for n in sequences.tolist()),
        actions=tuple(ACTIVITIES[n] for n in activities.tolist()),
        fps=options.fps / step,
        digest=content_digest(joints, poses.joints_2d),
        flavour=options.ground_truth,
        flip_tta=benchmark.tta == "flip",
        notes={
            "frames": _frames_note(len(joints), options),
            "gap": f"the file's 2D is {gap.median():.2g} px (median) and at most {gap.max():.2g} px off the projection",
            "out_of_frame": f"{int((~inside).sum())} poses leave the frame; evaluated, not trained on",
            "clips": f"of rows that are {step} of the video's frames apart",
        },
    )


def _frames_note(rows: int, options: Options) -> str:
    benchmark = BENCHMARKS[options.protocol]
    if rows == benchmark.frames and options.ground_truth == benchmark.flavour:
        return f"as the field's {benchmark.name}"
    return (
        f"{rows:,} of {options.ground_truth}; the field's {benchmark.name} has {benchmark.frames:,} of "
        f"{benchmark.flavour}: not comparable"
    )


def _clips(frames: Frames) -> tuple[Int[Tensor, " rows"], int]:
    """Numbers of the stretches of one sequence and activity whose frames follow each other evenly, and their step.

    Rows without a frame number are alone: nothing says that they follow each other.
    """
    if len(frames.frame) < 2:
        return torch.zeros_like(frames.frame), 1
    same = (frames.sequence.diff() == 0) & (frames.activity.diff() == 0)
    apart = frames.frame.diff()
    forward = apart[same & (apart > 0)]
    step = int(forward.mode().values) if len(forward) else 1
    new = ~(same & (apart == step))
    return torch.cat([new.new_zeros(1), new]).long().cumsum(0), step
