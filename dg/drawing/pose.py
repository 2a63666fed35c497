"""A pose in 3D axes, and the colours by which every picture tells left from right."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator

from dg.drawing.figures import png_bytes
from dg.pose.skeleton import Skeleton

if TYPE_CHECKING:
    from mpl_toolkits.mplot3d import Axes3D

# Orange and blue: also told apart by those who cannot tell red from green.
LEFT, RIGHT, MIDDLE, REFERENCE = "#f08000", "#0096d6", "#444444", "#a0a0a0"
_INCHES, _DPI = 4.6, 110
_ELEVATION, _AZIMUTH = 14.0, -68.0  # degrees: from behind the camera, a little to its left and above it
_MARGIN = 1.05
_TICK_M = 0.5


class PoseFigure(Figure):
    """A figure without a window, which a notebook shows by itself."""

    def _repr_png_(self) -> bytes:
        return png_bytes(self, _DPI)


def side_colour(skeleton: Skeleton, joint: int, middle: str = MIDDLE) -> str:
    """The colour of a joint and of the bone that ends in it: a person's left is orange, the right blue.

    Args:
        skeleton: that the joint belongs to.
        joint: its number.
        middle: the colour of joints of neither side.
    """
    return LEFT if joint in skeleton.left else RIGHT if joint in skeleton.right else middle


def check_poses(poses: Sequence[np.ndarray], skeleton: Skeleton) -> None:
    """Raise ValueError for poses of another number of joints, or with joints that are not finite.

    Args:
        poses: `[joints, 3]` each, metres.
        skeleton: whose joints they are.
    """
    for pose in poses:
        if pose.shape != (len(skeleton), 3) or not np.isfinite(pose).all():
            raise ValueError(
                f"expected {len(skeleton)} finite joints ({skeleton.name}), shape [{len(skeleton)}, 3]; got "
                f"{list(pose.shape)} with {int(np.isfinite(pose).sum())} finite numbers"
            )


def draw_pose(
    joints: Float[np.ndarray, "joints 3"],
    skeleton: Skeleton,
    reference: Float[np.ndarray, "joints 3"] | None = None,
    title: str = "",
) -> PoseFigure:
    """A figure of one pose in the camera's axes, seen from behind the camera, all axes to one scale.

    Args:
        joints: metres, camera axes (x right, y down, z away from the camera), relative to the root or absolute.
        skeleton: whose joints they are.
        reference: another pose in the same axes, drawn grey behind it: the ground truth, for example.
        title: above the axes.

    Raises:
        ValueError: for poses of another number of joints, or with joints that are not finite.
    """
    poses = [joints] if reference is None else [reference, joints]
    check_poses(poses, skeleton)
    figure = PoseFigure(figsize=(_INCHES, _INCHES), layout="constrained")
    axes: Any = figure.add_subplot(projection="3d")
    if reference is not None:
        _draw_bones(axes, reference, skeleton, REFERENCE)
    _draw_bones(axes, joints, skeleton)
    _dress(axes, np.concatenate(poses))
    axes.set_title(title, fontsize=9)
    return figure


def _draw_bones(axes: "Axes3D", joints: np.ndarray, skeleton: Skeleton, colour: str = "") -> None:
    for parent, child in skeleton.bones:
        x, y, z = joints[[parent, child]].T
        # matplotlib's third axis points up: it holds y, and is turned upside down below.
        axes.plot(
            x, z, y, color=colour or side_colour(skeleton, child), linewidth=1.6 if colour else 2.6,
            solid_capstyle="round", marker="o", markersize=2.0 if colour else 3.2,
        )  # fmt: skip


def _dress(axes: Any, points: Float[np.ndarray, "points 3"]) -> None:  # noqa: ANN401 - Axes3D's stubs lack its setters
    low, high = points.min(0), points.max(0)
    middle, half = (low + high) / 2, max(float((high - low).max()) / 2 * _MARGIN, 1e-3)
    axes.set_xlim(middle[0] - half, middle[0] + half)
    axes.set_ylim(middle[2] - half, middle[2] + half)
    axes.set_zlim(middle[1] + half, middle[1] - half)
    axes.set_box_aspect((1, 1, 1), zoom=1.0)
    for axis in (axes.xaxis, axes.yaxis, axes.zaxis):
        axis.set_major_locator(MultipleLocator(_TICK_M))
    axes.view_init(_ELEVATION, _AZIMUTH)
    labels: Sequence[tuple[Any, str]] = (
        (axes.set_xlabel, "x (right), m"),
        (axes.set_ylabel, "z (forward), m"),
        (axes.set_zlabel, "y (down), m"),
    )
    for label, text in labels:
        label(text, fontsize=8)
    axes.tick_params(labelsize=7)
