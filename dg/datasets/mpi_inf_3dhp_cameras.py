"""The two cameras of MPI-INF-3DHP's test set, and where people stand whose files hold root-relative joints."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dg.datasets.base import DataError
from dg.datasets.intrinsics import solve_intrinsics
from dg.datasets.validation import check_in_front

SEQUENCES = ("TS1", "TS2", "TS3", "TS4", "TS5", "TS6")
# Median over a file, px. Other frames, another order of joints or another camera lie ten times as far off.
LARGEST_GAP_PX = 15.0
FARTHEST_M = 50.0  # median over a file


@dataclass(frozen=True)
class Calibration:
    """Image size, focal length and principal point, px (METHODS 1.5; the data set's own calibration)."""

    size: tuple[float, float]
    focal: tuple[float, float]
    center: tuple[float, float]


# The outdoor camera's calibration also has radial and tangential distortion. It is left out: whether `annot2` holds it
# is not documented, and the gap between 2D and projected 3D, which is reported, says how much that matters.
STUDIO = Calibration((2048.0, 2048.0), (1500.172, 1500.837), (1017.387, 1043.032))
OUTDOORS = Calibration((1920.0, 1080.0), (1683.983, 1672.594), (939.858, 560.141))
CALIBRATIONS = (STUDIO, STUDIO, STUDIO, STUDIO, OUTDOORS, OUTDOORS)


@dataclass(frozen=True)
class Views:
    """Size, focal length and principal point of each row, px."""

    size: Float[Tensor, "rows 2"]
    focal: Float[Tensor, "rows 2"]
    center: Float[Tensor, "rows 2"]

    @staticmethod
    def calibrated(sequence: Int[Tensor, " rows"]) -> "Views":
        """Return the data set's calibration for sequence numbers; 0 is TS1."""
        parts = ([getattr(c, name) for c in CALIBRATIONS] for name in ("size", "focal", "center"))
        return Views(*[torch.tensor(part)[sequence] for part in parts])

    @staticmethod
    def estimated(
        joints: Float[Tensor, "rows joints 3"], pixels: Float[Tensor, "rows joints 2"], sequence: int
    ) -> "Views":
        """Estimate one camera for all rows of a sequence, by least squares.

        Args:
            joints: absolute joints in the camera frame, metres.
            pixels: their image coordinates, pixels.
            sequence: number of the sequence.
        """
        rows = torch.full((len(joints),), sequence)
        focal, center, _ = solve_intrinsics(joints, pixels, torch.zeros_like(rows))
        return Views(Views.calibrated(rows).size, focal, center)

    def ratio(self, pixels: Float[Tensor, "rows joints 2"]) -> Float[Tensor, "rows joints 2"]:
        """Convert pixels to x/z and y/z, float64."""
        return (pixels.double() - self.center[:, None]) / self.focal[:, None]

    def gap(
        self, joints: Float[Tensor, "rows joints 3"], pixels: Float[Tensor, "rows joints 2"]
    ) -> Float[Tensor, " rows"]:
        """Measure how far each row's farthest joint projects from its pixel.

        Args:
            joints: absolute joints in the camera frame, metres.
            pixels: the stated image coordinates, pixels.

        Returns:
            The distance, pixels.
        """
        projected = joints[..., :2] / joints[..., 2:].clamp_min(1e-6) * self.focal[:, None] + self.center[:, None]
        return (projected - pixels).norm(dim=-1).amax(1)


def place_root(
    relative: Float[Tensor, "rows joints 3"], ratio: Float[Tensor, "rows joints 2"]
) -> Float[Tensor, "rows 3"]:
    """Find the translation after which joints project best onto their image ratios.

    The method is least squares of X + t_x - u (Z + t_z) and its like in y over all joints, in closed form and float64;
    it is exact where the pose, up to its translation, really projects there.

    Args:
        relative: joints in the camera's axes, metres; their place does not matter.
        ratio: image ratios x/z and y/z.

    Returns:
        The translation t of each row, metres.
    """
    joints, u = relative.double(), ratio.double()
    # X + t_x - u (Z + t_z) = 0 is t_x - u t_z = u Z - X; without the means t_x drops out.
    a = u * joints[..., 2:] - joints[..., :2]
    mean_u, mean_a = u.mean(1), a.mean(1)
    spread = u - mean_u[:, None]
    depth = -(spread * (a - mean_a[:, None])).sum((1, 2)) / spread.square().sum((1, 2)).clamp_min(1e-18)
    return torch.cat([mean_a + mean_u * depth[:, None], depth[:, None]], -1)


def placed(
    joints: Float[Tensor, "rows joints 3"], pixels: Float[Tensor, "rows joints 2"], views: Views
) -> Float[Tensor, "rows joints 3"]:
    """Move joints, each row as a whole, to where they project best onto their pixels.

    Args:
        joints: joints in the camera's axes, metres.
        pixels: their image coordinates, pixels.
        views: the camera of each row.

    Returns:
        Absolute joints in the camera frame, metres.
    """
    return (joints.double() + place_root(joints, views.ratio(pixels))[:, None]).float()


def check_projection(
    joints: Float[Tensor, "rows joints 3"], pixels: Float[Tensor, "rows joints 2"], views: Views, what: str
) -> None:
    """Raise DataError for people behind the camera, a mirrored axis, or 2D that is not the projection of the 3D.

    Args:
        joints: absolute joints in the camera frame, metres.
        pixels: their image coordinates, pixels.
        views: the camera of each row.
        what: file and array, for the message.
    """
    check_in_front(joints, what)
    if not (views.focal > 0).all():
        raise DataError(
            f"{what}: the 2D mirrors the 3D (focal lengths {views.focal[0].tolist()} px fit best); expected x right, y "
            "down and the same side called left in both"
        )
    gap, depth = float(views.gap(joints, pixels).median()), float(joints[..., 2].median())
    if not (gap <= LARGEST_GAP_PX and depth <= FARTHEST_M):
        raise DataError(
            f"{what}: expected 2D that is the projection of the 3D, but it typically differs by {gap:.0f} px (limit "
            f"{LARGEST_GAP_PX:.0f}) with people {depth:.0f} m away (limit {FARTHEST_M:.0f}): other frames, joints in "
            "another order, left and right swapped, or other units"
        )
