"""A trained lifter in the hand: from pixels to metres, and its error on a data set."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32
from numpy.typing import ArrayLike

from dg.datasets.base import PoseDataset
from dg.evaluation.predictions import Evaluation
from dg.pose.camera import Camera
from dg.pose.joint_map import convert_joints, image_joint_map, skeleton_named
from dg.pose.skeleton import Skeleton
from dg.trained.evaluation_run import PROTOCOL, evaluate_on
from dg.trained.evaluation_run import load_lifter as load_stored
from dg.trained.lifting import PixelPoses, lift_poses
from dg.trained.settings import SUFFIXES, EvaluateOptions, lifter_options
from dg.trained.stored import StoredLifter
from dg.training.build import device_of
from dg.training.problem import on_skeleton


@dataclass(frozen=True)
class Intrinsics:
    """The camera of the images, for lifters whose 2D is scaled by depth (`dscale2d=paper` or `focal`).

    Attributes:
        focal: focal length in pixels, one number or x and y.
        center: the principal point, pixels; without it the image's centre.
        distortion: Human3.6M's k1, k2, k3, p1, p2.
    """

    focal: float | tuple[float, float]
    center: tuple[float, float] | None = None
    distortion: tuple[float, float, float, float, float] = (0.0, 0.0, 0.0, 0.0, 0.0)


class TrainedLifter:
    """A lifter with its weights; `load_lifter` makes one."""

    def __init__(self, stored: StoredLifter) -> None:
        self.stored = stored

    def __repr__(self) -> str:
        config = self.stored.config
        return (
            f"<{config.lifter['name']} from {self.stored.path}: inputs={config.inputs}, {self.skeleton.name}, "
            f"frames={config.frames}>"
        )

    @property
    def skeleton(self) -> Skeleton:
        """The skeleton of its input and output."""
        return skeleton_named(self.stored.config.skeleton)

    def lift(
        self,
        pixels: ArrayLike,
        *,
        width: int,
        height: int,
        skeleton: str = "",
        confidence: ArrayLike | None = None,
        depth: ArrayLike | None = None,
        depth_range: ArrayLike | None = None,
        camera: Intrinsics | None = None,
        tta: str = "none",
    ) -> Float32[np.ndarray, "*poses joints 3"]:
        """3D joints in the camera's axes (x right, y down, z away from it), metres, relative to the root joint.

        A lifter of single frames takes every pose by itself. To a temporal one the poses are the frames of one clip, in
        time order, at the rate that it was trained with.

        Args:
            pixels: `[poses, joints, 2]`, or `[joints, 2]` of one pose, pixel centres at +0.5.
            width: of the images, pixels.
            height: of the images, pixels.
            skeleton: the skeleton of `pixels`, `coco_17` for example, which is converted. Without it the lifter's own.
            confidence: of the 2D, in [0, 1], `[poses, joints]`; inputs `xyc`, `xycd` and `uadd` need it.
            depth: at each joint, metres, `[poses, joints]`; lifters with depth in their input need it.
            depth_range: the nearest and the farthest depth around each joint, metres, `[poses, joints, 2]`; for `uadd`.
            camera: of the images. Without it the lifter's reference focal length and the image's centre are assumed,
                which matters to `dscale2d=paper` and `focal` alone.
            tta: test-time augmentation: `none`, `flip`, `reverse` or `flip+reverse`.

        Returns:
            As many poses as were given, on the lifter's skeleton.

        Raises:
            ValueError: for an array of another shape, or one that the lifter's input needs and that is missing.
            CheckpointError: for a lifter that cannot take this input, or whose answers are not finite.
        """
        source = skeleton_named(skeleton) if skeleton else self.skeleton
        points = np.asarray(pixels, np.float32)
        single = points.ndim == 2
        points = points[None] if single else points
        if points.ndim != 3 or points.shape[1:] != (len(source), 2) or not np.isfinite(points).all():
            raise ValueError(
                f"pixels: expected finite numbers of shape [poses, {len(source)}, 2] ({source.name}), got "
                f"{list(np.shape(pixels))}; give skeleton=NAME for the joints of another one"
            )
        if not (width > 0 and height > 0):
            raise ValueError(f"width and height of the images must be positive, got {width} and {height}")
        given = {"confidence": confidence, "depth": depth, "depth_range": depth_range}
        self._check_known(given)
        arrays = {name: self._converted(name, value, len(points), source) for name, value in given.items()}
        ends = arrays.pop("depth_range")
        rows = len(points)
        poses = PixelPoses(
            image_joint_map(source, self.skeleton) @ torch.from_numpy(points),
            torch.tensor([[width, height]], dtype=torch.float32).expand(rows, 2),
            self._camera(camera, width, height, rows),
            arrays["confidence"],
            arrays["depth"],
            None if ends is None else ends[..., 0],
            None if ends is None else ends[..., 1],
        )
        clip = torch.zeros(rows, dtype=torch.long)
        device = device_of(self.stored.config)
        found = lift_poses(self.stored, poses.batch(self.skeleton), clip, device, tta).numpy()
        return found[0] if single else found

    def evaluate(self, data: PoseDataset, tta: str = PROTOCOL) -> Evaluation:
        """Errors on a data set, under the protocol that the answer names.

        Depth is drawn where the lifter's input needs it and the data bring none.

        Args:
            data: from `load_data`, or any part of a data set.
            tta: `none`, `flip`, `reverse`, `flip+reverse`, or `protocol` for the data set's own.

        Returns:
            The errors of every frame in millimetres and percent; printed, their averages.

        Raises:
            ConfigError: where the data lack what the input needs.
            CheckpointError: for a lifter whose answers are not finite.
        """
        data = replace(data, poses=on_skeleton(data, self.stored.config))
        return evaluate_on(self.stored, [data], tta)[0].evaluation

    def _check_known(self, given: dict[str, ArrayLike | None]) -> None:
        spec = self.stored.inputs
        if spec.features:
            raise ValueError(
                f"inputs={spec.channels}: its features come from the networks that see the picture; use `dg predict`"
            )
        needed = {
            "confidence": spec.needs_confidence,
            "depth": spec.needs_depth,
            "depth_range": "dmin" in spec.names,
        }
        missing = [name for name, needs in needed.items() if needs and given[name] is None]
        if missing:
            raise ValueError(
                f"this lifter was trained with inputs={spec.channels} dscale2d={spec.dscale2d}: give "
                f"{' and '.join(f'{name}=...' for name in missing)} of every joint"
            )

    def _converted(self, name: str, value: ArrayLike | None, rows: int, source: Skeleton) -> torch.Tensor | None:
        """`[poses, joints]` or `[poses, joints, 2]` on the lifter's skeleton."""
        if value is None:
            return None
        array = np.asarray(value, np.float32)
        last = [2] if name == "depth_range" else []
        wanted = [rows, len(source), *last]
        if list(array.shape) == wanted[1:] and rows == 1:
            array = array[None]
        if list(array.shape) != wanted or not np.isfinite(array).all():
            raise ValueError(f"{name}: expected finite numbers of shape {wanted}, got {list(array.shape)}")
        channels = torch.from_numpy(array).reshape(rows, len(source), -1)
        found = convert_joints(channels, source, self.skeleton)
        return found if last else found[..., 0]

    def _camera(self, camera: Intrinsics | None, width: int, height: int, rows: int) -> Camera:
        camera = camera or Intrinsics(self.stored.inputs.f_ref * max(width, height) / 2)
        focal = camera.focal if isinstance(camera.focal, tuple) else (camera.focal, camera.focal)
        center = camera.center or (width / 2, height / 2)
        values = (focal, center, (width, height), camera.distortion)
        tensors = [torch.tensor([v], dtype=torch.float32).expand(rows, len(v)) for v in values]
        return Camera.from_pixels(*tensors, longer_side=True)


def load_lifter(
    place: str | Path,
    weights: str = "auto",
    trust: bool = False,
    **settings: Any,  # noqa: ANN401
) -> TrainedLifter:
    """The lifter of a run, of a checkpoint, or of a file that `dg export` wrote.

    Args:
        place: the folder of a run, its `best.pt` or `checkpoint-STEP.pt`, or an ONNX file.
        weights: in a run's folder `best` (by source validation) or `last`; `auto`: best where there is one.
        trust: True: `place` is a TorchScript file and may run. It is a program, with all the rights that you have.
        **settings: what a file of another make does not tell of its lifter. For a checkpoint that PoseAug published:
            `lifter="video_pose_3d", inputs="xy"`.

    Raises:
        CheckpointError: for a file that is missing, damaged, or does not fit its description.
        ConfigError: for settings that do not exist or are missing.
    """
    path = Path(place).expanduser().absolute()
    key = "model=" if trust or path.suffix.lower() in SUFFIXES["onnx"] else "published=" if "lifter" in settings else ""
    given = {"weights": weights, "trust": str(trust).lower(), **settings}
    options = lifter_options(EvaluateOptions, [f"{key}{path}", *(f"{name}={value}" for name, value in given.items())])
    return TrainedLifter(load_stored(options))
