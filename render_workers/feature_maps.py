"""Maps of features over images, and what they say at points of the image (METHODS 4.6)."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import grid_sample

from dg.pose.devices import constant


@dataclass(frozen=True)
class FeatureMap:
    """Features on a grid of cells. Cell i spans [i, i + 1), its centre is i + 0.5, as pixels do; the point p of an
    image, in pixels, lies at `p * scale + shift` on the grid, (x, y) both.
    """

    values: Float[Tensor, "batch channels height width"]
    scale: Float[Tensor, "batch 2"]
    shift: Float[Tensor, "batch 2"]

    def at(self, points_px: Float[Tensor, "batch points 2"]) -> Float[Tensor, "batch points channels"]:
        """Bilinear between the centres of the four nearest cells, float32; beyond the outermost centres as at them."""
        cells = points_px * self.scale[:, None] + self.shift[:, None]
        height, width = self.values.shape[2:]
        # Without align_corners the corners of the grid, not the outermost centres, are at -1 and 1.
        grid = 2 * cells / constant((width, height), cells.device, cells.dtype) - 1
        found = grid_sample(self.values.float(), grid[:, None], "bilinear", "border", align_corners=False)
        return found[:, :, 0].transpose(1, 2)

    def __getitem__(self, images: slice) -> "FeatureMap":
        """Those of some of the images."""
        return FeatureMap(*[getattr(self, f.name)[images] for f in fields(self)])

    def expanded(self, count: int) -> "FeatureMap":
        """The map of one image, so often; its values are shared."""
        return FeatureMap(*[v.expand(count, *v.shape[1:]) for v in (getattr(self, f.name) for f in fields(self))])


def join_maps(maps: Sequence[FeatureMap]) -> FeatureMap:
    """Maps of consecutive images as one."""
    return FeatureMap(*[torch.cat([getattr(part, f.name) for part in maps]) for f in fields(FeatureMap)])
