"""The contracts of rendering: what travels to a worker and home; rasteriser, depth source and pool."""

import pickle
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from dg.pose.camera import Camera
from dg.pose.skeleton import SKELETONS, Skeleton

BACKGROUND = float("inf")
# What a request for detections gets for each joint: median, nearest and farthest depth, confidence, 2D error (x, y).
READINGS = 6


@dataclass(frozen=True)
class PackedRequest:
    """A request as it travels: one block of memory, a row a pose. 392 bytes a pose of 17 joints.

    Attributes:
        skeleton: name of the joints' skeleton.
        detect: as of the request.
        rows: structured array; its fields are the tensors of the request.
    """

    skeleton: str
    detect: bool
    rows: np.ndarray

    def __getitem__(self, rows: slice) -> "PackedRequest":
        return PackedRequest(self.skeleton, self.detect, self.rows[rows])

    def blocks(self, size: int) -> list[bytes]:
        """The request as bytes, of at most `size` each: what it is, then its rows. Ray takes bytes as they are, and
        pickles each part of any other kind.
        """
        data = np.ascontiguousarray(self.rows).view(np.uint8).data
        head = pickle.dumps((self.skeleton, self.detect, self.rows.dtype))
        return [head, *(bytes(data[start : start + size]) for start in range(0, len(data), size))]

    @classmethod
    def of_blocks(cls, blocks: Sequence[bytes]) -> "PackedRequest":
        """Put a request together from its `blocks`."""
        skeleton, detect, dtype = pickle.loads(blocks[0])
        return cls(skeleton, detect, np.frombuffer(b"".join(blocks[1:]), dtype))

    def unpack(self, device: torch.device | str = "cpu") -> "RenderRequest":
        """Return the request on a device, in one copy; to a GPU from pinned memory, without waiting for it."""
        rows, device = np.ascontiguousarray(self.rows), torch.device(device)
        # A copy: arrays that arrive over Ray are read-only.
        block = torch.from_numpy(rows.view(np.uint8).reshape(len(rows), rows.dtype.itemsize).copy())
        if device.type == "cuda":
            block = block.pin_memory().to(device, non_blocking=True)
        parts = {name: _column(block, rows.dtype, name) for name in rows.dtype.names or ()}
        camera = Camera(*[parts.pop(f"camera_{f.name}") for f in fields(Camera)])
        camera = camera.knowing(pinhole=not rows["camera_distortion"].any())
        return RenderRequest(skeleton=SKELETONS[self.skeleton], camera=camera, detect=self.detect, **parts)


def _column(block: UInt8[Tensor, "rows bytes"], dtype: np.dtype, name: str) -> Tensor:
    """A field of a structured array, from its bytes."""
    field_type, offset = (dtype.fields or {})[name][:2]
    kind = torch.int64 if field_type.base == np.int64 else torch.float32
    # Cloned: of a single row a slice is contiguous as it is, at any address.
    read = block[:, offset : offset + field_type.itemsize].clone(memory_format=torch.contiguous_format).view(kind)
    return read.reshape(len(block), *field_type.shape)


@dataclass(frozen=True)
class RenderRequest:
    """People to draw and where to read their depth. The worker fits the body: joints are a quarter of a posed body.

    Attributes:
        joints_3d: joints in the camera frame, metres.
        skeleton: of the joints; one that a body can be fitted to (`Body.fit`).
        joints_2d: normalised image coordinates of the joints, as the camera (with its distortion) sees them.
        keys: one number for each pose, from which a noisy depth source draws, so that an answer does not depend on how
            poses are batched.
        reference: the joints of the same rows before augmentation, for bodies with `uses_reference`.
        detect: whether the request is answered with the `READINGS` of each joint, as a detector sees it
            (`render_workers.uadd`), instead of its depth alone.
        confidence: confidence of the detector that `joints_2d` is from; None where that is the true 2D, whose detection
            is to be made up.
    """

    joints_3d: Float[Tensor, "batch joints 3"]
    skeleton: Skeleton
    camera: Camera
    joints_2d: Float[Tensor, "batch joints 2"]
    keys: Int[Tensor, " batch"]
    reference: Float[Tensor, "batch joints 3"] | None = None
    detect: bool = False
    confidence: Float[Tensor, "batch joints"] | None = None

    def __len__(self) -> int:
        return len(self.joints_2d)

    @property
    def answer_shape(self) -> tuple[int, ...]:
        """Shape of the answer's depth."""
        shape = tuple(self.joints_2d.shape[:2])
        return (*shape, READINGS) if self.detect else shape

    def _map(self, change: Callable[[Tensor], Tensor]) -> "RenderRequest":
        parts = {name: change(value) for name, value in self._parts().items()}
        camera = Camera(*[parts.pop(f"camera_{f.name}") for f in fields(Camera)])
        return RenderRequest(skeleton=self.skeleton, camera=camera, detect=self.detect, **parts)

    def _parts(self) -> dict[str, Tensor]:
        """Every tensor by name, those of the camera as `camera_NAME`."""
        names = ("joints_3d", "joints_2d", "keys", "reference", "confidence")
        parts = {name: value for name in names if (value := getattr(self, name)) is not None}
        return parts | {f"camera_{f.name}": getattr(self.camera, f.name) for f in fields(Camera)}

    def __getitem__(self, rows: slice) -> "RenderRequest":
        return self._map(lambda part: part[rows])

    def to(self, device: torch.device) -> "RenderRequest":
        """Return the request with every tensor on `device`; from the CPU to a GPU in one copy."""
        if device.type == "cuda" and self.joints_3d.device.type == "cpu":
            return self.pack().unpack(device)
        return self._map(lambda part: part.to(device))

    def check(self) -> None:
        """Raise ValueError that names the rows which no image can be made of."""
        parts = [part.flatten(1) for part in self._parts().values() if part.is_floating_point()]
        if len(self) == 0:
            return
        # A sum of anything that is not finite is not: a tenth of the time, for requests that are well.
        if torch.stack([part.sum() for part in parts]).isfinite().all() and self.joints_3d[..., 2].amin() > 0:
            return
        finite = torch.cat(parts, 1).isfinite().all(1)
        in_front = self.joints_3d[..., 2].amin(-1) > 0
        for good, what in ((finite, "are not finite"), (in_front, "are behind the camera")):
            if not good.all():
                rows = (~good).nonzero()[:, 0].tolist()
                raise ValueError(f"pose rows {rows} {what}; mask them (PoseBatch.valid) first")

    def pack(self) -> PackedRequest:
        """Return what is sent over Ray and hashed: numpy travels cheaper than torch, and one array than many (SYSTEMS
        2.5).
        """
        parts = {name: value.detach().cpu().numpy() for name, value in self._parts().items()}
        kinds = [(name, np.int64 if name == "keys" else np.float32, part.shape[1:]) for name, part in parts.items()]
        rows = np.empty(len(self), kinds)
        for name, part in parts.items():
            rows[name] = part
        return PackedRequest(self.skeleton.name, self.detect, rows)


@dataclass(frozen=True)
class RenderAnswer:
    """Depth of a request's joints, with what the worker says of it.

    Attributes:
        depth: absolute metres, float32 `[batch, joints]`, or the `READINGS` of each joint, `[batch, joints, readings]`,
            where the request has `detect`.
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

    def add(self, counts: Mapping[str, int]) -> None:
        """Add what an earlier session counted. Call while nothing else counts."""
        for name, count in counts.items():
            setattr(self, name, getattr(self, name) + count)

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
