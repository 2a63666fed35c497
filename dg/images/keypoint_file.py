"""A keypoint file of any format, in pixels of its images: what `dg predict keypoints=` reads."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32

from dg.files.errors import FileFormatError
from dg.files.plain_text import one_line
from dg.images.keypoint_formats import KEYPOINT_FORMATS
from dg.images.keypoint_formats.base import FoundPeople, KeypointFormat
from dg.images.keypoint_formats.content import open_content
from dg.pose.joint_map import skeleton_named
from dg.pose.joint_order import better_order
from dg.settings.plugins import resolve

SizeOf = Callable[[str], tuple[int, int] | None]
LARGEST_ASPECT_GAP = 0.02  # between the images of a file and those that lie beside it
_OUTSIDE = 0.5  # a joint counts as outside an image by this share of its longer side beyond its border
_MOST_OUTSIDE = 0.2  # share of the joints
_ORDER_ROWS = 2000  # people whose proportions are looked at
_NAMED = 8


def read_keypoint_file(
    path: Path, size: tuple[int, int] | None = None, size_of: SizeOf | None = None, joints: str = "auto"
) -> FoundPeople:
    """The people of a keypoint file or folder, whose format is recognised by its content.

    Args:
        path: a file, or a folder of files.
        size: width and height of the images in pixels, for files that do not tell.
        size_of: gives the size of a frame's image by its name, None where there is none; such images win over what the
            file says, and its joints are scaled to them.
        joints: name of the skeleton in whose order the joints are; `auto`: the format's own, or another one that fits
            their geometry clearly better.

    Returns:
        The people in pixels; `notes` say what was assumed.

    Raises:
        FileFormatError: for a path that is none of the formats (what was tried and found), a file that cannot be used,
            images of another shape than the file says, and joints that do not lie in their images.
    """
    content = open_content(path)
    kinds: dict[str, type[KeypointFormat]] = {
        name: resolve(KEYPOINT_FORMATS, "keypoints", name) for name in KEYPOINT_FORMATS
    }
    chosen = next((kind for kind in kinds.values() if kind.recognises(content)), None)
    if chosen is None:
        tried = ", ".join(kind.title for kind in kinds.values())
        raise FileFormatError(
            f"{path}: found {content.described()}, which is none of the formats that are read: {tried}"
        )
    found = chosen.read(content)
    if len(found) == 0:
        found = found.noted(f"nobody in {len(found.frames)} frames")
    found = _in_order(found, joints, path)
    return _checked_places(_sized(found, size, size_of, path), path)


def _sized(found: FoundPeople, size: tuple[int, int] | None, size_of: SizeOf | None, path: Path) -> FoundPeople:
    """With the size of every frame, and joints in pixels of it."""
    stated = found.frames.size.copy()
    if size is not None:
        stated[np.isnan(stated).any(1)] = size
    now = stated.copy()
    for row, name in enumerate(found.frames.names if size_of is not None else ()):
        own = None if size_of is None else size_of(name)
        if own is not None:
            now[row] = own
            stated[row] = stated[row] if np.isfinite(stated[row]).all() else own
    unknown = np.isnan(now).any(1)
    if unknown.any():
        name = one_line(found.frames.names[int(unknown.argmax())])
        raise FileFormatError(
            f"{path}: it does not say how large its images are ({int(unknown.sum())} of {len(unknown)}, the first is "
            f"{name}); give size=WIDTHxHEIGHT in pixels, or images=FOLDER with the images"
        )
    gap = np.abs(now / now.max(1, keepdims=True) - stated / stated.max(1, keepdims=True)).max(1, initial=0)
    if (gap > LARGEST_ASPECT_GAP).any():
        row = int(gap.argmax())
        raise FileFormatError(
            f"{path}: the image {one_line(found.frames.names[row])} has {now[row, 0]:.0f} x {now[row, 1]:.0f} pixels, "
            f"but its keypoints were made on {stated[row, 0]:.0f} x {stated[row, 1]:.0f}"
        )
    scale = (now / stated)[found.frame]
    places = _pixels(found, stated[found.frame]) * scale[:, None]
    if len(scale) and np.abs(scale - 1).max() > 1e-3:
        found = found.noted("the images are of another size than the keypoints were made on; joints were scaled")
    return replace(found, joints_2d=places.astype(np.float32), unit="px", frames=replace(found.frames, size=now))


def _pixels(found: FoundPeople, size: Float32[np.ndarray, "rows 2"]) -> np.ndarray:
    if found.unit == "share":
        return found.joints_2d * size[:, None]
    if found.unit == "longer":
        return (found.joints_2d * size.max(1)[:, None, None] + size[:, None]) / 2
    return found.joints_2d


def _in_order(found: FoundPeople, joints: str, path: Path) -> FoundPeople:
    """In the order that is asked for, or that fits the people's proportions clearly better than the format's own."""
    if joints != "auto":
        skeleton = skeleton_named(joints)
        if len(skeleton) != len(found.skeleton):
            raise FileFormatError(
                f"{path}: it has {len(found.skeleton)} joints, but joints={joints} has {len(skeleton)}"
            )
        return replace(found, skeleton=skeleton)
    every = max(1, len(found) // _ORDER_ROWS)
    fits = better_order(torch.from_numpy(found.joints_2d[::every]), found.skeleton) if len(found) else None
    if fits is None:
        return found
    return replace(found, skeleton=fits).noted(
        f"the joints are in the order of {fits.name} by their proportions, not {found.skeleton.name} as the format has "
        f"it, and are read so; joints={found.skeleton.name} keeps the format's order"
    )


def _checked_places(found: FoundPeople, path: Path) -> FoundPeople:
    """Raise FileFormatError where many joints lie far outside of their images."""
    size = found.frames.size[found.frame][:, None]
    known = found.confidence > 0
    margin = _OUTSIDE * size.max(-1, keepdims=True)
    with np.errstate(invalid="ignore"):
        outside = known & ((found.joints_2d < -margin) | (found.joints_2d > size + margin)).any(-1)
    if known.any() and outside.sum() > _MOST_OUTSIDE * known.sum():
        row = int(outside.any(1).argmax())
        width, height = found.frames.size[found.frame[row]]
        x, y = found.joints_2d[row][outside[row]][0]
        raise FileFormatError(
            f"{path}: {outside.sum() / known.sum():.0%} of the joints lie far outside of their images, such as "
            f"({x:.0f}, {y:.0f}) in {width:.0f} x {height:.0f} pixels: another size (size=), or other units"
        )
    return found
