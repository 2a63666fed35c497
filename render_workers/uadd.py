"""AugLift's depth descriptor from a depth map: median, nearest and farthest depth in a disk around each detected joint.

METHODS 4.1. The released code draws 100 unseeded samples a disk; here every pixel of it counts.
Background: real images have depth everywhere, and the farthest depth in a disk is there to flag the background.
Rendered ones have none, so a wall is put `background_m` behind the person's farthest joint (our own choice), beyond the
usual clip of the channel. `background_m=0`: no wall, only pixels of the body count.
"""

from dataclasses import dataclass, field
from functools import cache

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dg.pose.detections import DRAWS, Detections, SyntheticDetector
from dg.pose.devices import constant
from dg.pose.uadd import RadiusLaw
from dg.settings.config import DetectionConfig
from render_workers.base import BACKGROUND, READINGS, RenderRequest
from render_workers.crop import Crop
from render_workers.depth.noisy_zbuffer import mix, normal
from render_workers.sampling import JointDepth, Sampler, sample_joints

# Part of the cache key of requests for detections: to be raised when what comes out changes.
UADD_VERSION = 1
# Keys that a noisy depth source draws from serve here too: another stream of them.
_SALT = 0x55414444
# Disks are read together with those up to the next of these radii, in pixels.
_REACHES = (*range(1, 11), 12, 14, 17, 20, 24, 28, 33, 40, 50, 70, 100, 200, 400, 1000, 3000, 8000)


@dataclass(frozen=True)
class UaddOptions:
    """How requests for detections are answered.

    Attributes:
        background_m: metres from the farthest joint to the wall behind it; 0 for no wall.

    Raises:
        ValueError: `background_m` is negative.
    """

    radius: RadiusLaw = field(default_factory=RadiusLaw)
    detector: SyntheticDetector = field(default_factory=SyntheticDetector)
    background_m: float = DetectionConfig.background_m

    def __post_init__(self) -> None:
        if not self.background_m >= 0:
            raise ValueError(f"background_m must not be negative, got {self.background_m!r}")


def read_detections(
    zbuffer: Float[Tensor, "batch height width"],
    depth_map: Float[Tensor, "batch height width"],
    crop: Crop,
    request: RenderRequest,
    options: UaddOptions,
    sample: Sampler = sample_joints,
) -> JointDepth:
    """Read the depth of each joint in the disk around it, where a detector places the joint.

    The random draws depend on the pose's key alone. Joints detected beyond the image are read at its border.

    Args:
        zbuffer: true depth in metres, from which it is decided what hides a joint.
        depth_map: the depth source's answer in metres, from which depth is read; its errors hide no joint.
        crop: the crop that both maps show.
        request: bodies, cameras, joints and the detections that are asked for.
        options: radius law, synthetic detector and background.
        sample: reads single joints, as `sample_joints` does.

    Returns:
        The `READINGS` of each joint, as `RenderAnswer` lists them; NaN where an image shows no body.

    Raises:
        ValueError: the request has no `detect`.
    """
    if not request.detect:
        raise ValueError("expected a request for detections; this one asks for depth alone")
    surface = sample(zbuffer, crop.joints_px, 1)
    found = _detections(request, surface.depth, options.detector)
    detected = crop.focal_px[:, None] * request.camera.unproject(request.joints_2d + found.error)
    detected = detected + crop.center_px[:, None]
    zoom = crop.focal_px[:, 0] / request.camera.focal[:, 0]
    radius_px = options.radius.radius(found.confidence, _torso(request)) * zoom[:, None]
    wall = request.joints_3d[..., 2].amax(-1) + options.background_m if options.background_m else None
    depths = disk_statistics(depth_map, detected, radius_px, wall)
    if wall is None:
        alone = sample(depth_map, detected, 1).depth[..., None]
        depths = torch.where(depths.isnan(), alone, depths)
    depths = torch.where(surface.depth.isnan()[..., None], torch.nan, depths)
    readings = torch.cat([depths, found.confidence[..., None], found.error], -1)
    assert readings.shape[-1] == READINGS
    return JointDepth(readings, surface.widened)


def _torso(request: RenderRequest) -> Float[Tensor, " batch"]:
    """Distance from pelvis to thorax in the image, normalised."""
    root, thorax = request.skeleton.root, request.skeleton.index("thorax")
    return (request.joints_2d[:, thorax] - request.joints_2d[:, root]).norm(dim=-1)


def _detections(
    request: RenderRequest, surface: Float[Tensor, "batch joints"], detector: SyntheticDetector
) -> Detections:
    """Those that came with the request, else synthetic ones."""
    if request.confidence is not None:
        return Detections(request.confidence, torch.zeros_like(request.joints_2d))
    joints, device = surface.shape[1], surface.device
    stream = mix(request.keys.long() + mix(constant((_SALT,), device)))
    counter = torch.arange(joints * DRAWS, device=device).view(joints, DRAWS)
    draws = normal(stream[:, None, None], counter)
    return detector.detect(request.joints_2d, (request.joints_3d[..., 2] - surface).nan_to_num(), draws)


