"""A depth source of a few lines that sees rendered bodies and photographs: what is brighter is nearer."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from render_workers.base import BACKGROUND
from render_workers.depth.network_source import NetworkDepthSource, NetworkFacts
from render_workers.shading import Look

PLACE = "tests.images.image_depth_source:Brightness"


class Brightness(NetworkDepthSource):
    """Depth is `far_m` less brightness times `range_m`. It knows a camera of focal length 1.5."""

    look = Look()

    @dataclass(frozen=True)
    class Options:
        far_m: float = 9.0  # depth of black
        range_m: float = 2.0  # how much nearer white is
        disparity: bool = False  # whether it answers disparity instead

    @dataclass(frozen=True)
    class ImageOptions:
        far_m: float = 6.0  # depth of black
        range_m: float = 2.0  # how much nearer white is
        disparity: bool = False  # whether it answers disparity instead

    def __init__(self, options: Options = Options()) -> None:
        self.options = options

    @classmethod
    def digest(cls, options) -> str:
        return repr(options)

    @classmethod
    def facts(cls, options) -> NetworkFacts:
        settings = {"far_m": options.far_m, "range_m": options.range_m, "batch": "none"}
        return NetworkFacts("brightness", "0123", not options.disparity, 1.5, settings)

    def estimate_images(self, rgb: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch height width"]:
        metres = self.options.far_m - self.options.range_m * rgb.mean(1)
        return 1 / metres if self.options.disparity else metres

    def estimate(
        self,
        zbuffer: Float[Tensor, "batch height width"],
        rgb: Float[Tensor, "batch 3 height width"] | None,
        keys: Int[Tensor, " batch"],
    ) -> Float[Tensor, "batch height width"]:
        assert rgb is not None
        return torch.where(zbuffer < BACKGROUND, self.estimate_images(rgb), BACKGROUND)

    def at_focal(
        self, depth: Float[Tensor, "batch height width"], focal: Float[Tensor, "batch 2"]
    ) -> Float[Tensor, "batch height width"]:
        return depth * (focal.mean(-1) / 1.5)[:, None, None]
