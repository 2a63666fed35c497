"""Poses in 3D in a web page, to be turned and scrubbed with the mouse: no server, no network, no library.

    fragment = viewer_fragment([ViewerFrame(poses=[joints])], H36M_17)
    html = viewer_page("What was lifted", [fragment])

A fragment is a `<figure>` that stands anywhere in a page, several beside each other; it carries its own data and script
(9 KB). Drawing is our own and not plotly's, whose script of 4 MB would be in every page.
"""

import base64
import html
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from dg.drawing.pose import LEFT, MIDDLE, RIGHT
from dg.pose.skeleton import Skeleton

Pose = Float[np.ndarray, "joints 3"]
Flat = Float[np.ndarray, "joints 2"]
_SCRIPT = Path(__file__).with_name("viewer.js")
_SIDE_PX = 560  # of the view
_PLAYED = 12.0  # frames per second where the clip's own rate is not known
_STYLE = """
.dg-viewer{font:14px sans-serif;color:#222;margin:0 0 1.5em;display:inline-block;max-width:100%}
.dg-viewer .dg-row{display:flex;flex-wrap:wrap;gap:8px;align-items:flex-start}
.dg-viewer canvas{border:1px solid #ddd;max-width:100%;touch-action:none}
.dg-viewer .dg-picture{max-height:560px;width:auto}
.dg-viewer .dg-view{cursor:grab}
.dg-viewer .dg-bar{display:flex;gap:8px;align-items:center;margin-top:6px}
.dg-viewer .dg-slider{flex:1}
.dg-viewer figcaption{color:#555;margin-top:4px}
"""


@dataclass(frozen=True)
class ViewerFrame:
    """What is shown at one time.

    Attributes:
        poses: of each person, metres, camera axes (x right, y down, z away from the camera), all in one space: people
            at one root lie in each other. NaN joints, and bones that end in them, are left out.
        references: poses drawn grey, the ground truth for example.
        labels: a word above each of the poses; fewer are taken as empty.
        joints_2d: joints of people in pixels of the picture, drawn over it; NaN as in `poses`.
        picture: content of a JPEG or PNG file, shown on the left.
        depth: content of a picture of the depth map in its place, for the box `depth`.
        size: width and height of the picture, pixels, where there is `picture` or `joints_2d`.
        caption: below the view.
    """

    poses: Sequence[Pose] = ()
    references: Sequence[Pose] = ()
    labels: Sequence[str] = ()
    joints_2d: Sequence[Flat] = field(default=())
    picture: bytes | None = None
    depth: bytes | None = None
    size: tuple[int, int] | None = None
    caption: str = ""


def viewer_fragment(frames: Sequence[ViewerFrame], skeleton: Skeleton, title: str = "", fps: float = 0.0) -> str:
    """A figure for a web page that shows poses in 3D beside their pictures.

    Args:
        frames: in order; with more than one there are a slider and a play button.
        skeleton: of all poses and of their 2D.
        title: below the figure; any text.
        fps: frames per second at which it plays; 0: 12.

    Returns:
        HTML with its data and script, for the body of a page (`viewer_page`).

    Raises:
        ValueError: without frames, or for a pose of another shape.
    """
    if not frames:
        raise ValueError("expected at least one frame to show")
    sides = dict.fromkeys(skeleton.left, 0) | dict.fromkeys(skeleton.right, 1)
    data = {
        "bones": [[parent, child, sides.get(child, 2)] for parent, child in skeleton.bones],
        "colours": [LEFT, RIGHT, MIDDLE],
        "top": skeleton.index("head") if "head" in skeleton.joints else skeleton.root,
        "fps": fps if fps > 0 else _PLAYED,
        "frames": [_frame(frame, skeleton) for frame in frames],
    }
    pictured = any(f.picture is not None or len(f.joints_2d) for f in frames)
    parts = ['<canvas class="dg-picture"></canvas>'] if pictured else []
    parts.append(f'<canvas class="dg-view" width="{_SIDE_PX}" height="{_SIDE_PX}"></canvas>')
    bar = []
    if len(frames) > 1:
        bar += [
            '<button class="dg-play">play</button>',
            f'<input class="dg-slider" type="range" min="0" max="{len(frames) - 1}" value="0">',
        ]
    if any(f.depth is not None for f in frames):
        bar.append('<label><input class="dg-depth" type="checkbox"> depth</label>')
    bar.append('<span class="dg-caption"></span>')
    return (
        f'<figure class="dg-viewer"><style>{_STYLE}</style><div class="dg-row">{"".join(parts)}</div>'
        f'<div class="dg-bar">{"".join(bar)}</div><figcaption>{html.escape(title)}</figcaption>'
        f"<script>{_SCRIPT.read_text()}</script>"
        f"<script>window.dgViewer(document.currentScript.parentElement, {_script_json(data)});</script></figure>"
    )


def viewer_page(title: str, fragments: Sequence[str], note: str = "") -> str:
    """A whole web page in one file.

    Args:
        title: of the page; any text.
        fragments: HTML, of `viewer_fragment` for example.
        note: a line below the title; any text.
    """
    shown = html.escape(title)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{shown}</title>'
        '<meta name="viewport" content="width=device-width"><style>body{font:15px sans-serif;margin:20px}'
        "h1{font-size:20px;margin:0 0 4px}p{color:#555;margin:0 0 14px}</style></head>"
        f"<body><h1>{shown}</h1><p>{html.escape(note)}</p>{''.join(fragments)}</body></html>\n"
    )


def _frame(frame: ViewerFrame, skeleton: Skeleton) -> dict[str, Any]:
    labels = [str(label) for label in frame.labels]
    return {
        # Millimetres.
        "poses": [_rounded(_shaped(pose, skeleton, 3) * 1000, 0) for pose in frame.poses],
        "references": [_rounded(_shaped(pose, skeleton, 3) * 1000, 0) for pose in frame.references],
        "labels": labels + [""] * (len(frame.poses) - len(labels)),
        "joints": [_rounded(_shaped(joints, skeleton, 2), 1) for joints in frame.joints_2d],
        "picture": _address(frame.picture),
        "depth": _address(frame.depth),
        "size": list(frame.size or (1, 1)),
        "caption": frame.caption,
    }


def _shaped(pose: np.ndarray, skeleton: Skeleton, axes: int) -> np.ndarray:
    found = np.asarray(pose, np.float64)
    if found.shape != (len(skeleton), axes):
        raise ValueError(f"expected a pose [{len(skeleton)}, {axes}] ({skeleton.name}), got {list(found.shape)}")
    return np.where(np.isfinite(found).all(-1, keepdims=True), found, np.nan)


def _rounded(values: np.ndarray, decimals: int) -> list[float | None]:
    flat = values.reshape(-1).round(decimals).tolist()
    return [None if value != value else int(value) if not decimals else value for value in flat]


def _address(content: bytes | None) -> str:
    if content is None:
        return ""
    kind = "png" if content.startswith(b"\x89PNG") else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _script_json(data: Any) -> str:  # noqa: ANN401 - plain containers
    """JSON that stands inside a script: no text of it can end the script."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return re.sub("[<>\u2028\u2029]", lambda found: f"\\u{ord(found[0]):04x}", text)
