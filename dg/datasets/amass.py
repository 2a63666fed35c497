"""AMASS and other motion stored as SMPL parameters: `.npz` files of poses, shapes and translations.

Source: Mahmood et al., ICCV 2019. Arrays: `poses` [frames, 72, 156 or 165] axis-angles in radians (SMPL, SMPL-H,
SMPL-X: the first 22 joints are the same), `trans` [frames, 3] m, world frame, z up, `mocap_framerate` (or
`mocap_frame_rate`), `betas`, `gender`. The joints are those of a SMPL file at the person's shape or, without one, of
the open body that ships with this package, the same for everyone, which the flavour says. There are no cameras: the
motion is moved to Human3.6M's room.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from dg.body.open_body import load_open_body
from dg.body.smpl_file import BodyFileError
from dg.body.smpl_model import pose_skeleton, read_smpl_model
from dg.datasets.base import DataError, Dataset, PoseDataset
from dg.datasets.content import content_id
from dg.datasets.h36m_room import Take, centred, seen_by_four
from dg.datasets.splits import files_of
from dg.datasets.validation import check_finite, check_shape, check_split, read_arrays
from dg.pose.rotation import rotation_from_axis_angle
from dg.pose.skeleton import SMPL_24
from dg.settings.config import Positive

WIDTHS = {72: 24, 156: 22, 165: 22}  # columns of `poses` -> the joints of SMPL's 24 among them; the rest are fingers
RATES = ("mocap_framerate", "mocap_frame_rate")
GENDERS = ("MALE", "FEMALE", "NEUTRAL")
LARGEST_TURN = 4 * torch.pi  # of an axis-angle vector; fits wrap around once at most
FARTHEST_M = 100.0


@dataclass(frozen=True)
class Options:
    """root: a file, or a folder of SUBSET/PERSON/MOTION.npz. fps: each motion keeps every n-th frame, by the whole step
    that comes nearest to this rate; the data set says what rate that makes.

    subjects_train: people (`CMU/02`, the folder below root) who are trained on, 5 % of their motions held out for
    validation; the others are tested. None: everyone is `test`. smpl: the SMPL file whose joints are used, `.pkl` or
    `.npz`; `{gender}` in it stands for MALE, FEMALE or NEUTRAL. Empty: the open body.
    """

    root: str
    fps: Positive = 30.0
    subjects_train: tuple[str, ...] = ()
    smpl: str = ""
    label: str = "amass"


class AMASS(Dataset):
    """Motions of SMPL bodies in Human3.6M's room, as SMPL's 24 joints."""

    Options = Options

    def __init__(self, options: Any) -> None:  # noqa: ANN401 - Options, whose name the class attribute shadows
        super().__init__(options)
        self.splits = ("train", "val", "test") if options.subjects_train else ("test",)

    def load(self, split: str) -> PoseDataset:
        """Read the motions of a split and show them to Human3.6M's four cameras."""
        options: Options = self.options
        check_split(split, self.splits, options.root)
        motions = _motions(Path(options.root))
        files = files_of(split, motions, options.subjects_train, options.root)
        read = [(subject, name, *_world(path, options)) for subject, name, path in files]
        takes = [Take(subject, name, joints) for subject, name, joints, _ in read]
        fps, notes = _frame_rate([(len(joints), rate) for _, _, joints, rate in read], options.fps)
        flavour = "smpl24" if options.smpl else "open-body"
        # The shape of each person comes from the model of one of these.
        models = [Path(options.smpl.format(gender=gender)) for gender in GENDERS] if options.smpl else []
        content = content_id(
            f"fps={options.fps}", *(path for _, _, path in files), *(m for m in dict.fromkeys(models) if m.is_file())
        )
        return seen_by_four(
            takes, SMPL_24, options.label, fps, flavour, notes={"room": "Human3.6M's", **notes}, content=content
        )


def _frame_rate(motions: list[tuple[int, float]], asked: float) -> tuple[float, dict[str, str]]:
    """The frame rate that motions have after thinning, and what is to be said of it. motions: frames and rate of each.

    Every n-th frame of 40, 50 or 100 Hz makes 40, 25 or 33.3 a second, and not the 30 that were asked for. Where
    motions differ, the rate is their mean over the frames.
    """
    rates: dict[float, int] = {}
    for _, rate in motions:
        rates[round(rate, 2)] = rates.get(round(rate, 2), 0) + 1
    fps = motions[0][1]
    if len(rates) > 1:
        fps = sum(frames * rate for frames, rate in motions) / sum(frames for frames, _ in motions)
    told = ", ".join(f"{count} at {rate:g}" for rate, count in sorted(rates.items()))
    exact = list(rates) == [round(asked, 2)]
    return fps, {} if exact else {"frame_rates": f"{asked:g} a second were asked for; motions: {told}"}


