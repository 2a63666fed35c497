"""The `.npz` files of PoseBench3D (github.com/bryanjvela/PoseBench3D): Human3.6M, GPA, 3DPW and SURREAL.

| file | content | joints | unit |
|---|---|---|---|
| GPA | `data` -> {train, test} -> {`2d` [rows, 34, 2] px, `3d` [rows, 34, 3]} | GPA's 34 | mm |
| 3DPW | `data` -> {train, test} -> {`combined_2d` or `2d` [rows, 24, 2] px, `combined_3d_cam` or `3d`} | SMPL | m |
| SURREAL | `data_2d` [rows, 24, 2] px, `data_3d` [rows, 24, 3]; one file a split | SMPL, sides swapped | mm |
| Human3.6M | `trainset`, `testset` -> {(subject, action, take): [frames, 32, 3]}, world frame | Human3.6M's 32 | mm |

The first three are in the camera frame, absolute, without intrinsics: these follow from 3D and pixels. Departures from
its harness (METHODS 7): joints stay absolute and are centred in the metric, prediction and target alike; no row is lost
to a last batch; 3DPW's frames are portrait or landscape as their principal point says; units are stated, not guessed.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dg.datasets import h36m_cameras
from dg.datasets.base import DataError, Dataset, PoseDataset, content_digest
from dg.datasets.content import choices, content_id
from dg.datasets.h36m import MOVING_JOINTS
from dg.datasets.h36m_detections import unboxed
from dg.datasets.h36m_room import Take, seen_by_four
from dg.datasets.intrinsics import solve_intrinsics
from dg.datasets.protocols import POSEBENCH, Normalise
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
from dg.pose.camera import POSEBENCH_PX, Camera, denormalise_pixels, normalise_pixels
from dg.pose.joint_map import convert_joints
from dg.pose.skeleton import H36M_17, SMPL_24, Skeleton
from dg.settings.config import Count, Positive

SPLITS_OF_FILE = {"train": "trainset", "test": "testset"}
METRES = {"m": 1.0, "mm": 1e-3}
# A joint that moves farther between two rows than this starts another clip; the files do not say where clips end.
JUMP_M = 0.25
LARGEST_SHARE_OFF = 0.01
PRINCIPAL_POINT = (0.2, 0.8)  # of width and height; outside, the pixels were centred or cropped
# Batches of 64 rows that PoseBench3D leaves out of SURREAL's test file as corrupt.
SURREAL_CORRUPT, SURREAL_BATCH = (2587, 4164, 12077, 16326), 64


@dataclass(frozen=True)
class Layout:
    """How one of the three camera-frame files is laid out. select: our joints among the file's. size: px.

    error_px: how far its 2D may lie from a pinhole's: little for projections; GPA's comes from lenses.
    """

    name: str
    flavour: str
    joints_2d: str
    joints_3d: str
    joints: int
    select: tuple[int, ...]
    skeleton: Skeleton
    unit: str
    size: tuple[int, int]
    error_px: float


LAYOUTS = {
    "gpa": Layout(
        name="GPA-PB", flavour="camera-frame", joints_2d="2d", joints_3d="3d", joints=34,
        select=(0, 24, 25, 26, 29, 30, 31, 2, 5, 6, 7, 17, 18, 19, 9, 10, 11),
        skeleton=H36M_17, unit="mm", size=(1920, 1080), error_px=10.0,
    ),
    "3dpw": Layout(
        name="3DPW-PB", flavour="smpl24", joints_2d="combined_2d", joints_3d="combined_3d_cam", joints=24,
        select=tuple(range(24)), skeleton=SMPL_24, unit="m", size=(1920, 1080), error_px=1.0,
    ),
    "surreal": Layout(
        name="SURREAL-PB", flavour="smpl24", joints_2d="data_2d", joints_3d="data_3d", joints=24,
        select=SMPL_24.flip, skeleton=SMPL_24, unit="mm", size=(320, 240), error_px=1.0,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Options:
    """path: the file. kind: `gpa`, `3dpw`, `surreal` or `h36m`. units: of the file's 3D, `m` or `mm`; empty: as
    released.

    stride: every which row is kept (of each take for `h36m`, of the whole file otherwise). fps: the files do not say.
    normalise: of `3dpw`, `posebench` divides the 2D as the benchmark does (`dg.datasets.pw3d`).
    """

    path: str
    kind: Literal["gpa", "3dpw", "surreal", "h36m"] = "3dpw"
    units: Literal["", "m", "mm"] = ""
    stride: Count = 1
    fps: Positive = 30.0
    normalise: Normalise = "frame"

    def __post_init__(self) -> None:
        if self.normalise == POSEBENCH and self.kind != "3dpw":
            raise ValueError(
                f"normalise={POSEBENCH} is for kind=3dpw alone (the frames of the other files have one size), got "
                f"kind={self.kind}"
            )


class PoseBench3D(Dataset):
    """One of PoseBench3D's files under the name of its protocol (METHODS 7)."""

    Options = Options
    located_by = "path"

    def __init__(self, options: Any) -> None:  # noqa: ANN401 - Options, whose name the class attribute shadows
        super().__init__(options)
        self.splits = ("test",) if options.kind == "surreal" else ("train", "test")

    def load(self, split: str) -> PoseDataset:
        """Read one split of the file."""
        options: Options = self.options
        check_split(split, self.splits, options.path)
        data = _human36m(options, split) if options.kind == "h36m" else _camera_frame(options, split)
        return replace(data, content=content_id(split, choices(options, "path", "fps"), Path(options.path)))


