"""Metres from a relative network's disparity d on a real image: 1 / z = s d + t, s > 0, by least squares per image.

No image tells s and t by itself; what does (METHODS 4.4 asks for an alignment and leaves it open):

`ground`: a camera of known height H above a flat floor, without roll, whose horizon lies in a known row v0. With the
focal length f and the principal point in the middle, row c, the camera is pitched by theta, tan(theta) = (c - v0) / f,
and a point of the floor seen in row v has

    1 / z = cos(theta) (v - v0) / (f H),

z along the optical axis. The floor is taken to fill the rows below the people's lowest joint, less a tenth of the
person's height for the foot itself (our choice); of each row the median disparity counts, which passes over what
stands at the sides. Feet alone cannot tell s from t: they stand at one distance.

`known`: the metric depth of some joints, from the keypoint file, against the disparity in their disks. A joint lies
behind the surface that is seen, so depth comes out deeper by a body's half thickness; from ground truth it is an
oracle, and labelled so.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from render_workers.depth.alignment import FARTHEST_M

MIN_ROWS = 8  # of floor
_FOOT = 0.1
# Disparities that differ by less than this part of their size are one disparity: nothing can be fitted to them.
_SAME = 1e-6


class AlignmentError(ValueError):
    """An image whose disparity cannot be brought to metres. The message says why."""


@dataclass(frozen=True)
class GroundCamera:
    """A camera above a floor.

    Attributes:
        height_m: height above the floor, metres.
        horizon: row of the horizon, as a share of the image's height from the top.
        focal: focal length in shorter sides of the image.

    Raises:
        ValueError: a height or focal length that is not positive.
    """

    height_m: float
    horizon: float
    focal: float

    def __post_init__(self) -> None:
        if not (self.height_m > 0 and self.focal > 0):
            raise ValueError(
                f"align=ground needs camera_height (m) and focal (in shorter sides of the image) above 0, got "
                f"{self.height_m} and {self.focal}"
            )

    def inverse_depth(self, rows: Float[np.ndarray, " rows"], width: int, height: int) -> Float[np.ndarray, " rows"]:
        """Of the floor seen in these rows, 1/m; not positive from the horizon up."""
        focal_px, horizon = self.focal * min(width, height), self.horizon * height
        pitch = np.arctan((height / 2 - horizon) / focal_px)
        return np.cos(pitch) * (rows - horizon) / (focal_px * self.height_m)


def align_to_ground(
    disparity: Float[np.ndarray, "height width"],
    joints_px: Float[np.ndarray, "people joints 2"],
    camera: GroundCamera,
) -> Float[np.ndarray, "height width"]:
    """Metres of each pixel, from the floor below the people.

    Args:
        disparity: of the image.
        joints_px: of the people on the floor, pixels; NaN where unknown.
        camera: above the floor.

    Raises:
        AlignmentError: where too little floor is seen, or where its disparity does not grow towards the camera.
    """
    height, width = disparity.shape
    rows_of = np.where(np.isfinite(joints_px).all(-1), joints_px[..., 1], np.nan)
    rows_of = rows_of[np.isfinite(rows_of).any(-1)]
    if not len(rows_of):
        raise AlignmentError("no joint is known, so that it is not known where the floor begins")
    feet = np.nanmax(rows_of, -1) + _FOOT * (np.nanmax(rows_of, -1) - np.nanmin(rows_of, -1))
    first = int(np.ceil(np.nanmax(feet)))
    rows = np.arange(max(first, 0), height)
    known = camera.inverse_depth(rows + 0.5, width, height)
    rows, known = rows[known > 0], known[known > 0]
    if len(rows) < MIN_ROWS:
        raise AlignmentError(f"only {len(rows)} rows of floor below the people, expected at least {MIN_ROWS}")
    return in_metres(disparity, np.median(disparity[rows], 1), known)


def align_to_joints(
    disparity: Float[np.ndarray, "height width"],
    at_joints: Float[np.ndarray, "*joints"],
    depth: Float[np.ndarray, "*joints"],
) -> Float[np.ndarray, "height width"]:
    """Metres of each pixel, from joints of known depth.

    Args:
        disparity: of the image.
        at_joints: disparity at the joints; NaN where unknown.
        depth: of the same joints, metres; NaN where unknown.

    Raises:
        AlignmentError: with fewer than two joints of which both are known.
    """
    both = np.isfinite(at_joints) & np.isfinite(depth) & (np.nan_to_num(depth) > 0)
    if both.sum() < 2:
        raise AlignmentError(f"{int(both.sum())} joints of known depth, expected at least 2")
    return in_metres(disparity, at_joints[both], 1 / depth[both])


def in_metres(
    disparity: Float[np.ndarray, "height width"],
    at_points: Float[np.ndarray, " points"],
    inverse_depth: Float[np.ndarray, " points"],
) -> Float[np.ndarray, "height width"]:
    """Metres of each pixel, at most FARTHEST_M, by the line of least squared error through (disparity, 1 / z).

    Args:
        disparity: of the image.
        at_points: disparity at points of known depth.
        inverse_depth: of these points, 1/m.

    Raises:
        AlignmentError: where the disparities do not differ, or are smaller for what is nearer.
    """
    d, target = at_points.astype(np.float64), inverse_depth.astype(np.float64)
    centred = d - d.mean()
    spread = (centred**2).sum()
    if spread <= (_SAME * d.mean()) ** 2 * len(d):
        raise AlignmentError("the network sees no difference between the points of known depth")
    slope = (centred * (target - target.mean())).sum() / spread
    if slope <= 0:
        raise AlignmentError("what is nearer has a smaller disparity: not the scene that was described")
    inverse = slope * (disparity.astype(np.float64) - d.mean()) + target.mean()
    return (1 / inverse.clip(1 / FARTHEST_M)).astype(np.float32)
