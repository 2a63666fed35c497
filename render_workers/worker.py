"""RenderWorker: joints in, depth at the joints out. A plain class that knows nothing of Ray or processes."""

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dg.body import BODIES
from dg.body.base import Body
from dg.pose.camera import Camera
from dg.pose.devices import full_precision, indexed
from dg.pose.skeleton import H36M_17
from dg.settings.config import RenderConfig
from dg.settings.plugins import OptionError, make_options, resolve
from render_workers import RASTERIZERS
from render_workers.base import (
    DepthRasterizer,
    DepthSource,
    Rasterizer,
    RenderAnswer,
    RenderRequest,
    check_interrupt,
    finite_rows,
)
from render_workers.crop import Crop
from render_workers.depth import DEPTH_SOURCES
from render_workers.depth.network_source import MappedDepthSource, NetworkDepthSource
from render_workers.feature_maps import FeatureMap
from render_workers.geometry import TorchGeometry, geometry_for
from render_workers.joint_features import FeatureOptions, FeatureReader, seen_places, with_features
from render_workers.sampling import JointDepth
from render_workers.shading import Headlight, Look, ShadingRasterizer
from render_workers.uadd import UADD_VERSION, UaddOptions, read_detections

SMALLEST_MICRO_BATCH = 32
# A CPU's caches hold the images of so many poses; a GPU is busy with no fewer than so many.
MICRO_BATCH = {"cpu": 256, "cuda": 2048}
STAGES = ("transfer_s", "crop_s", "fit_s", "skin_s", "raster_s", "source_s", "sample_s")
# Part of every cache key: to be raised when crop, rasteriser or sampling change what comes out.
RENDER_VERSION = 2


@dataclass(frozen=True)
class WorkerSpec:
    """Everything that a worker is built from: plain values that travel to any process.

    Attributes:
        body_options: fields of the body's Options.
        depth_options: fields of the depth source's Options.
        min_pool: side of the minimum-pooling window, 1, 3 or 5 pixels.
        micro_batch: poses drawn at once; 0: as many as `MICRO_BATCH` says for the device.
        device: `auto` takes CUDA where there is one.
        deterministic: whether the micro-batch never changes.
        source_digest: what the digest of the networks' files must be where the worker is built; empty: anything.
        uadd: how requests for detections are answered; None: there are none.
        features: what is read of networks' maps besides; None: nothing.
        look: the appearance of bodies; None: that which the depth source wants.
    """

    body_name: str = "open"
    body_options: dict[str, Any] = field(default_factory=dict)
    depth_name: str = "zbuffer"
    depth_options: dict[str, Any] = field(default_factory=dict)
    rasterizer: str = RenderConfig.rasterizer
    resolution: int = RenderConfig.resolution
    subject_span_px: float = RenderConfig.subject_span_px
    min_pool: int = RenderConfig.min_pool
    micro_batch: int = RenderConfig.micro_batch
    device: str = "auto"
    deterministic: bool = False
    source_digest: str = ""
    uadd: UaddOptions | None = None
    features: FeatureOptions | None = None
    look: Look | None = None

    def without_networks(self) -> "WorkerSpec":
        """The same on the CPU and without weights, for pictures: bodies look as a network would see them, and in place
        of its depth there is the rasteriser's.
        """
        source, options = self._source()
        drawn = replace(self, device="cpu", features=None, source_digest="")
        if not issubclass(source, NetworkDepthSource):
            return drawn
        look = options if isinstance(options, Look) else None
        return replace(drawn, depth_name="zbuffer", depth_options={}, look=look)

    def pinned(self) -> "WorkerSpec":
        """The same for the weights that are on disk now: workers that would be built on others refuse to start."""
        return replace(self, source_digest=self._files_digest())

    def build(self) -> "RenderWorker":
        """The worker. Raises OptionError for a plug-in or an option that does not exist, or for a `source_digest` that
        is not met.
        """
        device = self.device
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        if self.source_digest and self._files_digest() != self.source_digest:
            more = "" if self.features is None else self.features.networks
            raise OptionError(
                f"the files of depth={self.depth_name}{more} are not those that the run began with: they were "
                "changed since, or are others on this node; put the same files on every node, or start a new run"
            )
        body, (source, options) = self._body(), self._source()
        if self.features is not None and self.features.of_depth:
            with_features(self.depth_name)
        return RenderWorker(
            body,
            source(options),
            resolve(RASTERIZERS, "rasterizer", self.rasterizer)(body.faces, device),
            resolution=self.resolution,
            subject_span_px=self.subject_span_px,
            min_pool=self.min_pool,
            micro_batch=self.micro_batch,
            device=device,
            deterministic=self.deterministic,
            uadd=self.uadd,
            features=None if self.features is None else self.features.build(),
            look=self.look,
        )

    def digest(self) -> str:
        """Changes with everything that changes a rendered depth; not with where or in which portions it is rendered."""
        parts = [RENDER_VERSION, self._body().digest, self.depth_name, self._source_digest(), self.rasterizer]
        parts += [self.resolution, float(self.subject_span_px), self.min_pool]
        parts += [] if self.uadd is None else [UADD_VERSION, repr(self.uadd)]
        parts += [] if self.features is None else [self.features.digest()]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def _source(self) -> tuple[type[Any], Any]:
        """The depth source's class and its options."""
        source = resolve(DEPTH_SOURCES, "depth", self.depth_name)
        return source, make_options(source, "depth", self.depth_name, self.depth_options)

    def _source_digest(self) -> str:
        """Of the depth source."""
        source, options = self._source()
        return source.digest(options) if issubclass(source, NetworkDepthSource) else repr(options)

    def _files_digest(self) -> str:
        """Of the files of all networks."""
        return self._source_digest() + ("" if self.features is None else f" {self.features.digest()}")

    def feature_sizes(self) -> tuple[int, ...]:
        """Channels of each of the features that are read. Raises OptionError for a depth source that has none."""
        return () if self.features is None else self.features.sizes(self.depth_name, self._source()[1])

    def _body(self) -> Body:
        body = resolve(BODIES, "body", self.body_name)
        return body(make_options(body, "body", self.body_name, self.body_options))


