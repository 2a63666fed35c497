"""Depth Anything V2 on rendered bodies (METHODS 4.4) and on photographs (METHODS 4.2): batches of images, metres.

A metric checkpoint knows the one camera of its training data: Hypersim's images are 1024 x 768 with a horizontal field
of view of 60 degrees. What a crop zooms in on looks nearer than it is, by the ratio of the focal lengths; the crop's
is known, so its depth is multiplied by f_crop / f_trained.
A relative checkpoint answers disparity up to scale and shift; of rendered bodies both are fitted to the z-buffer, image
by image, so its depth has the network's shape and the truth's place: an oracle in that, and for ablation only.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dg.settings.config import NotNegative
from dg.settings.networks import DEPTH_ANYTHING
from render_workers.base import BACKGROUND
from render_workers.depth.alignment import align_disparity
from render_workers.depth.checkpoint_files import content_digest, find_checkpoint
from render_workers.depth.depth_anything_network import PATCH_PX, DepthAnythingNetwork, answers_metres, feature_width
from render_workers.depth.network_source import MappedDepthSource, NetworkFacts
from render_workers.depth.pretrained import Layout, Precision
from render_workers.feature_maps import FeatureMap
from render_workers.shading import Look

# Focal length over the shorter side: 512 / tan(30 degrees) = 886.8 pixels of 768.
HYPERSIM_FOCAL = 1.1547
# The shorter side of the images that the checkpoints were trained on: a person is a small part of a photograph.
TRAINED_PX = 518
# A depth of zero or less would be behind the camera.
NEAREST_M = 0.01


def _check_input(input_px: int) -> None:
    if input_px < PATCH_PX or input_px % PATCH_PX:
        near = max(round(input_px / PATCH_PX), 1) * PATCH_PX
        raise ValueError(f"input_px must be a multiple of {PATCH_PX}, such as {near}, got {input_px!r}")


class DepthAnythingV2(MappedDepthSource):
    """Depth Anything V2. It is no oracle where the checkpoint is metric.

    Loading it raises DepthCheckpointError or OptionError.
    """

    @dataclass(frozen=True)
    class Options(Look):
        """Options for rendered bodies; `albedo` to `normals` are the look of what the network sees."""

        checkpoint: str = DEPTH_ANYTHING  # folder, or hub id OWNER/NAME
        revision: str = ""  # branch, tag or commit of a hub id; empty: its main branch
        input_px: int = 140  # side of what the network sees, a multiple of 14
        batch: int = 256  # images at once
        precision: Precision = "auto"  # auto: bfloat16 on a GPU, else float32
        trained_focal: NotNegative = HYPERSIM_FOCAL  # of the camera that a metric checkpoint knows, in image heights; 0
        # leaves depth as the network says
        compile: bool = field(default=False, repr=False)  # let torch compile the backbone: slow to start
        layout: Layout = field(default="auto", repr=False)  # memory layout of the maps in neck and head: auto is
        # channels_last on a GPU, else channels_first

        def __post_init__(self) -> None:
            super().__post_init__()
            _check_input(self.input_px)
            if self.batch < 1:
                raise ValueError(f"batch must be at least 1, got {self.batch!r}")

    @dataclass(frozen=True)
    class ImageOptions:
        """Options for photographs."""

        checkpoint: str = DEPTH_ANYTHING  # folder, or hub id OWNER/NAME
        revision: str = ""  # branch, tag or commit of a hub id; empty: its main branch
        input_px: int = TRAINED_PX  # shorter side of what the network sees, a multiple of 14
        precision: Precision = "auto"  # auto: bfloat16 on a GPU, else float32
        trained_focal: NotNegative = HYPERSIM_FOCAL  # of the camera that a metric checkpoint knows, in shorter sides of
        # the image; 0: leave depth as the network says

        def __post_init__(self) -> None:
            _check_input(self.input_px)

    def __init__(self, options: Options = Options()) -> None:
        self.options, self.look = options, options
        folder = find_checkpoint(options.checkpoint, options.revision)
        layout: Layout = getattr(options, "layout", "auto")
        compiled = getattr(options, "compile", False)
        precision = options.precision
        self.network = DepthAnythingNetwork(folder, options.input_px, options.batch, precision, compiled, layout)

    @classmethod
    def digest(cls, options: Any) -> str:  # noqa: ANN401 - Options; the base class has many
        """Return a digest of the options and the weights' content; the folder's place and the batch do not count."""
        content = content_digest(find_checkpoint(options.checkpoint, options.revision))
        return f"{replace(options, checkpoint='', revision='', batch=1)!r} {content}"

    @classmethod
    def facts(cls, options: Any) -> NetworkFacts:  # noqa: ANN401
        """Return what is known of the checkpoint from its files alone, without loading the weights."""
        folder = find_checkpoint(options.checkpoint, options.revision)
        settings = {"input_px": options.input_px, "precision": options.precision}
        return NetworkFacts(
            checkpoint=Path(options.checkpoint).name,
            weights=content_digest(folder),
            metric=answers_metres(folder),
            trained_focal=options.trained_focal,
            settings=settings,
        )

    @classmethod
    def feature_width(cls, options: Any) -> int:  # noqa: ANN401
        """Return the channels of the backbone's last map, read from the checkpoint's config."""
        return feature_width(find_checkpoint(options.checkpoint, options.revision))

    @torch.no_grad()
    def estimate(
        self,
        zbuffer: Float[Tensor, "batch height width"],
        rgb: Float[Tensor, "batch 3 height width"] | None,
        keys: Int[Tensor, " batch"],
    ) -> Float[Tensor, "batch height width"]:
        """As the network says, for the focal length that it was trained at; see `at_focal`. Raises ValueError without
        rgb.
        """
        return self._depth(self.network(_shaded(rgb)), zbuffer)

    @torch.no_grad()
    def estimate_with_map(
        self,
        zbuffer: Float[Tensor, "batch height width"],
        rgb: Float[Tensor, "batch 3 height width"] | None,
        keys: Int[Tensor, " batch"],
    ) -> tuple[Float[Tensor, "batch height width"], FeatureMap]:
        """Return the depth as `estimate` does, and the last map of the backbone from the same forward pass."""
        answer, features = self.network.with_map(_shaded(rgb))
        return self._depth(answer, zbuffer), features

    def estimate_images(self, rgb: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch height width"]:
        """Return metres, at least `NEAREST_M`, from a metric checkpoint, and raw disparity from any other."""
        return self._in_metres(self.network(rgb))

    def estimate_images_with_map(
        self, rgb: Float[Tensor, "batch 3 height width"]
    ) -> tuple[Float[Tensor, "batch height width"], FeatureMap]:
        """Return the depth as `estimate_images` does, and the last map of the backbone from the same forward pass."""
        answer, features = self.network.with_map(rgb)
        return self._in_metres(answer), features

    def _in_metres(self, answer: Tensor) -> Tensor:
        return answer.clamp_min(NEAREST_M) if self.network.metric else answer

    def _depth(self, answer: Tensor, zbuffer: Tensor) -> Tensor:
        if not self.network.metric:
            return align_disparity(answer, zbuffer)
        return torch.where(zbuffer < BACKGROUND, answer.clamp_min(NEAREST_M), BACKGROUND)

    def at_focal(
        self, depth: Float[Tensor, "batch height width"], focal: Float[Tensor, "batch 2"]
    ) -> Float[Tensor, "batch height width"]:
        """Scale metric depth from the trained focal length to `focal`, both in shorter sides of the image."""
        if not self.network.metric or self.options.trained_focal == 0:
            return depth
        return depth * (focal.mean(-1) / self.options.trained_focal)[:, None, None]


def _shaded(rgb: Tensor | None) -> Tensor:
    if rgb is None:
        raise ValueError("depth_anything_v2 needs the shaded image, got rgb=None")
    return rgb