def _camera_frame(options: Options, split: str) -> PoseDataset:
    layout, path = LAYOUTS[options.kind], options.path
    arrays = _part(options, split)
    pixels, joints = (_joints(arrays, name, layout, path) for name in (layout.joints_2d, layout.joints_3d))
    if len(pixels) != len(joints):
        raise DataError(f"{path}: expected as many 2D as 3D poses, got {len(pixels)} and {len(joints)}")
    kept = _kept(len(joints), options)
    joints = joints[kept] * METRES[options.units or layout.unit]
    pixels = pixels[kept]
    as_h36m = convert_joints(joints, layout.skeleton, H36M_17)
    check_joints(as_h36m, H36M_17, f"{path}: {layout.joints_3d}")
    check_finite(pixels, f"{path}: {layout.joints_2d}")
    check_in_front(joints, f"{path}: {layout.joints_3d}")
    clip = _clips(joints)
    camera, size, fits = _camera(joints, pixels, clip, layout, path)
    joints_2d = normalise_pixels(pixels, size, longer_side=True)
    if options.normalise == POSEBENCH:
        focal, center = camera.focal * size.amax(-1, keepdim=True) / 2, denormalise_pixels(camera.center, size, True)
        camera, frame = Camera.as_posebench(focal, center), size.new_tensor(POSEBENCH_PX).expand_as(size)
        joints_2d = normalise_pixels(pixels, frame)
    poses = PoseBatch.from_joints(joints[:, None], camera, layout.skeleton, joints_2d[:, None])
    return PoseDataset(
        name=layout.name,
        poses=poses.replace(valid=fits),
        subject=torch.zeros(len(joints), dtype=torch.int64),
        action=torch.zeros(len(joints), dtype=torch.int64),
        clip=clip,
        subjects=(f"unknown ({split})",),
        actions=("all",),
        fps=options.fps / options.stride,
        digest=content_digest(joints, joints_2d),
        flavour=layout.flavour,
        norm=options.normalise,
        notes={
            "intrinsics": f"from 3D and pixels; {int((~fits).sum())} poses do not fit a pinhole, marked invalid",
            "clips": f"parted where a joint moves more than {JUMP_M} m between rows",
        },
    )


def _part(options: Options, split: str) -> dict[str, np.ndarray]:
    """The arrays of one split."""
    if options.kind == "surreal":
        return read_arrays(options.path, ["data_2d", "data_3d"])
    content = unboxed(read_arrays(options.path, ["data"], allow_objects=["data"])["data"])
    part = content.get(split) if isinstance(content, dict) else None
    if not isinstance(part, dict):
        raise DataError(f"{options.path}: expected `data` as {{train, test}} of arrays, got {type(content).__name__}")
    return part


