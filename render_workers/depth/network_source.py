"""Depth sources that are neural networks: they see rendered bodies or photographs, and depend on files of weights.

`dg predict` and `dg extract-depth` take any of them by its name in `DEPTH_SOURCES`.
"""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

from jaxtyping import Float, Int
from torch import Tensor

from render_workers.base import DepthSource
from render_workers.feature_maps import FeatureMap
from render_workers.shading import Look


@dataclass(frozen=True)
class NetworkFacts:
    """What is known of a network before its weights are loaded.

    Attributes:
        checkpoint: what records call it; no place on this machine.
        weights: digest of its files.
        metric: whether it answers metres; else disparity up to a scale and a shift, larger for what is nearer.
        trained_focal: focal length, in shorter sides of the image, of the camera for which its metres hold; 0: they are
            to be taken as they are.
        settings: the options that decide an estimate besides the weights and `trained_focal`.
    """

    checkpoint: str
    weights: str
    metric: bool
    trained_focal: float
    settings: Mapping[str, Any] = field(default_factory=dict)


class NetworkDepthSource(DepthSource):
    """look: the appearance of the bodies that it is shown. `ImageOptions` is a frozen dataclass: those of the `Options`
    that have a meaning for photographs, with the defaults for these (`depth.*` of `dg predict` and `dg extract-depth`).
    """

    needs_rgb = True
    look: Look
    ImageOptions: ClassVar[type[Any]]

    @classmethod
    def for_images(cls, options: Any) -> "NetworkDepthSource":  # noqa: ANN401 - the source's own ImageOptions
        """The source with its weights loaded, for photographs.

        Args:
            options: an `ImageOptions`.

        Raises:
            DepthCheckpointError: for weights that are missing or of another kind.
            OptionError: where a package is not installed.
        """
        return cls(cls.Options(**{f.name: getattr(options, f.name) for f in fields(options)}))  # type: ignore[call-arg]

    @classmethod
    @abstractmethod
    def digest(cls, options: Any) -> str:  # noqa: ANN401 - the source's own Options
        """A text that changes with everything that changes an estimate of rendered bodies, the content of the weights
        included, and not with where they lie.

        Args:
            options: an `Options`.
        """

    @classmethod
    @abstractmethod
    def facts(cls, options: Any) -> NetworkFacts:  # noqa: ANN401 - the source's own ImageOptions
        """What the files of the checkpoint say of the network.

        Args:
            options: an `ImageOptions`.

        Raises:
            DepthCheckpointError: for files that are missing or of another kind.
        """

    @abstractmethod
    def estimate_images(self, rgb: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch height width"]:
        """Depth of whole photographs, from one pass of the network over all of them.

        Args:
            rgb: photographs of one size, in [0, 1], on the device that is to compute.

        Returns:
            Metres above 0 along the optical axis as the network says, which `at_focal` brings to a camera; of a network
            that is not metric its disparity. The size is that of the photographs.
        """

    @abstractmethod
    def at_focal(
        self, depth: Float[Tensor, "batch height width"], focal: Float[Tensor, "batch 2"]
    ) -> Float[Tensor, "batch height width"]:
        """Metres for cameras of these focal lengths: an image alone does not tell how far its camera is zoomed in.

        Args:
            depth: what `estimate` or `estimate_images` answered.
            focal: of each image, in shorter sides of the image.
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

    @abstractmethod
    def estimate_images_with_map(
        self, rgb: Float[Tensor, "batch 3 height width"]
    ) -> tuple[Float[Tensor, "batch height width"], FeatureMap]:
        """What `estimate_images` answers, and the map of the same pass over the photographs' pixels."""
