"""The geometry around an image by Warp kernels, a launch each, without waiting for the device."""

import torch
from jaxtyping import Float
from torch import Tensor

from dg.body.base import Body
from render_workers.base import RenderRequest
from render_workers.crop import Crop
from render_workers.geometry import FittedBody, TorchGeometry
from render_workers.kernels.warp_body import WarpBody
from render_workers.kernels.warp_joints import WarpJoints
from render_workers.sampling import JointDepth


class WarpGeometry(TorchGeometry):
    """Kernels in place of operations in torch. Bodies for which there are no kernels are fitted and skinned in torch.

    Args:
        body: the body that is posed.
        device: device of the requests to come, `cpu` or `cuda`.
    """

    def __init__(self, body: Body, device: torch.device) -> None:
        super().__init__(body)
        self._joints = WarpJoints(device)
        self._body = WarpBody(body.rest, device) if WarpBody.covers(body) else None

    def crop(self, request: RenderRequest, resolution: int, subject_span_px: float) -> Crop:
        """Return the crop around each pose, as in torch."""
        return self._joints.crop(request.camera, request.joints_2d, resolution, subject_span_px)

    def fit(self, request: RenderRequest) -> FittedBody:
        """Pose the body, as in torch."""
        if self._body is None:
            return super().fit(request)
        return FittedBody(*self._body.fit(request.joints_3d, request.skeleton))

    def skin(self, fitted: FittedBody) -> Float[Tensor, "batch vertices 3"]:
        """Compute vertices, as in torch."""
        if self._body is None or fitted.transforms is None:
            return super().skin(fitted)
        return self._body.skin(fitted.pose, fitted.transforms)

    def sample(
        self, depth_map: Float[Tensor, "batch height width"], joints_px: Float[Tensor, "batch joints 2"], min_pool: int
    ) -> JointDepth:
        """Read depth at the joints, as in torch."""
        return self._joints.sample(depth_map, joints_px, min_pool)
