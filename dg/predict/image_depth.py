"""Depth of photographs in metres, from one pass of a metric depth network.

A network knows the one camera of its training data. What another camera shows is nearer or farther than the network
says by the ratio of the focal lengths, as for rendered people (`NetworkDepthSource.at_focal`).
"""

import numpy as np
import torch
from jaxtyping import Float32, UInt8

from dg.images.depth_choice import DepthChoice
from dg.images.joint_features import rgb_batch
from dg.predict.cameras import ImageCamera
from render_workers.depth.checkpoint_files import DepthCheckpointError
from render_workers.depth.network_source import MappedDepthSource
from render_workers.feature_maps import FeatureMap


class ImageDepth:
    """A depth network on a device.

    Args:
        choice: the network and its options.
        device: that it computes on.

    Raises:
        DepthCheckpointError: for a checkpoint that is missing, of another kind or relative: without anything of known
            depth in an image its disparity is only an order.
        OptionError: where a package that the network needs is missing.
    """

    def __init__(self, choice: DepthChoice, device: torch.device) -> None:
        self.choice, self.device = choice, device
        self.facts = choice.facts()
        if not self.facts.metric:
            raise DepthCheckpointError(
                f"depth={choice.name}: {self.facts.checkpoint} answers disparity up to an unknown scale and shift, and "
                "a photograph has nothing to fit them to; give depth.checkpoint=FOLDER of a metric network"
            )
        self.source = choice.load()

    def __call__(
        self, image: UInt8[np.ndarray, "height width 3"], camera: ImageCamera
    ) -> Float32[np.ndarray, "height width"]:
        """Distance along the optical axis of each pixel, metres. Raises DepthCheckpointError where it is not finite."""
        return self._metres(self.source.estimate_images(rgb_batch(image[None], self.device)), camera)

    def with_map(
        self, image: UInt8[np.ndarray, "height width 3"], camera: ImageCamera
    ) -> tuple[Float32[np.ndarray, "height width"], FeatureMap]:
        """Depth, as from a call, and the last map of the same pass.

        Args:
            image: RGB.
            camera: of the image.

        Raises:
            DepthCheckpointError: as a call does.
        """
        assert isinstance(self.source, MappedDepthSource)
        depth, found = self.source.estimate_images_with_map(rgb_batch(image[None], self.device))
        return self._metres(depth, camera), found

    def _metres(self, depth: torch.Tensor, camera: ImageCamera) -> Float32[np.ndarray, "height width"]:
        if not bool(depth.isfinite().all()):
            raise DepthCheckpointError(f"depth={self.choice.name}: {self.facts.checkpoint}: its depth is not finite")
        # Over the shorter side: in image heights for a landscape picture.
        in_heights = sum(camera.focal_px) / 2 / min(camera.size_px)
        focal = torch.full((1, 2), in_heights, device=depth.device)
        return self.source.at_focal(depth, focal)[0].cpu().numpy()

    def record(self) -> dict[str, object]:
        """The network, for the file of an image."""
        return {"source": self.choice.name, **self.choice.record(), "digest": self.facts.weights}
