"""The geometry around an image: crop, fitted and skinned body, depth at the joints; in torch, or by kernels."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from dg.body.base import Body, BodyPose
from render_workers.base import RenderRequest
from render_workers.crop import Crop, subject_crop
from render_workers.sampling import JointDepth, sample_joints


@dataclass(frozen=True)
class FittedBody:
    """Bodies that are fitted and not yet skinned.

    Attributes:
        transforms: each joint's map of rest points, where kernels made it.
    """

    pose: BodyPose
    transforms: Float[Tensor, "batch 24 3 4"] | None = None


class TorchGeometry:
    """Operations in torch, for any body and device: the slow twin of `render_workers.kernels.warp_geometry`.

    Args:
        body: the body that is posed.
    """

    def __init__(self, body: Body) -> None:
        self.body = body

    def crop(self, request: RenderRequest, resolution: int, subject_span_px: float) -> Crop:
        """Return the crop around each pose of a request, as `subject_crop` does.

        Args:
            request: poses and cameras.
            resolution: height and width of the crop, pixels.
            subject_span_px: pixels that the longer side of the joints' box spans.
        """
        return subject_crop(request.camera, request.joints_2d, resolution, subject_span_px)

    def fit(self, request: RenderRequest) -> FittedBody:
        """Pose the body by the joints of a request, as `Body.fit` does, with its errors."""
        return FittedBody(self.body.fit(request.joints_3d, request.skeleton, request.reference))

    def skin(self, fitted: FittedBody) -> Float[Tensor, "batch vertices 3"]:
        """Compute vertices in the camera frame, metres, of what `fit` returned."""
        return self.body.skin(fitted.pose)

    def sample(
        self, depth_map: Float[Tensor, "batch height width"], joints_px: Float[Tensor, "batch joints 2"], min_pool: int
    ) -> JointDepth:
        """Read depth at the joints, as `sample_joints` does, with its errors.

        Args:
            depth_map: metres, background as `BACKGROUND`.
            joints_px: joints in pixels, pixel centres at +0.5.
            min_pool: side of the minimum-pooling window, 1, 3 or 5 pixels.
        """
        return sample_joints(depth_map, joints_px, min_pool)


def geometry_for(body: Body, device: torch.device) -> TorchGeometry:
    """Return the geometry with the fewest launches that there is on a device.

    Args:
        body: the body that is posed.
        device: device of the requests to come.
    """
    if device.type not in ("cpu", "cuda"):
        return TorchGeometry(body)
    from render_workers.kernels.warp_geometry import WarpGeometry  # here: who plans a worker needs no Warp

    return WarpGeometry(body, device)