def disk_statistics(
    depth_map: Float[Tensor, "batch height width"],
    joints_px: Float[Tensor, "batch joints 2"],
    radius_px: Float[Tensor, "batch joints"],
    background: Float[Tensor, " batch"] | None = None,
) -> Float[Tensor, "batch joints 3"]:
    """Return median, minimum and maximum of the depth in the disk around each joint.

    The disk holds the pixels (u, v) of the image with (u - u0)^2 + (v - v0)^2 <= r^2, where (u0, v0) is the pixel in
    which the joint lies, or the nearest pixel of the image if the joint lies outside. The median of an even number of
    values is the mean of the middle two.

    Args:
        depth_map: depth, inf where a pixel has none.
        joints_px: joints in pixels, pixel centres at +0.5.
        radius_px: radius of each disk, pixels.
        background: depth of each image's pixels that have none; without it they do not count.

    Returns:
        Median, minimum and maximum in the unit of the map; NaN for a disk without any depth.
    """
    maps = _Maps(depth_map, background)
    radius = radius_px.flatten()
    image = torch.arange(len(depth_map), device=radius.device).repeat_interleave(joints_px.shape[1])
    pixel = torch.minimum(joints_px.floor().long().clamp_min(0), maps.last).flatten(0, 1)
    reaches = constant(_REACHES, radius.device)
    group = torch.bucketize(radius, reaches.to(radius), right=True).clamp_max(len(reaches) - 1)
    u, v, reach = pixel[:, 0], pixel[:, 1], reaches[group]
    at_border = (u < reach) | (v < reach) | (u + reach >= maps.width) | (v + reach >= maps.height)
    # Read group by group, and in each first the disks that lie in their image altogether.
    order = (2 * group + at_border).argsort(stable=True)
    image, pixel, square = image[order], pixel[order], radius[order].square()
    found, start = radius.new_empty(len(radius), 4), 0
    counts = (2 * group + at_border).bincount(minlength=2 * len(reaches)).view(-1, 2)
    for size, (within, beyond) in zip(_REACHES, counts.tolist(), strict=True):
        if within + beyond == 0:
            continue
        rows, start = slice(start, start + within + beyond), start + within + beyond
        offsets, distance = _disk(size, radius.device)
        values = maps.read(image[rows], pixel[rows], offsets, within)
        values.masked_fill_(distance > square[rows, None], BACKGROUND)
        found[rows] = _order_statistics(values)
    low, high, lowest, highest = found.unbind(-1)
    found = torch.stack([(low + high) / 2, lowest, highest], -1)
    found.masked_fill_(lowest[:, None] == BACKGROUND, torch.nan)
    return torch.empty_like(found).index_copy_(0, order, found).view(*joints_px.shape[:2], 3)


class _Maps:
    """Depth maps to be read at offsets from pixels. last: the largest (u, v)."""

    def __init__(self, depth_map: Float[Tensor, "batch height width"], background: Tensor | None) -> None:
        self.height, self.width = depth_map.shape[1:]
        self.flat, self.background = depth_map.flatten(), background
        self.last = constant((self.width - 1, self.height - 1), depth_map.device)

    def read(
        self, image: Int[Tensor, " rows"], pixel: Int[Tensor, "rows 2"], offsets: Int[Tensor, "pixels 2"], within: int
    ) -> Float[Tensor, "rows pixels"]:
        """Depth at the offsets from each pixel; inf beyond the image, which rows after the first `within` may reach."""
        place = ((image * self.height + pixel[:, 1]) * self.width + pixel[:, 0])[:, None]
        place = place + (offsets[:, 1] * self.width + offsets[:, 0])
        u, v = pixel[within:, :1] + offsets[:, 0], pixel[within:, 1:] + offsets[:, 1]
        outside = (u < 0) | (u >= self.width) | (v < 0) | (v >= self.height)
        place[within:].masked_fill_(outside, 0)
        values = self.flat.index_select(0, place.flatten()).view(place.shape)
        if self.background is not None:
            values = torch.where(values < BACKGROUND, values, self.background[image][:, None])
        values[within:].masked_fill_(outside, BACKGROUND)
        return values


@cache
def _disk(radius: int, device: torch.device) -> tuple[Int[Tensor, "pixels 2"], Float[Tensor, " pixels"]]:
    """Offsets (u, v) of all pixels less than `radius` from a pixel, row by row, and their squared distance."""
    steps = torch.arange(-radius, radius + 1, device=device)
    offsets = torch.cartesian_prod(steps, steps).flip(-1)
    square = offsets.square().sum(-1)
    inside = square < radius * radius
    return offsets[inside], square[inside].float()


def _order_statistics(values: Float[Tensor, "rows pixels"]) -> Float[Tensor, "rows 4"]:
    """The two middle ones, the least and the greatest of the finite values of each row; inf where there are none.

    Overwrites its argument.
    """
    if values.device.type == "cpu":
        values.numpy().sort(-1)  # 20 times faster than torch's, rows of 300
    else:
        values = values.sort(-1).values
    count = torch.searchsorted(values, values.new_full((len(values), 1), BACKGROUND))
    places = torch.cat([(count - 1) >> 1, count >> 1, torch.zeros_like(count), count - 1], -1)
    return values.gather(-1, places.clamp_(0, values.shape[1] - 1))
