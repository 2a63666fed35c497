"""The contracts of rendering: what travels to a worker and home; rasteriser, depth source and pool."""

import threading
from abc import ABC, abstractmethod
from concurrent.futures import Future
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from dg.body.base import BodyPose
from dg.pose.camera import Camera

BACKGROUND = float("inf")
# What a request for detections gets for each joint: median, nearest and farthest depth, confidence, 2D error (x, y).
READINGS = 6


@dataclass(frozen=True)
class DetectionRequest:
    """What a worker needs beside the poses to see them as a detector does (`render_workers.uadd`).

    Attributes:
        joints_z: depth of the joints in the camera frame, metres.
        torso_2d: distance from pelvis to thorax in the image, normalised.
        confidence: confidence of the detector that the request's 2D is from; None where that is the true 2D, whose
            detection is to be made up.
    """

    joints_z: Float[Tensor, "batch joints"]
    torso_2d: Float[Tensor, " batch"]
    confidence: Float[Tensor, "batch joints"] | None = None

    def parts(self) -> dict[str, Tensor]:
        """The fields that are there, by name."""
        return {f.name: value for f in fields(self) if (value := getattr(self, f.name)) is not None}

    def __getitem__(self, rows: slice) -> "DetectionRequest":
        return DetectionRequest(**{name: value[rows] for name, value in self.parts().items()})

    def to(self, device: torch.device) -> "DetectionRequest":
        """Return the request with every tensor on `device`."""
        return DetectionRequest(**{name: value.to(device) for name, value in self.parts().items()})


@dataclass(frozen=True)
class RenderRequest:
    """Bodies to draw and where to read their depth.

    Attributes:
        joints_2d: normalised image coordinates of the joints, as the camera (with its distortion) sees them.
        keys: one number for each pose, from which a noisy depth source draws, so that an answer does not depend on how
            poses are batched.
        detection: where given, the request is answered with the `READINGS` of each joint instead of its depth alone.
    """

    body_pose: BodyPose
    camera: Camera
    joints_2d: Float[Tensor, "batch joints 2"]
    keys: Int[Tensor, " batch"]
    detection: DetectionRequest | None = None

    def __len__(self) -> int:
        return len(self.joints_2d)

    @property
    def answer_shape(self) -> tuple[int, ...]:
        """Shape of the answer's depth."""
        shape = tuple(self.joints_2d.shape[:2])
        return shape if self.detection is None else (*shape, READINGS)

    def __getitem__(self, rows: slice) -> "RenderRequest":
        detection = None if self.detection is None else self.detection[rows]
        return RenderRequest(self.body_pose[rows], self.camera[rows], self.joints_2d[rows], self.keys[rows], detection)

    def to(self, device: torch.device) -> "RenderRequest":
        """Return the request with every tensor on `device`."""
        detection = None if self.detection is None else self.detection.to(device)
        camera, joints_2d = self.camera.to(device), self.joints_2d.to(device)
        return RenderRequest(self.body_pose.to(device), camera, joints_2d, self.keys.to(device), detection)

    def check(self) -> None:
        """Raise ValueError that names the rows which no image can be made of."""
        pose, camera = self.body_pose, self.camera
        parts = [pose.rotations, pose.positions, pose.stretch, self.joints_2d, camera.focal, camera.center]
        finite = torch.stack([part.flatten(1).isfinite().all(1) for part in [*parts, camera.distortion]]).all(0)
        in_front = pose.positions[..., 2].amin(-1) > 0
        for good, what in ((finite, "are not finite"), (in_front, "are behind the camera")):
            if not good.all():
                rows = (~good).nonzero()[:, 0].tolist()
                raise ValueError(f"pose rows {rows} {what}; mask them (PoseBatch.valid) first")

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Contiguous numpy arrays: what is sent over Ray (numpy travels cheaper than torch, SYSTEMS 2.5)."""
        parts = {
            "rotations": self.body_pose.rotations,
            "positions": self.body_pose.positions,
            "stretch": self.body_pose.stretch,
            "focal": self.camera.focal,
            "center": self.camera.center,
            "distortion": self.camera.distortion,
            "extent": self.camera.extent,
            "joints_2d": self.joints_2d,
            "keys": self.keys,
        }
        if self.detection is not None:
            parts |= self.detection.parts()
        return {name: np.ascontiguousarray(value.detach().cpu().numpy()) for name, value in parts.items()}

    @staticmethod
    def from_arrays(arrays: dict[str, np.ndarray]) -> "RenderRequest":
        """The inverse; copies, because arrays that arrive over Ray are read-only."""
        t = {name: torch.from_numpy(np.array(value)) for name, value in arrays.items()}
        detection = {f.name: t[f.name] for f in fields(DetectionRequest) if f.name in t}
        return RenderRequest(
            BodyPose(t["rotations"], t["positions"], t["stretch"]),
            Camera(t["focal"], t["center"], t["distortion"], t["extent"]),
            t["joints_2d"],
            t["keys"],
            DetectionRequest(**detection) if detection else None,
        )


@dataclass(frozen=True)
class RenderAnswer:
    """Depth of a request's joints, with what the worker says of it.

    Attributes:
        depth: absolute metres, float32 `[batch, joints]`, or the `READINGS` of each joint, `[batch, joints, readings]`,
            where the request has a `detection`.
        valid: false for quarantined poses, which are NaN.
        stats: counters of the worker (seconds per stage, device).
        features: float16 `[batch, joints, channels]` of workers that read them (`render_workers.joint_features`), zero
            for quarantined poses.
    """

    depth: np.ndarray
    valid: np.ndarray
    stats: dict[str, float] = field(default_factory=dict)
    features: np.ndarray | None = None


def finite_rows(values: np.ndarray) -> np.ndarray:
    """Of an array's rows, which hold nothing but numbers."""
    return np.asarray(np.isfinite(values).all(axis=tuple(range(1, values.ndim))))


