"""Pictures of poses."""

import html
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from dg.drawing.pose import PoseFigure, check_poses, draw_pose
from dg.drawing.viewer import ViewerFrame, viewer_fragment, viewer_page
from dg.files.atomic import write_file
from dg.pose.joint_map import skeleton_named
from dg.pose.skeleton import H36M_16, H36M_17, Skeleton

_HEIGHT_PX = 690  # of a notebook's output


@dataclass(frozen=True)
class PoseView:
    """One pose in 3D, which a notebook shows by itself, to be turned with the mouse; needs no network.

    Attributes:
        joints: metres, camera axes.
        skeleton: of the joints.
        reference: another pose, grey; None: none.
        title: of the picture.
    """

    joints: Float[np.ndarray, "joints 3"]
    skeleton: Skeleton
    reference: Float[np.ndarray, "joints 3"] | None = None
    title: str = ""

    def page(self) -> str:
        """A web page of its own, as `dg predict` writes them."""
        others = [] if self.reference is None else [self.reference]
        note = "drag turns, the wheel zooms, double click resets; left is orange"
        fragment = viewer_fragment([ViewerFrame([self.joints], others)], self.skeleton, note)
        return viewer_page(self.title or "Pose", [fragment])

    def figure(self) -> PoseFigure:
        """The same as a figure of matplotlib, for papers."""
        return draw_pose(self.joints, self.skeleton, self.reference, self.title)

    def save(self, path: str | Path) -> None:
        """Write a web page (`.html`), or a picture in a format of matplotlib: `.png`, `.pdf`, `.svg`.

        Args:
            path: of the file.

        Raises:
            ValueError: for a suffix that is no format.
        """
        place = Path(path)
        if place.suffix.lower() in (".html", ".htm"):
            content = self.page().encode()
        else:
            drawn = io.BytesIO()
            self.figure().savefig(drawn, format=place.suffix[1:].lower())
            content = drawn.getvalue()
        write_file(place, content)

    def _repr_html_(self) -> str:
        # In a frame of its own: a notebook's page may not run the scripts of its outputs where they stand.
        page = html.escape(self.page(), quote=True)
        style = f"width:100%;max-width:640px;height:{_HEIGHT_PX}px;border:0"
        return f'<iframe srcdoc="{page}" sandbox="allow-scripts" style="{style}"></iframe>'

    def _repr_png_(self) -> bytes:
        return self.figure()._repr_png_()


def plot_pose(
    joints: Any,  # noqa: ANN401 - whatever numpy makes an array of
    reference: Any = None,  # noqa: ANN401
    skeleton: str = "",
    title: str = "",
) -> PoseView:
    """One pose in 3D, seen from behind the camera; a person's left is orange, the right blue.

    Args:
        joints: `[joints, 3]`, metres, camera axes.
        reference: another pose in the same axes, drawn grey: the ground truth, for example.
        skeleton: the name of the joints' skeleton. Without it 17 joints are `h36m_17` and 16 are `h36m_16`.
        title: above the pose.

    Returns:
        A view that a notebook shows by itself, to be turned with the mouse. `save("pose.html")` and `save("pose.png")`
        write it; `figure()` is a figure of matplotlib.

    Raises:
        ValueError: for joints of another shape, or that are not finite.
        KeyError: for an unknown skeleton.
    """
    pose = np.asarray(joints, np.float64)
    known = _skeleton_of(pose, skeleton)
    other = None if reference is None else np.asarray(reference, np.float64)
    check_poses([pose] if other is None else [pose, other], known)
    return PoseView(pose, known, other, title)


def _skeleton_of(pose: np.ndarray, name: str) -> Skeleton:
    if name:
        return skeleton_named(name)
    known = {len(s): s for s in (H36M_17, H36M_16)}
    if pose.ndim != 2 or pose.shape[1] != 3 or len(pose) not in known:
        raise ValueError(
            f"expected one pose, [17, 3] or [16, 3], got shape {list(pose.shape)}; take one row of several poses, and "
            "give skeleton=NAME for joints other than Human3.6M's"
        )
    return known[len(pose)]