def _joints(arrays: dict[str, np.ndarray], name: str, layout: Layout, path: str) -> Float[Tensor, "rows joints axes"]:
    axes = 2 if name == layout.joints_2d else 3
    values = arrays.get(name, arrays.get(f"{axes}d"))  # the benchmark's files of 3DPW call them one way or the other
    if not isinstance(values, np.ndarray):
        raise DataError(f"{path}: expected an array {name!r}; is this the file of `kind={layout.name}`? {list(arrays)}")
    # GPA's are also spread as [rows, 34 * axes].
    if values.ndim == 2 and values.shape[1] == layout.joints * axes:
        values = values.reshape(-1, layout.joints, axes)
    check_shape(values, (None, layout.joints, axes), f"{path}: {name}")
    return float_tensor(values[:, list(layout.select)])


def _kept(rows: int, options: Options) -> Int[Tensor, " kept"]:
    kept = torch.arange(0, rows, options.stride)
    if options.kind == "surreal" and rows > SURREAL_BATCH * SURREAL_CORRUPT[-1]:
        kept = kept[~torch.isin(kept // SURREAL_BATCH, torch.tensor(SURREAL_CORRUPT))]
    return kept


def _clips(joints: Float[Tensor, "rows joints 3"]) -> Int[Tensor, " rows"]:
    """Numbers of the stretches in which everything moves on smoothly."""
    jump = (joints[1:] - joints[:-1]).norm(dim=-1).amax(1) > JUMP_M
    return torch.cat([jump.new_zeros(1), jump]).long().cumsum(0)


def _camera(
    joints: Float[Tensor, "rows joints 3"],
    pixels: Float[Tensor, "rows joints 2"],
    clip: Int[Tensor, " rows"],
    layout: Layout,
    path: str,
) -> tuple[Camera, Float[Tensor, "rows 2"], Bool[Tensor, " rows"]]:
    """Cameras, image sizes and which poses they project onto their pixels."""
    focal, center, error = solve_intrinsics(joints, pixels, clip)
    if (error > layout.error_px).any():
        # Two cameras in one stretch: those rows each get their own.
        alone = torch.where(error > layout.error_px, clip.max() + 1 + torch.arange(len(clip)), clip)
        focal, center, error = solve_intrinsics(joints, pixels, alone.unique(return_inverse=True)[1])
    width, height = layout.size
    landscape = (center[:, 0] >= center[:, 1])[:, None]
    size = torch.where(landscape, center.new_tensor([width, height]), center.new_tensor([height, width]))
    central = ((center > PRINCIPAL_POINT[0] * size) & (center < PRINCIPAL_POINT[1] * size)).all(1)
    fits = (error <= layout.error_px) & (focal > 0).all(1) & central
    if (~fits).float().mean() > LARGEST_SHARE_OFF:
        raise DataError(
            f"{path}: {layout.joints_2d}: no pinhole camera of a {width} x {height} px frame takes "
            f"{int((~fits).sum())} of {len(fits)} poses to their pixels within {layout.error_px} px; expected pixels "
            "of absolute camera-frame joints, in the same order"
        )
    focal = torch.where(fits[:, None], focal, focal[fits].median(0).values)
    return Camera.from_pixels(focal, center, size, longer_side=True), size, fits


def _human36m(options: Options, split: str) -> PoseDataset:
    path, member = Path(options.path), SPLITS_OF_FILE[split]
    content = unboxed(read_arrays(path, [member], allow_objects=tuple(SPLITS_OF_FILE.values()))[member])
    if not isinstance(content, dict) or not content:
        raise DataError(
            f"{path}: expected {member} as {{(subject, action, take): joints}}, got {type(content).__name__}"
        )
    takes = [_take(path, key, joints, options) for key, joints in content.items()]
    return seen_by_four(takes, H36M_17, name="h36m", fps=options.fps / options.stride)


def _take(path: Path, key: Any, joints: Any, options: Options) -> Take:  # noqa: ANN401
    subject = f"S{key[0]}" if isinstance(key, tuple) and len(key) == 3 else ""
    if subject not in h36m_cameras.EXTRINSICS or not isinstance(joints, np.ndarray):
        raise DataError(f"{path}: expected arrays by (subject, action, take), got {type(joints).__name__} by {key!r}")
    check_shape(joints, (None, 32, 3), f"{path}: {key}")
    metres = float_tensor(joints[:: options.stride, list(MOVING_JOINTS)]) * METRES[options.units or "mm"]
    check_joints(metres, H36M_17, f"{path}: {key}")
    return Take(subject, str(key[1]).split(" ")[0], metres, cameras_of=subject)
