"""Depth Anything V2 on rendered bodies (METHODS 4.4): one network a worker, in batches, small inputs, metres.

A metric checkpoint knows the one camera of its training data: Hypersim's images are 1024 x 768 with a horizontal field
of view of 60 degrees. What a crop zooms in on looks nearer than it is, by the ratio of the focal lengths; the crop's
is known, so its depth is multiplied by f_crop / f_trained.
A relative checkpoint answers disparity up to scale and shift; both are fitted to the z-buffer, image by image, so its
depth has the network's shape and the truth's place: an oracle in that, and for ablation only.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from render_workers.base import BACKGROUND
from render_workers.depth.alignment import align_disparity
from render_workers.depth.checkpoint_files import DEPTH_HUB_ID, content_digest, find_checkpoint
from render_workers.depth.depth_anything_network import PATCH_PX, PRECISIONS, DepthAnythingNetwork, feature_width
from render_workers.depth.network_source import MappedDepthSource
from render_workers.feature_maps import FeatureMap
from render_workers.shading import Look

METRIC_INDOOR_SMALL = DEPTH_HUB_ID
# Focal length over the shorter side: 512 / tan(30 degrees) = 886.8 pixels of 768.
HYPERSIM_FOCAL = 1.1547
# A depth of zero or less would be behind the camera.
NEAREST_M = 0.01


class DepthAnythingV2(MappedDepthSource):
    """Not an oracle where the checkpoint is metric. Loading it raises DepthCheckpointError or OptionError."""

    @dataclass(frozen=True)
    class Options(Look):
        """checkpoint: folder, or hub id OWNER/NAME; revision: of a hub id, empty for its main branch. input_px: side of
        what the network sees, a multiple of 14. batch: images at once. precision: auto (bfloat16 on a GPU, else
        float32), bfloat16, float32. trained_focal: of the camera that a metric checkpoint knows, in image heights; 0
        leaves depth as the network says. The rest is the look of what it sees. Raises ValueError for anything else.
        """

        checkpoint: str = METRIC_INDOOR_SMALL
        revision: str = ""
        input_px: int = 140
        batch: int = 256
        precision: str = "auto"
        trained_focal: float = HYPERSIM_FOCAL

        def __post_init__(self) -> None:
            super().__post_init__()
            if self.input_px < PATCH_PX or self.input_px % PATCH_PX:
                near = max(round(self.input_px / PATCH_PX), 1) * PATCH_PX
                raise ValueError(f"input_px must be a multiple of {PATCH_PX}, such as {near}, got {self.input_px!r}")
            if self.batch < 1:
                raise ValueError(f"batch must be at least 1, got {self.batch!r}")
            if self.precision not in PRECISIONS:
                raise ValueError(f"precision must be one of {list(PRECISIONS)}, got {self.precision!r}")
            if self.trained_focal < 0:
                raise ValueError(f"trained_focal must not be negative, got {self.trained_focal!r}")

    def __init__(self, options: Options = Options()) -> None:
        self.options, self.look = options, options
        folder = find_checkpoint(options.checkpoint, options.revision)
        self.network = DepthAnythingNetwork(folder, options.input_px, options.batch, options.precision)

    @classmethod
    def digest(cls, options: Any) -> str:  # noqa: ANN401 - Options; the base class has many
        content = content_digest(find_checkpoint(options.checkpoint, options.revision))
        return f"{replace(options, checkpoint='', revision='', batch=1)!r} {content}"

    @classmethod
    def feature_width(cls, options: Any) -> int:  # noqa: ANN401
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
        answer, features = self.network.with_map(_shaded(rgb))
        return self._depth(answer, zbuffer), features

    def _depth(self, answer: Tensor, zbuffer: Tensor) -> Tensor:
        if not self.network.metric:
            return align_disparity(answer, zbuffer)
        return torch.where(zbuffer < BACKGROUND, answer.clamp_min(NEAREST_M), BACKGROUND)

    def at_focal(
        self, depth: Float[Tensor, "batch height width"], focal: Float[Tensor, "batch 2"]
    ) -> Float[Tensor, "batch height width"]:
        if not self.network.metric or self.options.trained_focal == 0:
            return depth
        return depth * (focal.mean(-1) / self.options.trained_focal)[:, None, None]


def _shaded(rgb: Tensor | None) -> Tensor:
    if rgb is None:
        raise ValueError("depth_anything_v2 needs the shaded image, got rgb=None")
    return rgb
