"""CMU's motion capture database in its own format: `NN.asf` skeletons and `NN_MM.amc` (or `.amc.gz`) motions.

Source: CMU Graphics Lab motion capture database, mocap.cs.cmu.edu (NSF EIA-0196217). The database has no cameras: each
motion is moved to the middle of Human3.6M's room, where its four cameras see it, so that it can be a source.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from dg.datasets.asf_amc import AsfSkeleton, bone_ends, read_amc, read_asf
from dg.datasets.base import DataError, Dataset, PoseDataset
from dg.datasets.content import content_id
from dg.datasets.h36m_room import Take, centred, seen_by_four
from dg.datasets.splits import files_of
from dg.datasets.validation import check_joints, check_split
from dg.pose.skeleton import H36M_17
from dg.settings.config import Count, Positive

# Joint -> the bone at whose end it lies; the pelvis is the middle of the hips, as in Human3.6M.
ENDS = {
    "right_hip": "rhipjoint",
    "right_knee": "rfemur",
    "right_ankle": "rtibia",
    "left_hip": "lhipjoint",
    "left_knee": "lfemur",
    "left_ankle": "ltibia",
    "spine": "lowerback",
    "thorax": "lowerneck",
    "neck": "upperneck",
    "head": "head",
    "left_shoulder": "lclavicle",
    "left_elbow": "lhumerus",
    "right_shoulder": "rclavicle",
    "right_elbow": "rhumerus",
}
# The radius is short (0.19 m for performer 02): the wrist lies in the bone after it.
WRISTS = {"left_wrist": ("lradius", "lwrist"), "right_wrist": ("rradius", "rwrist")}
WRIST_ALONG = 0.65
MOTION = re.compile(r"(.+?)_(.+)\.amc(\.gz)?")


@dataclass(frozen=True)
class Options:
    """root: folder of the `.asf` and `.amc` files, which may lie in subfolders. stride: every which frame is kept.

    subjects_train: performers (`02`) who are trained on, 5 % of their motions held out for validation; the others are
    tested. None: everyone is `test`. fps: frame rate of the files, 120 for nearly all of the database.
    """

    root: str
    stride: Count = 1
    subjects_train: tuple[str, ...] = ()
    fps: Positive = 120.0
    label: str = "cmu"


class CMU(Dataset):
    """Motions of CMU's performers in Human3.6M's room. A performer's motion is one action."""

    Options = Options

    def __init__(self, options: Any) -> None:  # noqa: ANN401 - Options, whose name the class attribute shadows
        super().__init__(options)
        self.splits = ("train", "val", "test") if options.subjects_train else ("test",)

    def load(self, split: str) -> PoseDataset:
        """Read the motions of a split and show them to Human3.6M's four cameras."""
        options: Options = self.options
        check_split(split, self.splits, options.root)
        root = Path(options.root)
        files = files_of(split, _motions(root), options.subjects_train, options.root)
        skeletons = {subject: read_asf(_skeleton_file(root, subject)) for subject in sorted({s for s, _, _ in files})}
        takes = [Take(s, name, _world(path, skeletons[s], options.stride)) for s, name, path in files]
        read = [*(_skeleton_file(root, subject) for subject in skeletons), *(path for _, _, path in files)]
        return seen_by_four(
            takes,
            H36M_17,
            options.label,
            options.fps / options.stride,
            flavour="asf",
            notes={"room": "Human3.6M's"},
            content=content_id(f"stride={options.stride}", *read),
        )


def h36m_joints(ends: dict[str, Float[Tensor, "frames 3"]]) -> Float[Tensor, "frames 17 3"]:
    """Build H36M-17 joints from where the bones of a CMU skeleton end.

    Raises KeyError for a skeleton without these bones.
    """
    found = {joint: ends[bone] for joint, bone in ENDS.items()}
    found["pelvis"] = (found["left_hip"] + found["right_hip"]) / 2
    for joint, (before, bone) in WRISTS.items():
        found[joint] = ends[before] + WRIST_ALONG * (ends[bone] - ends[before])
    return torch.stack([found[joint] for joint in H36M_17.joints], 1)


def _world(path: Path, skeleton: AsfSkeleton, stride: int) -> Float[Tensor, "frames 17 3"]:
    motion = {bone: channels[::stride] for bone, channels in read_amc(path, skeleton).items()}
    try:
        joints = h36m_joints(bone_ends(skeleton, motion))
    except KeyError as error:
        raise DataError(f"{skeleton.path}: expected CMU's bones, but {error} is missing") from error
    # From y up to z up: a quarter turn about x.
    upright = torch.stack([joints[..., 0], -joints[..., 2], joints[..., 1]], -1).float()
    check_joints(upright, H36M_17, str(path))
    return centred(upright, H36M_17.root)


def _motions(root: Path) -> dict[str, dict[str, Path]]:
    """Performer -> motion -> file, both in order of name. Raises DataError for a folder without motions."""
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; data.root must be the folder of CMU's .asf and .amc files")
    found: dict[str, dict[str, Path]] = {}
    for path in sorted(_files(root, ".amc", ".amc.gz")):
        if (match := MOTION.fullmatch(path.name)) is None:
            raise DataError(f"{path}: expected a name such as 02_01.amc, performer and motion")
        found.setdefault(match[1], {})[path.name.split(".amc")[0]] = path
    if not found:
        raise DataError(f"{root}: expected motions (.amc or .amc.gz) in this folder or below it; found none")
    return found


def _skeleton_file(root: Path, subject: str) -> Path:
    files = [path for path in _files(root, ".asf", ".asf.gz") if path.name.split(".")[0] == subject]
    if not files:
        raise DataError(f"{root}: expected the skeleton {subject}.asf beside the motions of performer {subject}")
    return min(files)


def _files(root: Path, *endings: str) -> Iterable[Path]:
    return (path for path in root.rglob("*") if path.name.endswith(endings) and path.is_file())
