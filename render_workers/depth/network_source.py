"""Depth sources that are neural networks: they see a shaded image, and what they say depends on files of weights."""

from abc import abstractmethod
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor

from render_workers.base import DepthSource
from render_workers.feature_maps import FeatureMap
from render_workers.shading import Look


class NetworkDepthSource(DepthSource):
    """look: the appearance of the bodies that it is shown."""

    needs_rgb = True
    look: Look

    @classmethod
    @abstractmethod
    def digest(cls, options: Any) -> str:  # noqa: ANN401 - the source's own Options
        """Changes with everything that changes an estimate, the content of its weights included, wherever they lie."""

    @abstractmethod
    def at_focal(
        self, depth: Float[Tensor, "batch height width"], focal: Float[Tensor, "batch 2"]
    ) -> Float[Tensor, "batch height width"]:
        """What `estimate` answered, in metres for cameras of these focal lengths (in image sides): an image alone does
        not tell how far its camera is zoomed in.
        """


class MappedDepthSource(NetworkDepthSource):
    """One whose network has a map of features to be read at the joints (`render_workers.joint_features`)."""

    @classmethod
    @abstractmethod
    def feature_width(cls, options: Any) -> int:  # noqa: ANN401
        """Channels of the map."""

    @abstractmethod
    def estimate_with_map(
        self,
        zbuffer: Float[Tensor, "batch height width"],
        rgb: Float[Tensor, "batch 3 height width"] | None,
        keys: Int[Tensor, " batch"],
    ) -> tuple[Float[Tensor, "batch height width"], FeatureMap]:
        """What `estimate` answers, and the map of the same pass over the images' pixels."""
