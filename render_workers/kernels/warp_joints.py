"""Crops and depth at joints by Warp kernels, on the CPU or a GPU, a launch each."""

import torch
import warp as wp
from jaxtyping import Float
from torch import Tensor

from dg.pose.camera import UNPROJECT_STEPS, Camera
from render_workers.crop import Crop
from render_workers.kernels import joint_kernels
from render_workers.kernels.launching import Launcher, view
from render_workers.sampling import WIDER_PX, JointDepth, check_min_pool


class WarpJoints:
    """Does what `subject_crop` and `sample_joints` do; these are its slow twins.

    Args:
        device: device of the tensors to come.
    """

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self._launch = Launcher(device)
        self.device = self._launch.device
        self._reaches = torch.tensor(WIDER_PX, dtype=torch.int32, device=self.device)
        self._reaches_view = view(self._reaches, wp.int32)

    def crop(
        self, camera: Camera, joints_2d: Float[Tensor, "batch joints 2"], resolution: int, subject_span_px: float
    ) -> Crop:
        """Return the crop in whose middle the longer side of the joints' box spans `subject_span_px` pixels.

        Args:
            camera: the camera of each pose, with its distortion.
            joints_2d: normalised image coordinates of the joints.
            resolution: height and width of the crop, pixels.
            subject_span_px: pixels that the longer side of the joints' box spans.
        """
        rows, joints = joints_2d.shape[:2]
        sizes = (rows, 2), (rows, 2), (rows, joints, 2), (rows,)
        parts = [torch.empty(size, device=self.device) for size in sizes]
        cameras = [view(camera.focal, wp.vec2), view(camera.center, wp.vec2)]
        cameras.append(view(camera.distortion, joint_kernels.Distortion))
        inputs = [view(joints_2d, wp.vec2), *cameras, float(resolution), float(subject_span_px), UNPROJECT_STEPS]
        kinds = wp.vec2, wp.vec2, wp.vec2, wp.float32
        outputs = [view(part, kind) for part, kind in zip(parts, kinds, strict=True)]
        self._launch(joint_kernels.crop, rows, inputs, outputs)
        return Crop(*parts)

    def sample(
        self,
        depth_map: Float[Tensor, "batch height width"],
        joints_px: Float[Tensor, "batch joints 2"],
        min_pool: int,
    ) -> JointDepth:
        """Sample a depth map at the joints.

        Args:
            depth_map: metres, background as `BACKGROUND`.
            joints_px: joints in pixels, pixel centres at +0.5.
            min_pool: side of the minimum-pooling window, 1, 3 or 5 pixels.

        Returns:
            Absolute depth in metres, NaN where the image shows no body, and which joints looked beyond their own
            pixels.

        Raises:
            ValueError: another pooling window.
        """
        check_min_pool(min_pool)
        size = joints_px.shape[:2]
        depth = torch.empty(size, device=self.device)
        widened = torch.empty(size, dtype=torch.bool, device=self.device)
        inputs = [view(depth_map, wp.float32), view(joints_px, wp.vec2), min_pool, self._reaches_view]
        self._launch(joint_kernels.sample, tuple(size), inputs, [view(depth, wp.float32), view(widened, wp.bool)])
        return JointDepth(depth, widened)
