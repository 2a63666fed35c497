"""Subject-centred square crops: pinhole cameras that share the optical centre of the real ones (METHODS 4.4)."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from dg.pose.camera import Camera

# Joints that (nearly) coincide would ask for an infinite zoom; 0.02 is 10 cm at 5 m.
SMALLEST_SPAN = 0.02


@dataclass(frozen=True)
class Crop:
    """Pinhole intrinsics of `[batch]` square images in pixels; pixel i spans [i, i + 1), its centre is i + 0.5.

    Attributes:
        joints_px: where the joints are in the crop.
        zoom: focal length of the crop over that of the whole frame at the same image side, by which a network that
            assumes a focal length can correct its depth.
    """

    focal_px: Float[Tensor, "batch 2"]
    center_px: Float[Tensor, "batch 2"]
    joints_px: Float[Tensor, "batch joints 2"]
    zoom: Float[Tensor, " batch"]


def subject_crop(
    camera: Camera, joints_2d: Float[Tensor, "batch joints 2"], resolution: int, subject_span_px: float
) -> Crop:
    """Return the crop in whose middle the longer side of the joints' box spans `subject_span_px` pixels.

    The crop looks along the undistorted rays of the joints, so it needs no distortion. It stays finite for joints that
    coincide.

    Args:
        camera: the camera of each pose, with its distortion.
        joints_2d: normalised image coordinates of the joints.
        resolution: height and width of the crop, pixels.
        subject_span_px: pixels that the longer side of the joints' box spans.
    """
    ray = camera.unproject(joints_2d)
    low, high = ray.amin(1), ray.amax(1)
    span = (high - low).amax(-1, keepdim=True).clamp_min(SMALLEST_SPAN)
    focal_px = (subject_span_px / span).expand(-1, 2).contiguous()
    center_px = resolution / 2 - focal_px * (low + high) / 2
    joints_px = focal_px[:, None] * ray + center_px[:, None]
    whole_frame_px = camera.focal.mean(-1) * (resolution / 2)
    return Crop(focal_px, center_px, joints_px, focal_px[:, 0] / whole_frame_px)
