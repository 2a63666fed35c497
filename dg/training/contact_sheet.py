"""A sheet of rendered poses, to be looked at: for each the shaded body with its 2D skeleton, and its depth map."""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Union

import numpy as np
import torch
from jaxtyping import Shaped
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from dg.pose.batch import PoseBatch
from dg.pose.skeleton import Skeleton
from dg.training.live_depth import LiveDepth
from render_workers.base import RenderRequest
from render_workers.worker import WorkerSpec

Array = Union[np.ndarray, Tensor]  # noqa: UP007 - jaxtyping distributes over a Union

TILE_PX = 192
PICTURES = 12
_GAP, _LINE = 6, 16
_PAPER, _INK, _BACKDROP = (255, 255, 255), (30, 30, 30), (24, 24, 32)
_LEFT, _RIGHT, _MIDDLE, _SOURCE = (255, 140, 0), (0, 190, 255), (235, 235, 235), (150, 150, 150)


def contact_sheet(
    rgb: Shaped[Array, "poses height width 3"],
    depth: Shaped[Array, "poses height width"],
    joints_px: Shaped[Array, "poses joints 2"],
    skeleton: Skeleton,
    titles: Sequence[str],
    heading: str = "",
    source_px: Shaped[Array, "poses joints 2"] | None = None,
    columns: int = 4,
    joint_depth: Shaped[Array, "poses joints"] | None = None,
) -> Image.Image:
    """Draw one tile for each pose: the render with its skeleton, the depth map, and the source pose where it is given.

    Args:
        rgb: bytes, or floats in [0, 1].
        depth: metres, background not finite. Near is red; each map has its own range, which its caption names.
        joints_px: pixels of the crop, pixel centres at +0.5. A person's left is orange.
        skeleton: joints and bones to draw.
        titles: one for each pose.
        heading: text above the page.
        source_px: joints of the pose that each one was made from, pixels of the same crop; drawn in grey.
        columns: tiles in a row.
        joint_depth: metres; colours the joints on the map, which are white without it.

    Raises:
        ValueError: not one title for each pose.
    """
    images, maps, joints = _bytes(rgb), np.asarray(depth, np.float64), np.asarray(joints_px, np.float64)
    sources = None if source_px is None else np.asarray(source_px, np.float64)
    known = [None] * len(images) if joint_depth is None else np.asarray(joint_depth, np.float64)
    if len(titles) != len(images):
        raise ValueError(f"expected one title a pose: {len(images)} poses, {len(titles)} titles")
    tiles = []
    for row, title in enumerate(titles):
        scale = TILE_PX / images.shape[2]
        panels = [_render_panel(images[row], joints[row], skeleton, scale)]
        panels.append(_depth_panel(maps[row], joints[row], scale, known[row]))
        if sources is not None:
            panels.append(_skeleton_panel(sources[row], joints[row], skeleton, scale))
        tiles.append(_tile(panels, f"{title}  {_range_text(maps[row])}".strip()))
    return _page(tiles, heading or "no poses to show" if not tiles else heading, columns)


