"""The geometry around an image: crop, fitted and skinned body, depth at the joints. In torch, and by Warp kernels."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from dg.body.base import Body, BodyPose
from render_workers.base import RenderRequest
from render_workers.crop import Crop, subject_crop
from render_workers.kernels.warp_body import WarpBody
from render_workers.kernels.warp_joints import WarpJoints
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
    """Operations in torch, for any body and device: the slow twin of `WarpGeometry`.

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


class WarpGeometry(TorchGeometry):
    """The same by Warp kernels, a launch each, without waiting for the device.

    Bodies for which there are no kernels are fitted and skinned in torch.

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


def geometry_for(body: Body, device: torch.device) -> TorchGeometry:
    """Return the geometry with the fewest launches that there is on a device.

    Args:
        body: the body that is posed.
        device: device of the requests to come.
    """
    return WarpGeometry(body, device) if device.type in ("cpu", "cuda") else TorchGeometry(body)
