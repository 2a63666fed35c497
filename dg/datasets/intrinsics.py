"""A pinhole camera from 3D joints and their pixels, for files that carry no intrinsics."""

from jaxtyping import Float, Int
from torch import Tensor


def solve_intrinsics(
    joints: Float[Tensor, "rows joints 3"], pixels: Float[Tensor, "rows joints 2"], clip: Int[Tensor, " rows"]
) -> tuple[Float[Tensor, "rows 2"], Float[Tensor, "rows 2"], Float[Tensor, " rows"]]:
    """Estimate one camera for each clip from 3D joints and their pixels.

    The method is least squares of u = f x/z + c for each axis over all joints of a clip, in closed form and float64.

    Args:
        joints: absolute joints in the camera frame, z > 0.
        pixels: their image coordinates, pixels.
        clip: clip number of each row, from zero without gaps.

    Returns:
        Focal length and principal point of each row's camera, and each row's largest error, all in pixels.
    """
    ratio, target = (joints[..., :2] / joints[..., 2:]).double(), pixels.double()
    clips, count = int(clip.max()) + 1, joints.shape[1]

    def per_clip(values: Float[Tensor, "rows joints 2"]) -> Float[Tensor, "rows 1 2"]:
        total = values.new_zeros(clips, 2).index_add_(0, clip, values.sum(1))
        return (total / (count * clip.bincount(minlength=clips)[:, None]))[clip, None]

    # Centred first: the variance of x/z is small beside its square.
    mean_ratio, mean_target = per_clip(ratio), per_clip(target)
    spread, offset = ratio - mean_ratio, target - mean_target
    focal = per_clip(spread * offset) / per_clip(spread * spread).clamp_min(1e-12)
    center = mean_target - focal * mean_ratio
    error = (focal * ratio + center - target).abs().amax((1, 2))
    return focal[:, 0].to(joints), center[:, 0].to(joints), error.to(joints)