def _bytes(rgb: Array) -> np.ndarray:
    array = np.asarray(rgb)
    if array.dtype == np.uint8:
        return array
    return (np.nan_to_num(array.astype(np.float64)).clip(0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)


def _render_panel(image: np.ndarray, joints: np.ndarray, skeleton: Skeleton, scale: float) -> Image.Image:
    panel = Image.fromarray(image).resize((TILE_PX, TILE_PX), Image.Resampling.BILINEAR)
    _draw_skeleton(panel, joints * scale, skeleton)
    return panel


def _depth_panel(depth: np.ndarray, joints: np.ndarray, scale: float, known: np.ndarray | None) -> Image.Image:
    """The map; joints in the colour of the depth that is known for them."""
    colours = np.full((*depth.shape, 3), _BACKDROP, np.uint8)
    body = np.isfinite(depth)
    if body.any():
        colours[body] = _coloured(depth[body], depth)
    panel = Image.fromarray(colours).resize((TILE_PX, TILE_PX), Image.Resampling.NEAREST)
    draw = ImageDraw.Draw(panel)
    fills = [_PAPER] * len(joints)
    if known is not None and body.any():
        fills = [tuple(colour) for colour in _coloured(np.nan_to_num(known), depth).tolist()]
    for (x, y), fill in zip(joints * scale, fills, strict=True):
        if np.isfinite((x, y)).all():
            draw.ellipse((x - 2, y - 2, x + 2, y + 2), fill=fill, outline=_INK)
    return panel


def _coloured(values: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """Byte triples of depths on the scale of a map."""
    near, far = _range(depth)
    nearness = 1.0 - (values - near).clip(0.0, far - near) / max(far - near, 1e-6)
    return _turbo()[(nearness * 255).astype(int)]


def _skeleton_panel(source: np.ndarray, joints: np.ndarray, skeleton: Skeleton, scale: float) -> Image.Image:
    panel = Image.new("RGB", (TILE_PX, TILE_PX), _BACKDROP)
    _draw_skeleton(panel, source * scale, skeleton, _SOURCE)
    _draw_skeleton(panel, joints * scale, skeleton)
    return panel


def _draw_skeleton(
    panel: Image.Image, points: np.ndarray, skeleton: Skeleton, colour: tuple[int, int, int] | None = None
) -> None:
    draw = ImageDraw.Draw(panel)
    for parent, child in skeleton.bones:
        ends = points[[parent, child]]
        if not np.isfinite(ends).all():
            continue
        side = _LEFT if child in skeleton.left else _RIGHT if child in skeleton.right else _MIDDLE
        draw.line([tuple(end) for end in ends.tolist()], fill=colour or side, width=2)


def _tile(panels: Sequence[Image.Image], caption: str) -> Image.Image:
    tile = Image.new("RGB", (TILE_PX * len(panels), TILE_PX + _LINE), _PAPER)
    for number, panel in enumerate(panels):
        tile.paste(panel, (number * TILE_PX, _LINE))
    ImageDraw.Draw(tile).text((2, 1), caption, fill=_INK, font=ImageFont.load_default(12))
    return tile


def _page(tiles: Sequence[Image.Image], heading: str, columns: int) -> Image.Image:
    width, height = tiles[0].size if tiles else (2 * TILE_PX, 0)
    across = max(1, min(columns, len(tiles)))
    down = math.ceil(len(tiles) / across)
    top = _GAP + (2 * _LINE if heading else 0)
    page = Image.new("RGB", (_GAP + across * (width + _GAP), top + down * (height + _GAP)), _PAPER)
    ImageDraw.Draw(page).text((_GAP, _GAP), heading, fill=_INK, font=ImageFont.load_default(18))
    for number, tile in enumerate(tiles):
        row, column = divmod(number, across)
        page.paste(tile, (_GAP + column * (width + _GAP), top + row * (height + _GAP)))
    return page


def _range(depth: np.ndarray) -> tuple[float, float]:
    """Nearly all of the body's depth: a stray pixel must not flatten the colours."""
    near, far = np.percentile(depth[np.isfinite(depth)], [1, 99])
    return float(near), float(far)


def _range_text(depth: np.ndarray) -> str:
    return "{:.2f}-{:.2f} m".format(*_range(depth)) if np.isfinite(depth).any() else "nothing drawn"


@lru_cache(maxsize=1)
def _turbo() -> np.ndarray:
    """Matplotlib's turbo colours as 256 byte triples."""
    from matplotlib import colormaps

    return (colormaps["turbo"](np.arange(256))[:, :3] * 255).astype(np.uint8)


class ContactSheet:
    """Draws some of the poses that the method proposed, with the depth that the lifter is given for them.

    Joints have the colour of that depth. The map around them is the depth source's, but of a network the rasteriser's:
    a second network in the trainer would take its memory.
    """

    def __init__(self, live: LiveDepth, spec: WorkerSpec) -> None:
        self.live, self.spec, self.worker = live, spec.without_networks(), None

    def draw(self, poses: PoseBatch) -> Image.Image:
        """The sheet.

        Args:
            poses: with depth; the first valid ones are drawn.
        """
        chosen = poses[poses.valid.nonzero()[:PICTURES, 0]].to("cpu")
        self.worker = self.worker or self.spec.build()
        request = RenderRequest(
            chosen.joints_3d[:, 0],
            chosen.skeleton,
            chosen.camera,
            chosen.joints_2d[:, 0],
            torch.arange(len(chosen)),
        )
        images = self.worker.images(request)
        titles = [f"{z:.1f} m" for z in chosen.joints_3d[:, 0, chosen.skeleton.root, 2].tolist()]
        rgb = images["rgb"].transpose(0, 2, 3, 1)
        depth = None if chosen.depth is None else chosen.depth[:, 0]
        return contact_sheet(rgb, images["depth"], images["joints_px"], chosen.skeleton, titles, joint_depth=depth)
