"""The rasteriser's own depth: the true distance of the visible surface, an oracle (DESIGN 5.5)."""

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor

from render_workers.base import DepthSource


class ZBuffer(DepthSource):
    """Answers what was rendered, without error."""

    oracle = True

    @dataclass(frozen=True)
    class Options:
        """It has no options."""

    def __init__(self, options: Options = Options()) -> None:
        self.options = options

    def estimate(
        self,
        zbuffer: Float[Tensor, "batch height width"],
        rgb: Float[Tensor, "batch 3 height width"] | None,
        keys: Int[Tensor, " batch"],
    ) -> Float[Tensor, "batch height width"]:
        """Return the z-buffer unchanged."""
        return zbuffer