class Rasterizer(ABC):
    """Triangles to a z-buffer."""

    @abstractmethod
    def zbuffer(
        self,
        vertices: Float[Tensor, "batch vertices 3"],
        focal_px: Float[Tensor, "batch 2"],
        center_px: Float[Tensor, "batch 2"],
        resolution: int,
    ) -> tuple[Float[Tensor, "batch height width"], Int[Tensor, "batch height width"]]:
        """Camera-space z in metres at pixel centres (u + 0.5, v + 0.5) and the face that is seen there.

        Background: z = inf, face = -1. Perspective-correct; the nearest triangle wins; triangles that reach behind
        the camera are skipped.
        """


@runtime_checkable
class DepthRasterizer(Protocol):
    """A rasteriser that can leave out the face numbers."""

    def depth(
        self,
        vertices: Float[Tensor, "batch vertices 3"],
        focal_px: Float[Tensor, "batch 2"],
        center_px: Float[Tensor, "batch 2"],
        resolution: int,
    ) -> Float[Tensor, "batch height width"]:
        """Return camera-space z in metres at pixel centres; background is inf, as `Rasterizer.zbuffer` has it."""
        ...


class DepthSource(ABC):
    """Estimates a depth map.

    Attributes:
        Options: frozen dataclass of its options, the command line's `depth.*`.
        metric: whether it answers in metres.
        oracle: whether it reads the rendered truth without error.
        needs_rgb: whether it needs a shaded image.
    """

    Options: ClassVar[type[Any]]
    metric: ClassVar[bool] = True
    oracle: ClassVar[bool] = False
    needs_rgb: ClassVar[bool] = False

    @abstractmethod
    def estimate(
        self,
        zbuffer: Float[Tensor, "batch height width"],
        rgb: Float[Tensor, "batch 3 height width"] | None,
        keys: Int[Tensor, " batch"],
    ) -> Float[Tensor, "batch height width"]:
        """Depth in metres; background stays inf."""


@dataclass
class Ledger:
    """Poses, counted. The conservation law of the pool: at rest, submitted == done + quarantined."""

    submitted: int = 0
    done: int = 0
    quarantined: int = 0
    retried: int = 0
    duplicates: int = 0

    def check(self) -> None:
        """Raise RuntimeError unless every submitted pose is accounted for. Call when nothing is in flight."""
        if self.submitted != self.done + self.quarantined:
            raise RuntimeError(f"poses were lost: {self}")


class RenderInterruptedError(RuntimeError):
    """Somebody asked for the end while depth was drawn that a run can do without for now."""


def check_interrupt(interrupt: threading.Event | None) -> None:
    """Raise RenderInterruptedError where there is an event and it is set."""
    if interrupt is not None and interrupt.is_set():
        raise RenderInterruptedError("asked to stop while depth was drawn")


class RenderPool(ABC):
    """Runs requests on workers. Every pose comes back exactly once, or is quarantined by number.

    Attributes:
        interrupt: while there is an event, waiting for the pool ends with RenderInterruptedError once it is set.
    """

    ledger: Ledger
    interrupt: threading.Event | None = None

    @abstractmethod
    def submit(self, request: RenderRequest) -> "Future[RenderAnswer]":
        """Queue a request; blocks while the backlog is full. `result()` drives the pool and returns the answer."""

    @abstractmethod
    def status(self) -> dict[str, float]:
        """Live and starting workers, backlog, retries: what a progress line shows."""

    @abstractmethod
    def close(self) -> None:
        """Stop the workers. Idempotent; nothing is left behind."""

    def __enter__(self) -> "RenderPool":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