def _world(path: Path, options: Options) -> tuple[Float[Tensor, "frames 24 3"], float]:
    """Joints of every n-th frame in the room, and the frames a second that this makes."""
    arrays = read_arrays(path, ["poses", "trans"], allow_objects=["gender"], optional=[*RATES, "betas"])
    rate = next((arrays[name] for name in RATES if name in arrays), None)
    if rate is None or rate.size != 1 or rate.dtype.kind not in "fiu" or not 1 <= float(rate) <= 1000:
        raise DataError(f"{path}: expected a frame rate in {' or '.join(RATES)}, got {rate}")
    every = max(1, round(float(rate) / options.fps))
    poses, trans = _checked(arrays["poses"], arrays["trans"], path)
    known = WIDTHS[poses.shape[1]]
    vectors = torch.zeros(len(poses[::every]), len(SMPL_24), 3)
    vectors[:, :known] = torch.from_numpy(poses[::every, : 3 * known].astype(np.float32)).unflatten(1, (known, 3))
    place = torch.from_numpy(trans[::every].astype(np.float32))
    _, joints = pose_skeleton(_rest(arrays, options.smpl, path), rotation_from_axis_angle(vectors))
    return centred(joints + place[:, None], SMPL_24.root), float(rate) / every


def _checked(poses: np.ndarray, trans: np.ndarray, path: Path) -> tuple[np.ndarray, np.ndarray]:
    if poses.ndim != 2 or poses.shape[1] not in WIDTHS:
        raise DataError(f"{path}: poses: expected [frames, {' or '.join(map(str, WIDTHS))}], got {list(poses.shape)}")
    check_shape(poses, (None, poses.shape[1]), f"{path}: poses")
    check_shape(trans, (len(poses), 3), f"{path}: trans")
    check_finite(torch.from_numpy(poses), f"{path}: poses")
    check_finite(torch.from_numpy(trans), f"{path}: trans")
    turn = np.linalg.norm(poses[:, :66].reshape(len(poses), 22, 3), axis=-1).max()
    if turn > LARGEST_TURN:
        raise DataError(f"{path}: poses: expected axis-angles in radians, but one is {turn:.0f} long: degrees?")
    if np.abs(trans).max() > FARTHEST_M:
        raise DataError(f"{path}: trans: expected metres, but one is {np.abs(trans).max():.0f}: millimetres?")
    return poses, trans


def _gender(arrays: dict[str, np.ndarray]) -> str:
    """MALE, FEMALE or, where the file does not say, NEUTRAL."""
    value = arrays["gender"].item() if "gender" in arrays and arrays["gender"].size == 1 else ""
    word = (value.decode("latin1") if isinstance(value, bytes) else str(value)).upper()
    return word if word in ("MALE", "FEMALE") else "NEUTRAL"


def _rest(arrays: dict[str, np.ndarray], smpl: str, path: Path) -> Float[Tensor, "24 3"]:
    """Joints at rest, metres, y up; of the open body where no file is named."""
    if not smpl:
        return load_open_body().joints
    betas = arrays.get("betas", np.zeros(0))
    if betas.ndim != 1 or betas.dtype.kind != "f" or not np.isfinite(betas).all():
        raise DataError(f"{path}: betas: expected a row of finite numbers, got {betas.dtype} {list(betas.shape)}")
    try:
        mean, directions = _shapes(smpl.format(gender=_gender(arrays)))
    except BodyFileError as error:
        raise DataError(f"{error}; data.smpl must be an SMPL file, or empty for the open body") from error
    # Files give 16 numbers, models know 10 or more: what either lacks is zero.
    count = min(len(betas), directions.shape[-1])
    return mean + directions[..., :count] @ torch.from_numpy(betas[:count]).float()


@cache
def _shapes(smpl: str) -> tuple[Float[Tensor, "24 3"], Float[Tensor, "24 3 betas"]]:
    """SMPL's joints at rest for the mean shape, and how each shape number moves them. Raises BodyFileError."""
    model = read_smpl_model(smpl)
    mean = model.joint_regressor @ model.vertices
    return mean.float(), torch.tensordot(model.joint_regressor, model.shapes, dims=1).float()


def _motions(root: Path) -> dict[str, dict[str, Path]]:
    """Person -> motion -> file, in order of name. Raises DataError where there are none."""
    if root.is_file():
        return {root.parent.name: {root.stem: root}}
    if not root.is_dir():
        raise DataError(f"{root}: no such file or folder; data.root must be AMASS's folder or one of its .npz files")
    found: dict[str, dict[str, Path]] = {}
    for path in sorted(root.rglob("*.npz")):
        # A person's folder also holds his shape, which is no motion.
        if path.stem != "shape" and not path.stem.endswith("_stagei"):
            person = path.parent.relative_to(root).as_posix()
            found.setdefault(person if person != "." else root.name, {})[path.stem] = path
    if not found:
        raise DataError(f"{root}: expected motions (.npz) in this folder or below it; found none")
    return found
