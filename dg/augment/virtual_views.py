"""Where a camera may stand that sees a person: focal length, distance, height, direction and place in the frame."""

from dataclasses import dataclass
from math import log, pi, radians

import torch
from jaxtyping import Float
from torch import Tensor

from dg.pose.batch import PoseBatch
from dg.pose.camera import Camera

PERSON_M, ROOT_HEIGHT_M = 1.7, 0.9
DRAWS = 7  # uniform numbers that a view takes


@dataclass(frozen=True)
class CameraRanges:
    """focal: width-normalised, drawn evenly in its logarithm. fill: height of a standing person over the frame's.
    height_m: of the camera above the floor. distance_m: to the person. aim: how far from the middle the person stands,
    share of the half frame. roll_deg: half range.
    """

    focal: tuple[float, float] = (1.2, 3.0)
    fill: tuple[float, float] = (0.3, 0.8)
    height_m: tuple[float, float] = (0.2, 3.0)
    distance_m: tuple[float, float] = (1.5, 9.0)
    aim: float = 0.4
    roll_deg: float = 5.0


def vertical(poses: PoseBatch, reference: PoseBatch) -> Float[Tensor, "poses 3"]:
    """Estimate the upward vertical in the camera frame of each pose, as the mean trunk of people whom its camera saw.

    Args:
        poses: the poses whose cameras are asked about.
        reference: poses of the same cameras, by which the vertical is estimated.

    Returns:
        Unit vectors in the camera frames. Poses whose camera saw none of the reference poses get the mean over all of
        them.
    """
    return CameraVerticals(reference)(poses)


class CameraVerticals:
    """The upward vertical of each camera of some poses, estimated once.

    Args:
        reference: poses by whose trunks the vertical is estimated; cameras are told apart by their intrinsics.
    """

    def __init__(self, reference: PoseBatch) -> None:
        centre = reference.joints_3d.shape[1] // 2
        joints, skeleton = reference.joints_3d[:, centre], reference.skeleton
        trunk = torch.nn.functional.normalize(joints[:, skeleton.index("thorax")] - joints[:, skeleton.root], dim=-1)
        self.known, of_reference = _intrinsics(reference.camera).unique(dim=0, return_inverse=True)
        self.sums = trunk.new_zeros(len(self.known), 3).index_add(0, of_reference, trunk)
        self.total = trunk.sum(0)

    def __call__(self, poses: PoseBatch) -> Float[Tensor, "poses 3"]:
        """Unit vectors in the camera frames of `poses`, on their device.

        Args:
            poses: any; those of an unknown camera get the mean over all cameras.
        """
        given = _intrinsics(poses.camera)
        # They stay where they were asked for: a copy to a GPU waits for it.
        self.known, self.sums, self.total = self.known.to(given), self.sums.to(given), self.total.to(given)
        own = (given[:, None] == self.known[None]).all(-1)
        found = own.to(given) @ self.sums + (~own.any(1, keepdim=True)).to(given) * self.total
        return torch.nn.functional.normalize(found, dim=-1)


def place_views(
    centred: Float[Tensor, "rows joints 3"],
    up: Float[Tensor, "rows 3"],
    draw: Float[Tensor, "rows draws"],
    ranges: CameraRanges,
) -> tuple[Float[Tensor, " rows"], Float[Tensor, "rows joints 3"]]:
    """Draw a camera for each pose.

    Args:
        centred: joints relative to the root, metres, in any camera's axes.
        up: the upward vertical in these axes.
        draw: uniform in [0, 1], `DRAWS` a pose.
        ranges: of the cameras.

    Returns:
        Focal lengths, width-normalised, and the joints in the frames of the cameras, metres.
    """

    def within(bounds: tuple[float, float], row: int) -> Tensor:
        return bounds[0] + (bounds[1] - bounds[0]) * draw[:, row]

    focal = within((log(ranges.focal[0]), log(ranges.focal[1])), 0).exp()
    distance = (focal * PERSON_M / (2 * within(ranges.fill, 1))).clamp(*ranges.distance_m)
    rise = (within(ranges.height_m, 2) - ROOT_HEIGHT_M) / distance
    elevation = torch.asin(rise.clamp(-0.7, 0.7))
    azimuth, roll = 2 * pi * draw[:, 3], radians(ranges.roll_deg) * (2 * draw[:, 4] - 1)
    ahead = torch.zeros_like(up)
    ahead[:, 2] = 1.0
    level = torch.nn.functional.normalize(ahead - (ahead * up).sum(-1, keepdim=True) * up, dim=-1)
    across = torch.linalg.cross(up, level)
    sideways = azimuth.cos()[:, None] * level + azimuth.sin()[:, None] * across
    forward = -(elevation.cos()[:, None] * sideways + elevation.sin()[:, None] * up)
    right = torch.nn.functional.normalize(torch.linalg.cross(forward, up), dim=-1)
    down = torch.linalg.cross(forward, right)
    cosine, sine = roll.cos()[:, None], roll.sin()[:, None]
    rotation = torch.stack([cosine * right + sine * down, cosine * down - sine * right, forward], 1)
    aim = ranges.aim * (2 * draw[:, 5:7] - 1) / focal[:, None]
    place = torch.cat([aim * distance[:, None], distance[:, None]], -1)
    return focal, centred @ rotation.mT + place[:, None]


def square_camera(focal: Float[Tensor, " rows"]) -> Camera:
    """Pinhole cameras with a square frame and the principal point in its middle.

    Args:
        focal: width-normalised.
    """
    pair = focal[:, None].expand(-1, 2).contiguous()
    camera = Camera(pair, torch.zeros_like(pair), pair.new_zeros(len(pair), 5), torch.ones_like(pair))
    return camera.knowing(pinhole=True)


def _intrinsics(camera: Camera) -> Float[Tensor, "poses 4"]:
    return torch.cat([camera.focal, camera.center], -1)
