"""The picture of a prediction: the image with its 2D, its depth map, and each person's 3D from front and side."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from dg.drawing.pose import MIDDLE, side_colour
from dg.pose.skeleton import Skeleton
from dg.predict.lifter_inputs import ImageInputs, LiftedPerson

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.gridspec import GridSpecFromSubplotSpec

DOTS_PER_INCH = 110
THUMBNAIL_PX = 960  # longer side of the image in the picture
SHOWN = 4  # people with views of their own
DOUBTFUL = 0.3  # joints of less confidence are drawn hollow (METHODS 4.2: the confidence filter)
_PALE = "#ffffff"  # on images, whose middle is seldom as light
_HEIGHT, _VIEW = 4.3, 3.3  # inches: of one row, and the width of one view
_X, _Y, _Z = 0, 1, 2


def shrink_of(width: int, height: int) -> float:
    """By what an image is made smaller for the picture; at most 1."""
    return min(1.0, THUMBNAIL_PX / max(width, height))


def draw_picture(image: ImageInputs, people: Sequence[LiftedPerson], skeleton: Skeleton, caption: str) -> "Figure":
    """Draw an image with the lifted people; the figure opens no window.

    Args:
        image: the image with its thumbnail.
        people: lifted people, of whom the first `SHOWN` are drawn.
        skeleton: of their joints.
        caption: text of the figure.

    Raises:
        ValueError: the image has no thumbnail.
    """
    from matplotlib.figure import Figure

    if image.thumbnail is None:
        raise ValueError(f"expected a thumbnail of {image.name} to draw")
    maps = 1 if image.depth_thumbnail is None else 2
    shown = people[:SHOWN]
    stacked = len(shown) > 1
    pairs = math.ceil(len(shown) / 2) if stacked else len(shown)
    rows = 2 if stacked else 1
    height = _HEIGHT * (1.6 if stacked else 1.0)
    # A map is as high as its row, less its title.
    map_width = (height / (maps if stacked else 1) - 0.6) * image.thumbnail.shape[1] / image.thumbnail.shape[0] + 0.5
    left = map_width if stacked else map_width * maps
    right = 2 * _VIEW * pairs
    figure = Figure(figsize=(left + right + 0.3, height + 0.4), layout="constrained")
    ratios = [left, right] if shown else [left, 1e-6]
    outer = figure.add_gridspec(1, 2, width_ratios=ratios)
    maps_grid = outer[0].subgridspec(*((maps, 1) if stacked else (1, maps)))
    axes = [figure.add_subplot(maps_grid[i]) for i in range(maps)]
    _draw_image(axes[0], image, people, skeleton)
    if maps > 1:
        _draw_depth(figure, axes[1], image, people, skeleton)
    if shown:
        _draw_views(figure, outer[1].subgridspec(rows, 2 * pairs), shown, skeleton)
    figure.suptitle(f"{image.name}   {caption}", fontsize=9, color="#333333")
    return figure


def _draw_image(axis: "Axes", image: ImageInputs, people: Sequence[LiftedPerson], skeleton: Skeleton) -> None:
    from matplotlib.patches import Rectangle

    assert image.thumbnail is not None
    axis.imshow(image.thumbnail, extent=_extent(image))
    for number, person in enumerate(people, 1):
        left, top, right, bottom = (person.inputs.person.box * image.shrink).tolist()
        axis.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor=_PALE, linewidth=0.8))
        _label(axis, (left, top), f"{number}  {person.inputs.person.score:.2f}")
        _draw_2d(axis, person, skeleton, image.shrink)
    count = "nobody found" if not people else "1 person" if len(people) == 1 else f"{len(people)} people"
    _dress_map(axis, image, f"2D: {count}")


def _draw_depth(
    figure: "Figure", axis: "Axes", image: ImageInputs, people: Sequence[LiftedPerson], skeleton: Skeleton
) -> None:
    depth = image.depth_thumbnail
    assert depth is not None
    near, far = np.percentile(depth, [1, 99])
    drawn = axis.imshow(depth, cmap="turbo_r", vmin=near, vmax=max(far, near + 1e-3), extent=_extent(image))
    bar = figure.colorbar(drawn, ax=axis, fraction=0.05, pad=0.02)
    bar.set_label("depth, m", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    bar.ax.invert_yaxis()
    for person in people:
        joints = person.inputs.joints_px * image.shrink
        for parent, child in skeleton.bones:
            axis.plot(*joints[[parent, child]].T, color=_PALE, linewidth=0.9, solid_capstyle="round")
    _dress_map(axis, image, "depth" if image.camera.known else "depth (focal length assumed)")


def _draw_2d(axis: "Axes", person: LiftedPerson, skeleton: Skeleton, shrink: float) -> None:
    from matplotlib.patheffects import withStroke

    joints = person.inputs.joints_px * shrink
    outline = [withStroke(linewidth=3.4, foreground="#00000090")]
    for parent, child in skeleton.bones:
        colour = side_colour(skeleton, child, _PALE)
        axis.plot(*joints[[parent, child]].T, color=colour, linewidth=1.8, path_effects=outline)
    sure = person.inputs.confidence >= DOUBTFUL
    axis.scatter(*joints[sure].T, s=11, color=_PALE, edgecolors="#222222", linewidths=0.6, zorder=3)
    axis.scatter(*joints[~sure].T, s=13, facecolors="none", edgecolors=_PALE, linewidths=0.9, zorder=3)


def _draw_views(
    figure: "Figure", grid: "GridSpecFromSubplotSpec", people: Sequence[LiftedPerson], skeleton: Skeleton
) -> None:
    half = 0.55 * max(float(np.ptp(p.joints_3d, axis=0).max()) for p in people)
    for number, person in enumerate(people):
        row, column = (number % 2, 2 * (number // 2)) if len(people) > 1 else (0, 0)
        front, side = (figure.add_subplot(grid[row, column + i]) for i in range(2))
        _draw_view(front, person, skeleton, (_X, _Y), half)
        _draw_view(side, person, skeleton, (_Z, _Y), half)
        front.set_title(f"{number + 1}: front", fontsize=9)
        side.set_title("side, the camera on the left", fontsize=9)
        front.set_xlabel("x, m", fontsize=8)
        front.set_ylabel("y (down), m", fontsize=8)
        side.set_xlabel("z (away from the camera), m", fontsize=8)
        if person.placed is not None:
            x, y, z = person.placed[skeleton.root].tolist()
            front.set_title(f"{number + 1}: front, pelvis at ({x:.2f}, {y:.2f}, {z:.2f}) m", fontsize=9)


def _draw_view(axis: "Axes", person: LiftedPerson, skeleton: Skeleton, shown: tuple[int, int], half: float) -> None:
    """An orthographic view along the third axis; what is nearer to the eye is drawn last."""
    joints = person.joints_3d
    # From the front the eye lies at small z; from the side, with the camera on the left, at large x.
    towards = -joints[:, _Z] if _Z not in shown else joints[:, _X]
    bones = sorted(skeleton.bones, key=lambda bone: float(towards[list(bone)].mean()))
    for order, (parent, child) in enumerate(bones):
        ends = joints[[parent, child]]
        axis.plot(
            ends[:, shown[0]], ends[:, shown[1]], color=side_colour(skeleton, child, MIDDLE), linewidth=2.6,
            solid_capstyle="round", marker="o", markersize=3.2, zorder=2 + order / 100,
        )  # fmt: skip
    middle = (joints.max(0) + joints.min(0)) / 2
    axis.set_xlim(middle[shown[0]] - half, middle[shown[0]] + half)
    axis.set_ylim(middle[shown[1]] + half, middle[shown[1]] - half)
    axis.set_aspect("equal")
    axis.grid(color="#e4e4e4", linewidth=0.6)
    axis.set_axisbelow(True)
    axis.tick_params(labelsize=7)
    for spine in axis.spines.values():
        spine.set_color("#bbbbbb")


def _label(axis: "Axes", place: tuple[float, float], text: str) -> None:
    style: dict[str, Any] = {"boxstyle": "square,pad=0.15", "facecolor": "#000000a0", "edgecolor": "none"}
    axis.text(*place, text, fontsize=7, color=_PALE, va="bottom", bbox=style)


def _extent(image: ImageInputs) -> tuple[float, float, float, float]:
    """Image coordinates with pixel centres at +0.5, y down."""
    assert image.thumbnail is not None
    height, width = image.thumbnail.shape[:2]
    return (0.0, float(width), float(height), 0.0)


def _dress_map(axis: "Axes", image: ImageInputs, title: str) -> None:
    left, right, bottom, top = _extent(image)
    axis.set_xlim(left, right)
    axis.set_ylim(bottom, top)
    axis.set_axis_off()
    axis.set_title(title, fontsize=9)
