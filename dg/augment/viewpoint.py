"""From where a person is seen: the camera's azimuth and elevation against the trunk, and where the person stands.

The viewpoint is the direction from the pelvis to the camera in the person's own frame (hips and trunk).
"""

import torch
from jaxtyping import Float
from torch import Tensor

from dg.pose.batch import PoseBatch
from dg.pose.skeleton import Skeleton

QUANTITIES = ("azimuth_deg", "elevation_deg", "tilt_deg", "root_depth_m", "scale_2d")


def body_frame(joints: Float[Tensor, "poses joints 3"], skeleton: Skeleton) -> Float[Tensor, "poses 3 3"]:
    """Find the axes of a person's body.

    Args:
        joints: joints in any frame, metres.
        skeleton: the skeleton of the joints; it needs hips and thorax.

    Returns:
        Unit vectors as rows, in the frame of the joints: to the person's left, up along the trunk, and out of the
        chest.
    """
    left = joints[:, skeleton.index("left_hip")] - joints[:, skeleton.index("right_hip")]
    left = torch.nn.functional.normalize(left, dim=-1)
    trunk = joints[:, skeleton.index("thorax")] - joints[:, skeleton.root]
    up = torch.nn.functional.normalize(trunk - (trunk * left).sum(-1, keepdim=True) * left, dim=-1)
    return torch.stack([left, up, torch.linalg.cross(left, up)], 1)


def camera_direction(joints: Float[Tensor, "poses joints 3"], skeleton: Skeleton) -> Float[Tensor, "poses 3"]:
    """Find the direction in which a person sees the camera.

    Args:
        joints: absolute joints in the camera frame, metres.
        skeleton: the skeleton of the joints; it needs hips and thorax.

    Returns:
        Unit vectors from the pelvis to the camera along the person's axes: left, up, front.
    """
    to_camera = torch.nn.functional.normalize(-joints[:, skeleton.root], dim=-1)
    return (body_frame(joints, skeleton) @ to_camera[..., None])[..., 0]


def viewpoint_deg(
    joints: Float[Tensor, "poses joints 3"], skeleton: Skeleton
) -> tuple[Float[Tensor, " poses"], Float[Tensor, " poses"]]:
    """Azimuth and elevation of the camera as the person sees it.

    Args:
        joints: camera frame, absolute, metres.
        skeleton: whose joints they are.

    Returns:
        Azimuth in (-180, 180] degrees, 0 in front and 90 on the person's left, and elevation in [-90, 90] degrees, 90
        above the head.
    """
    left, up, front = camera_direction(joints, skeleton).unbind(-1)
    return torch.rad2deg(torch.atan2(left, front)), torch.rad2deg(torch.asin(up.clamp(-1, 1)))


def view_quantities(poses: PoseBatch) -> dict[str, Float[Tensor, " poses"]]:
    """How each pose (the centre frame of a window) is seen.

    Args:
        poses: in the frame of their cameras.

    Returns:
        By the names of `QUANTITIES`: azimuth and elevation of the camera against the trunk; tilt, the angle between
        the trunk and the camera's upward vertical, degrees; the root's depth, metres; and the mean of width and height
        of the box around the 2D joints, the frame being 2 wide.
    """
    centre = poses.joints_3d.shape[1] // 2
    joints, joints_2d, skeleton = poses.joints_3d[:, centre], poses.joints_2d[:, centre], poses.skeleton
    azimuth, elevation = viewpoint_deg(joints, skeleton)
    trunk = torch.nn.functional.normalize(joints[:, skeleton.index("thorax")] - joints[:, skeleton.root], dim=-1)
    tilt = torch.rad2deg(torch.acos((-trunk[:, 1]).clamp(-1, 1)))
    scale = (joints_2d.amax(1) - joints_2d.amin(1)).mean(-1)
    return dict(zip(QUANTITIES, (azimuth, elevation, tilt, joints[:, skeleton.root, 2], scale), strict=True))
