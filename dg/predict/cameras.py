"""The camera of a photograph: as it was given, or an assumed one.

2D and focal lengths are divided by half the longer side (METHODS 1.4), so that a portrait and a landscape picture of
one camera give the same numbers.
"""

import math
from dataclasses import dataclass

import torch

from dg.pose.camera import Camera
from dg.predict.settings import PredictOptions


@dataclass(frozen=True)
class ImageCamera:
    """Intrinsics of one image.

    Attributes:
        focal_px: focal length along x and y, pixels.
        center_px: principal point, x and y, pixels.
        known: whether they were given or stand in the file, and are not assumed.
        origin: `given`, `exif` or `assumed`.
    """

    size_px: tuple[int, int]
    focal_px: tuple[float, float]
    center_px: tuple[float, float]
    distortion: tuple[float, ...]
    known: bool
    origin: str = "assumed"

    @property
    def normalised(self) -> Camera:
        """One row, by the longer side."""
        rows = (self.focal_px, self.center_px, self.size_px, self.distortion)
        return Camera.from_pixels(*[torch.tensor([r], dtype=torch.float32) for r in rows], longer_side=True)

    @property
    def field_of_view(self) -> float:
        """Horizontal, degrees."""
        return math.degrees(2 * math.atan(self.size_px[0] / 2 / self.focal_px[0]))


def image_camera(size_px: tuple[int, int], options: PredictOptions, f_ref: float, exif_px: float = 0.0) -> ImageCamera:
    """The camera of an image.

    Args:
        size_px: width and height of the image.
        options: may give the camera.
        f_ref: focal length over half the longer side that is assumed where none is given: the one for which
            dscale2d=focal leaves 2D as dscale2d=paper does.
        exif_px: focal length in pixels that the file's EXIF tells, taken where none is given; 0: none.
    """
    width, height = size_px
    centre = (width / 2, height / 2)
    if options.camera:
        fx, fy, cx, cy, *bent = options.intrinsics
        return ImageCamera(size_px, (fx, fy), (cx, cy), tuple(bent), True, "given")
    focal = options.focal
    if options.fov:
        focal = width / 2 / math.tan(math.radians(options.fov / 2))
    origin = "given" if focal > 0 else "exif" if exif_px > 0 else "assumed"
    focal = focal or exif_px or f_ref * max(size_px) / 2
    return ImageCamera(size_px, (focal, focal), centre, (0.0,) * 5, origin != "assumed", origin)
