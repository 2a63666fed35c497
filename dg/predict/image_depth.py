"""Depth of whole images in metres, from one pass of a metric Depth Anything V2 network.

The network knows the one camera of its training data. What another camera shows is nearer or farther than it says by
the ratio of the focal lengths, as for rendered people (`render_workers.depth.depth_anything_v2`).
"""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32, UInt8

from dg.predict.cameras import ImageCamera
from render_workers.depth.checkpoint_files import DEPTH_HUB_ID, DepthCheckpointError, content_digest, find_checkpoint
from render_workers.depth.depth_anything_network import DepthAnythingNetwork
from render_workers.depth.depth_anything_v2 import NEAREST_M, DepthAnythingV2


class ImageDepth:
    """A network on a device. Raises DepthCheckpointError for a checkpoint that is missing, of another kind or relative:
    without anything of known depth in an image its disparity is only an order; OptionError where transformers is
    missing.
    """

    def __init__(self, options: DepthAnythingV2.Options, device: torch.device) -> None:
        self.options, self.device = options, device
        self.folder: Path = find_checkpoint(options.checkpoint, options.revision)
        self.network = DepthAnythingNetwork(self.folder, options.input_px, 1, options.precision)
        if not self.network.metric:
            raise DepthCheckpointError(
                f"{options.checkpoint} answers disparity up to an unknown scale and shift, and a photograph has "
                "nothing to fit them to; give depth.checkpoint=FOLDER of a metric network, such as "
                f"{DEPTH_HUB_ID}"
            )

    def __call__(
        self, image: UInt8[np.ndarray, "height width 3"], camera: ImageCamera
    ) -> Float32[np.ndarray, "height width"]:
        """Distance along the optical axis of each pixel, metres. Raises DepthCheckpointError where it is not finite."""
        rgb = torch.from_numpy(image).to(self.device).permute(2, 0, 1)[None].float() / 255
        depth = self.network(rgb)[0].clamp_min(NEAREST_M)
        if not bool(depth.isfinite().all()):
            raise DepthCheckpointError(f"{self.folder}: its depth is not finite")
        return (depth * self._zoom(camera)).cpu().numpy()

    def _zoom(self, camera: ImageCamera) -> float:
        return camera.focal_in_heights / self.options.trained_focal if self.options.trained_focal else 1.0

    def digest(self) -> str:
        """Of the checkpoint's files."""
        return content_digest(self.folder)