class RenderWorker:
    """Fits, skins, draws, estimates depth and reads it at the joints. Its answers are functions of the request alone.

    Raises ValueError for a resolution, span or micro-batch that makes no image.
    """

    def __init__(
        self,
        body: Body,
        source: DepthSource,
        rasterizer: Rasterizer,
        *,
        resolution: int = RenderConfig.resolution,
        subject_span_px: float = RenderConfig.subject_span_px,
        min_pool: int = RenderConfig.min_pool,
        micro_batch: int = RenderConfig.micro_batch,
        device: str = "cpu",
        deterministic: bool = False,
        uadd: UaddOptions | None = None,
        features: FeatureReader | None = None,
        look: Look | None = None,
    ) -> None:
        if not 0 < subject_span_px <= resolution or micro_batch < 0:
            raise ValueError(
                "expected 0 < subject_span_px <= resolution and micro_batch >= 0, got "
                f"subject_span_px={subject_span_px} resolution={resolution} micro_batch={micro_batch}"
            )
        self.body, self.source, self.rasterizer = body, source, rasterizer
        self.resolution, self.subject_span_px, self.min_pool = resolution, subject_span_px, min_pool
        self.device = indexed(device)
        self.micro_batch = micro_batch or MICRO_BATCH.get(self.device.type, 256)
        self.deterministic, self.uadd, self.features = deterministic, uadd, features
        self.look = look or (source.look if isinstance(source, NetworkDepthSource) else Look())
        self._shade = Headlight(body.faces, self.look)
        self._needs_rgb = source.needs_rgb or (features is not None and features.needs_rgb)
        self.halvings = 0
        self.interrupt: threading.Event | None = None  # ends a request between two portions
        self.timed = False  # wait for the device after each stage, so that its seconds are its own
        self._seconds: dict[str, float] = {}

    @cached_property
    def geometry(self) -> TorchGeometry:
        """Crop, fit, skinning and sampling on the worker's device; its kernels are compiled at the first use."""
        return geometry_for(self.body, self.device)

    def ready(self) -> None:
        """Load or compile the kernels by drawing bodies of no size, so that no request waits for it.

        One, but for a network on a GPU as many as it will see at once: it takes its kernels and memory by their number.
        """
        rows = self.micro_batch if self._needs_rgb and self.device.type == "cuda" else 1
        joints = torch.tensor([0.0, 0.0, 5.0]).repeat(rows, len(H36M_17), 1)
        one = torch.ones(rows, 2)
        camera = Camera(focal=2 * one, center=0 * one, distortion=torch.zeros(rows, 5), extent=one)
        joints_2d = torch.linspace(-0.2, 0.2, len(H36M_17))[:, None].repeat(rows, 1, 2)
        self.depth(RenderRequest(joints, H36M_17, camera, joints_2d, torch.zeros(rows, dtype=torch.long)))

    @torch.no_grad()
    def depth(self, request: RenderRequest) -> RenderAnswer:
        """Depth at the joints, or their detections, with features there, in portions of at most `micro_batch` poses.

        Where the device's memory runs out the portion is halved, down to 32, and stays so; `deterministic` forbids it.
        stats: poses, widened (joints that had to look beyond their own pixels), micro_batch, oom_halvings, and seconds
        a stage (on CUDA, where work runs behind, only their sum means something, unless `timed`). Raises ValueError
        that names the rows of poses that are not finite or behind the camera, or for detections by a worker without
        `uadd`, and RenderInterruptedError once `interrupt` is set.
        """
        request.check()
        self._seconds = dict.fromkeys(STAGES, 0.0)
        read: list[JointDepth] = []
        features: list[Tensor] = []
        start = 0
        while start < len(request):
            check_interrupt(self.interrupt)
            rows = slice(start, start + self.micro_batch)
            answer = self._attempt(request[rows])
            if answer is None:
                self._back_off()
                continue
            read.append(answer[0])
            features += [] if answer[1] is None else [answer[1]]
            start = rows.stop
        # The answers of all portions come home together: each copy from a GPU waits for all work before it.
        with self._stage("transfer_s"):
            depth, fine, widened = _download(read, request.answer_shape)
            read_features = torch.cat(features).cpu().numpy() if features else None
        stats = {"poses": len(request), "widened": widened}
        stats |= {"micro_batch": self.micro_batch, "oom_halvings": self.halvings, **self._seconds}
        counters = {k: float(v) for k, v in stats.items()}
        fine = fine if read_features is None else fine & finite_rows(read_features)
        return RenderAnswer(depth, fine, counters, read_features)

    @torch.no_grad()
    def images(self, request: RenderRequest) -> dict[str, np.ndarray]:
        """Pictures for people: rgb `[n, 3, h, w]` in [0, 1], depth and zbuffer `[n, h, w]` in metres (background inf),
        joints_px `[n, joints, 2]`, joint_depth `[n, joints]` in metres. Raises as `depth`.
        """
        request.check()
        request = request.to(self.device)
        with full_precision():
            crop = self._crop(request)
            zbuffer, rgb = self._shaded(self.geometry.skin(self.geometry.fit(request)), crop)
            depth, _ = self._estimate(zbuffer, rgb, request, crop)
        joint_depth = self.geometry.sample(depth, crop.joints_px, self.min_pool).depth
        parts = {
            "rgb": rgb,
            "depth": depth,
            "zbuffer": zbuffer,
            "joints_px": crop.joints_px,
            "joint_depth": joint_depth,
        }
        return {name: value.cpu().numpy() for name, value in parts.items()}

    def _attempt(self, request: RenderRequest) -> "tuple[JointDepth, Tensor | None] | None":
        """One portion, or None where the device has too little memory for it and a smaller one may be tried."""
        try:
            with self._stage("transfer_s"):
                request = request.to(self.device)
            # In the trainer's process, where the network may have TF32, bodies must not.
            with full_precision():
                return self._render(request)
        except torch.OutOfMemoryError:
            if self.deterministic or self.micro_batch <= SMALLEST_MICRO_BATCH:
                raise
            return None

    def _back_off(self) -> None:
        self.micro_batch = max(self.micro_batch // 2, SMALLEST_MICRO_BATCH)
        self.halvings += 1
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _render(self, request: RenderRequest) -> tuple[JointDepth, Tensor | None]:
        with self._stage("crop_s"):
            crop = self._crop(request)
        with self._stage("fit_s"):
            fitted = self.geometry.fit(request)
        with self._stage("skin_s"):
            vertices = self.geometry.skin(fitted)
        with self._stage("raster_s"):
            zbuffer, rgb = self._image(vertices, crop)
        with self._stage("source_s"):
            depth, found = self._estimate(zbuffer, rgb, request, crop)
        with self._stage("sample_s"):
            read = self._read(zbuffer, depth, crop, request)
        if self.features is None:
            return read, None
        with self._stage("features_s"):
            return read, self.features.read(found, rgb, crop, seen_places(request, crop, read.depth))

    def _read(self, zbuffer: Tensor, depth: Tensor, crop: Crop, request: RenderRequest) -> JointDepth:
        if not request.detect:
            return self.geometry.sample(depth, crop.joints_px, self.min_pool)
        if self.uadd is None:
            raise ValueError("this worker reads depth alone; build it with WorkerSpec(uadd=UaddOptions())")
        return read_detections(zbuffer, depth, crop, request, self.uadd, self.geometry.sample)

    def _crop(self, request: RenderRequest) -> Crop:
        return self.geometry.crop(request, self.resolution, self.subject_span_px)

    def _image(self, vertices: Tensor, crop: Crop) -> tuple[Tensor, Tensor | None]:
        if self._needs_rgb:
            return self._shaded(vertices, crop)
        if isinstance(self.rasterizer, DepthRasterizer):
            return self.rasterizer.depth(vertices, crop.focal_px, crop.center_px, self.resolution), None
        return self.rasterizer.zbuffer(vertices, crop.focal_px, crop.center_px, self.resolution)[0], None

    def _shaded(self, vertices: Tensor, crop: Crop) -> tuple[Tensor, Tensor]:
        camera = crop.focal_px, crop.center_px
        if isinstance(self.rasterizer, ShadingRasterizer):
            return self.rasterizer.shaded(vertices, *camera, self.resolution, self.look)
        zbuffer, seen = self.rasterizer.zbuffer(vertices, *camera, self.resolution)
        return zbuffer, self._shade(vertices, zbuffer, seen, *camera)

    def _estimate(
        self, zbuffer: Tensor, rgb: Tensor | None, request: RenderRequest, crop: Crop
    ) -> tuple[Tensor, FeatureMap | None]:
        """Depth, and where its features are read the map of the same pass of the network."""
        source, found = self.source, None
        if self.features is not None and self.features.options.of_depth and isinstance(source, MappedDepthSource):
            depth, found = source.estimate_with_map(zbuffer, rgb, request.keys)
        else:
            depth = source.estimate(zbuffer, rgb, request.keys)
        if isinstance(source, NetworkDepthSource):
            depth = source.at_focal(depth, crop.focal_px / self.resolution)
        return depth, found

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        if self.timed and self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self._seconds[name] = self._seconds.get(name, 0.0) + time.perf_counter() - start


def _download(portions: list[JointDepth], shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray, int]:
    """The depth of all portions, which of its rows are finite, and how many joints were widened, in one copy."""
    if not portions:
        return np.zeros(shape, np.float32), np.zeros(shape[0], bool), 0
    depth = torch.cat([portion.depth for portion in portions]).flatten(1)
    widened = torch.cat([portion.widened for portion in portions])
    # A sum is finite where its terms are: depth is metres.
    sums = depth.sum(1, keepdim=True), widened.sum(1, keepdim=True, dtype=depth.dtype)
    home = torch.cat([depth, *sums], 1).cpu().numpy()
    return np.ascontiguousarray(home[:, :-2]).reshape(shape), np.isfinite(home[:, -2]), int(home[:, -1].sum())
