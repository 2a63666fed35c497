"""Which row of a file of people in named images belongs to which row of a data set, and its pixels in that camera."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Float32, Int
from torch import Tensor

from dg.datasets.base import DataError
from dg.pose.batch import PoseBatch
from dg.pose.camera import Camera

LARGEST_ASPECT_GAP = 0.01  # of width or height over the longer side


def by_longer_side(
    pixels: Float[np.ndarray, "rows joints 2"], size: Float[np.ndarray, "rows 2"]
) -> Float32[np.ndarray, "rows joints 2"]:
    """Divide pixels by half of the longer side, 0 in the middle; NaN for images without a size.

    Args:
        pixels: from the image's corner.
        size: width and height of each row's image, pixels; 0 where it is unknown.
    """
    known = np.where(size > 0, size, np.nan)[:, None]
    return ((2 * pixels - known) / known.max(-1, keepdims=True)).astype(np.float32)


def matches(
    names: Sequence[str],
    image: Int[np.ndarray, " stored"],
    normalised: Float[np.ndarray, "stored joints 2"],
    images: Sequence[str],
    poses: PoseBatch,
) -> Int[np.ndarray, " rows"]:
    """Find the file's row for each row of a data set: of the people in its image the one whose 2D is nearest.

    Args:
        names: names of the file's images.
        image: number of each of the file's rows, into `names`.
        normalised: the file's 2D by the longer side; enough to tell people apart.
        images: name of each row's image of the data set.
        poses: the data set's poses.

    Returns:
        Numbers of the file's rows; -1 where it has none, or where its nearest is nearer to another row: one person in
        an image is not two.
    """
    number = {name: i for i, name in enumerate(names)}
    wanted = np.array([number.get(name, -1) for name in images], np.int64)
    order = np.argsort(image, kind="stable")
    first = np.searchsorted(image[order], np.arange(len(names)))
    count = np.bincount(image, minlength=len(names))
    own = poses.joints_2d[:, 0].cpu().numpy()
    best, nearest = np.full(len(wanted), -1, np.int64), np.full(len(wanted), np.inf, np.float32)
    for person in range(int(count.max(initial=0))):
        some = np.flatnonzero((wanted >= 0) & (count[wanted] > person))
        row = order[first[wanted[some]] + person]
        gap = _gap(normalised[row], own[some])
        closer = gap < nearest[some]
        best[some[closer]], nearest[some[closer]] = row[closer], gap[closer]
    return _each_once(best, nearest)


def used_rows(
    row: Int[np.ndarray, " rows"], path: str, what: str, names: Sequence[str], images: Sequence[str]
) -> tuple[Int[Tensor, " kept"], Int[np.ndarray, " kept"]]:
    """Return which rows of a data set have one in the file, and which that is. Raises DataError where none has.

    Args:
        row: the file's row of each row, -1 where there is none.
        path: the file, for the message.
        what: that the file has, for the message.
        names: names of the file's images.
        images: name of each row's image of the data set.
    """
    kept = np.flatnonzero(row >= 0)
    if not len(kept):
        raise DataError(
            f"{path}: has no {what} for any of the {len(images)} rows; its images are called {names[0]!r}, theirs "
            f"{images[0]!r}"
        )
    return torch.from_numpy(kept), row[kept]


def as_seen_by(
    camera: Camera, pixels: Float[np.ndarray, "rows joints 2"], size: Float[np.ndarray, "rows 2"]
) -> Float32[np.ndarray, "rows joints 2"]:
    """Normalise pixels as a data set's camera does.

    Args:
        camera: of each row.
        pixels: from the image's corner.
        size: width and height of each row's image, pixels.
    """
    side = size[:, :1] / camera.extent[:, :1].cpu().numpy()
    return ((2 * pixels - size[:, None]) / side[:, None]).astype(np.float32)


def check_shape_of_images(size: Float[np.ndarray, "rows 2"], camera: Camera, path: str) -> None:
    """Raise DataError where images are of another shape than the frames of the cameras."""
    extent = camera.extent.cpu().numpy()
    gap = np.abs(size / size.max(-1, keepdims=True) - extent / extent.max(-1, keepdims=True)).max(-1)
    if gap.max() > LARGEST_ASPECT_GAP:
        row = int(gap.argmax())
        raise DataError(
            f"{path}: an image of {size[row][0]:.0f} x {size[row][1]:.0f} pixels belongs to a camera whose frame is "
            f"{extent[row][0]:.3g} x {extent[row][1]:.3g} half sides; other images, or the data set states no `res`"
        )


def clips_of_kept(clip: Int[Tensor, " rows"], kept: Int[Tensor, " kept"], stride: int = 1) -> Int[Tensor, " kept"]:
    """Number the clips of the rows that are kept; a clip also ends where rows are missing.

    Args:
        clip: number of each row's clip.
        kept: numbers of the rows that are kept, rising.
        stride: every which row was to be kept.
    """
    if not len(kept):
        return clip[kept]
    breaks = (clip[kept].diff() != 0) | (kept.diff() != stride)
    return torch.cat([torch.zeros(1, dtype=torch.long), breaks.long().cumsum(0)])


def _each_once(best: Int[np.ndarray, " rows"], nearest: Float[np.ndarray, " rows"]) -> Int[np.ndarray, " rows"]:
    """Of several rows that have one row of the file as their nearest, the nearest alone keeps it."""
    order = np.lexsort((nearest, best))
    again = np.zeros(len(best), bool)
    again[order[1:]] = best[order[1:]] == best[order[:-1]]
    return np.where(again, -1, best)


def _gap(one: np.ndarray, other: np.ndarray) -> Float[np.ndarray, " rows"]:
    """Mean distance of the joints that are known; infinite where none is."""
    distance = np.linalg.norm(one - other, axis=-1)
    known = np.isfinite(distance)
    return np.where(known.any(-1), np.where(known, distance, 0).sum(-1) / known.sum(-1).clip(1), np.inf)
