"""Depth at the joints of a data set's own images, as `python -m dg.extract_depth` writes it.

| array | content |
|---|---|
| `images` | [images] names, UTF-8 bytes |
| `image` | [rows] number of each person's image |
| `size` | [images, 2] px, width and height; 0 where an image could not be read |
| `joints_2d`, `confidence` | [rows, J, 2] px, [rows, J]: the 2D that depth was read at |
| `depth` | [rows, J] median of the disk, or depth right at the joint; NaN where there is none |
| `nearest`, `farthest` | [rows, J], where `inputs=uadd` was extracted |
| `provenance` | JSON: network, size, radii, alignment, versions |

Rows of a data set find theirs by the image's name, and where an image has several people, by whose 2D is nearest. A
metric network knows one camera; its depth is multiplied by f / f_trained with the data set's own focal length, as is
done with rendered crops (docs/depth.md).
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, Int
from torch import Tensor

from dg.datasets.base import DataError, PoseDataset, content_digest
from dg.datasets.content import content_id
from dg.datasets.detected_2d import check_fit
from dg.datasets.validation import read_arrays
from dg.pose.batch import PoseBatch
from dg.pose.camera import Camera
from dg.pose.skeleton import H36M_17, SKELETONS, Skeleton

FORMAT = "image-depth-1"
NEEDED = ("format", "provenance", "images", "image", "size", "joints_2d", "confidence", "depth")
# What protocol ids call depth from images (DESIGN 5.15), by how its metres came about.
LABELS = {"none": "images", "ground": "images-ground", "known": "images-known(oracle)"}
SAME_2D = 1e-3  # median distance, normalised: the same 2D, and not another detector's
LARGEST_ASPECT_GAP = 0.01  # of width or height over the longer side


@dataclass(frozen=True)
class ImageDepth:
    """A file's content. depth: metres as the network says, NaN where unknown; spread: nearest and farthest less it."""

    path: str
    skeleton: Skeleton
    names: tuple[str, ...]
    image: Int[np.ndarray, " rows"]
    size: Float32[np.ndarray, "rows 2"]
    joints_px: Float32[np.ndarray, "rows joints 2"]
    confidence: Float32[np.ndarray, "rows joints"]
    depth: Float32[np.ndarray, "rows joints"]
    spread: Float32[np.ndarray, "rows joints 2"] | None
    provenance: dict[str, Any]

    @property
    def label(self) -> str:
        """In protocol ids."""
        return LABELS[self.provenance["align"]]


def read_image_depth(path: str) -> ImageDepth:
    """Read a file of depths at joints.

    Raises DataError for a file that is damaged or of another kind, and for disparity that was not aligned: it has no
    place relative to a root.
    """
    arrays = read_arrays(path, NEEDED, optional=("nearest", "farthest"))
    try:
        provenance = json.loads(str(arrays["provenance"]))
    except ValueError as error:
        raise DataError(f"{path}: provenance: expected JSON, got {str(arrays['provenance'])[:40]!r}") from error
    if str(arrays["format"]) != FORMAT:
        raise DataError(f"{path}: expected format {FORMAT!r} of dg.extract_depth, got {str(arrays['format'])!r}")
    if provenance["unit"] != "m" or provenance["align"] not in LABELS:
        raise DataError(
            f"{path}: holds {provenance['unit']} of a relative network (align={provenance['align']}), which "
            "has no metres, and no place relative to the root; extract it with align=ground, align=known or a metric "
            "checkpoint"
        )
    values = {name: arrays[name].astype(np.float32) for name in ("joints_2d", "confidence", "depth")}
    spread = None
    if "nearest" in arrays:
        ends = np.stack([arrays["nearest"], arrays["farthest"]], -1).astype(np.float32)
        spread = ends - values["depth"][..., None]
    return ImageDepth(
        path=path,
        skeleton=SKELETONS[provenance["skeleton"]],
        names=tuple(name.decode() for name in arrays["images"].tolist()),
        image=arrays["image"].astype(np.int64),
        size=arrays["size"][arrays["image"]].astype(np.float32),
        joints_px=values["joints_2d"],
        confidence=values["confidence"],
        depth=values["depth"],
        spread=spread,
        provenance=provenance,
    )


def with_image_depth(dataset: PoseDataset, images: Sequence[str], path: str) -> PoseDataset:
    """Add depth from images to a data set.

    Rows without depth at the root are left out, and a clip ends where one is. A joint without depth gets the root's,
    and no confidence.

    Args:
        dataset: the data set.
        images: name of each row's image.
        path: the file of depths.

    Returns:
        The data set with depth, confidence and, where another 2D was used to read depth, the file's 2D.

    Raises:
        DataError: when the file does not fit.
    """
    found = read_image_depth(path)
    poses = dataset.poses
    joints = _joints(found.skeleton, poses.skeleton, path)
    normalised = _normalised(found, joints)
    row = _matches(found, images, normalised, poses)
    root = joints[poses.skeleton.root]
    usable = row >= 0
    usable[usable] = np.isfinite(found.depth[row[usable], root])
    kept, row = torch.from_numpy(np.flatnonzero(usable)), row[usable]
    if not len(row):
        raise DataError(
            f"{path}: has no depth for any of the {len(images)} rows of {dataset.name}; its images are called "
            f"{found.names[0]!r}, theirs {images[0]!r}"
        )
    seen = _Seen.of(found, row, joints, root)
    camera = poses.camera[kept]
    _check_shape(found.size[row], camera, path)
    scale = _focal_ratio(found, camera)
    flat = torch.from_numpy(_scaled(found.joints_px[row][:, joints], found.size[row], camera))[:, None]
    own = poses.joints_2d[kept]
    flat, source_2d = _chosen_2d(flat, own, found, dataset, kept)
    some = poses[kept].replace(
        joints_2d=flat,
        depth=seen.depth * scale,
        depth_spread=None if seen.spread is None else seen.spread * scale[..., None],
        confidence=seen.confidence,
    )
    left_out = len(images) - len(row)
    return replace(
        dataset,
        poses=some,
        **{name: getattr(dataset, name)[kept] for name in ("subject", "action")},
        clip=_clips(dataset.clip, kept),
        digest=content_digest(some.joints_3d, some.joints_2d, seen.depth),
        content=_content(dataset, kept, flat is own, path),
        source_2d=source_2d,
        source_depth=found.label,
        depth_content=content_id(Path(path)),
        notes=dataset.notes | _notes(found, left_out, len(images), seen.filled),
    )


@dataclass(frozen=True)
class _Seen:
    """What the file says of the rows that are kept. filled: joints that had no depth."""

    depth: Float[Tensor, "rows 1 joints"]
    spread: Float[Tensor, "rows 1 joints 2"] | None
    confidence: Float[Tensor, "rows 1 joints"]
    filled: int

    @staticmethod
    def of(found: ImageDepth, row: np.ndarray, joints: list[int], root: int) -> "_Seen":
        depth = found.depth[row][:, joints]
        unknown = ~np.isfinite(depth)
        depth = np.where(unknown, found.depth[row, root][:, None], depth)
        spread = None if found.spread is None else np.nan_to_num(found.spread[row][:, joints])
        confidence = np.where(unknown, 0, np.nan_to_num(found.confidence[row][:, joints]))
        return _Seen(
            torch.from_numpy(depth)[:, None],
            None if spread is None else torch.from_numpy(spread)[:, None],
            torch.from_numpy(confidence.astype(np.float32))[:, None],
            int(unknown.sum()),
        )


def converted(poses: PoseBatch, skeleton: Skeleton) -> PoseBatch:
    """Convert poses to another skeleton and keep the depth that came with them.

    `PoseBatch.convert` drops depth, because rendered depth is rendered anew.

    Args:
        poses: the poses.
        skeleton: the skeleton that is wanted.

    Returns:
        The poses on that skeleton.

    Raises:
        DataError: when a joint of the skeleton has no depth.
    """
    other = poses.convert(skeleton)
    if poses.depth is None or other.depth is not None:
        return other
    joints = _joints(poses.skeleton, skeleton, "depth from images")
    spread = poses.depth_spread
    return other.replace(
        depth=poses.depth[..., joints], depth_spread=None if spread is None else spread[..., joints, :]
    )


def _joints(source: Skeleton, target: Skeleton, what: str) -> list[int]:
    missing = [joint for joint in target.joints if joint not in source.joints]
    if missing:
        raise DataError(f"{what}: depth was read on {source.name}, which lacks {missing} of {target.name}")
    return [source.index(joint) for joint in target.joints]


def _normalised(found: ImageDepth, joints: list[int]) -> Float[np.ndarray, "rows joints 2"]:
    """By the longer side; enough to tell people apart."""
    size = np.where(found.size > 0, found.size, np.nan)[:, None]
    return ((2 * found.joints_px[:, joints] - size) / size.max(-1, keepdims=True)).astype(np.float32)


def _matches(
    found: ImageDepth, images: Sequence[str], normalised: Float[np.ndarray, "stored joints 2"], poses: PoseBatch
) -> Int[np.ndarray, " rows"]:
    """The file's row for each row of the data set; -1 where it has none."""
    number = {name: i for i, name in enumerate(found.names)}
    wanted = np.array([number.get(name, -1) for name in images], np.int64)
    order = np.argsort(found.image, kind="stable")
    first = np.searchsorted(found.image[order], np.arange(len(found.names)))
    count = np.bincount(found.image, minlength=len(found.names))
    own = poses.joints_2d[:, 0].cpu().numpy()
    best, nearest = np.full(len(wanted), -1, np.int64), np.full(len(wanted), np.inf, np.float32)
    for person in range(int(count.max(initial=0))):
        some = np.flatnonzero((wanted >= 0) & (count[wanted] > person))
        row = order[first[wanted[some]] + person]
        gap = _gap(normalised[row], own[some])
        closer = gap < nearest[some]
        best[some[closer]], nearest[some[closer]] = row[closer], gap[closer]
    return best


def _gap(one: np.ndarray, other: np.ndarray) -> Float[np.ndarray, " rows"]:
    """Mean distance of the joints that are known; infinite where none is."""
    distance = np.linalg.norm(one - other, axis=-1)
    known = np.isfinite(distance)
    return np.where(known.any(-1), np.where(known, distance, 0).sum(-1) / known.sum(-1).clip(1), np.inf)


def _scaled(pixels: np.ndarray, size: np.ndarray, camera: Camera) -> Float32[np.ndarray, "rows joints 2"]:
    """Pixels as the data set's camera normalises them."""
    side = size[:, :1] / camera.extent[:, :1].cpu().numpy()
    return ((2 * pixels - size[:, None]) / side[:, None]).astype(np.float32)


def _check_shape(size: np.ndarray, camera: Camera, path: str) -> None:
    extent = camera.extent.cpu().numpy()
    gap = np.abs(size / size.max(-1, keepdims=True) - extent / extent.max(-1, keepdims=True)).max(-1)
    if gap.max() > LARGEST_ASPECT_GAP:
        row = int(gap.argmax())
        raise DataError(
            f"{path}: an image of {size[row][0]:.0f} x {size[row][1]:.0f} pixels belongs to a camera whose frame is "
            f"{extent[row][0]:.3g} x {extent[row][1]:.3g} half sides; other images, or the data set states no `res`"
        )


def _focal_ratio(found: ImageDepth, camera: Camera) -> Float[Tensor, "rows 1 1"]:
    """Focal length over the one that the network knows, both in shorter sides of the image; 1: leave depth as it is."""
    trained = float(found.provenance["trained_focal"])
    if not trained:
        return camera.focal.new_ones(len(camera), 1, 1)
    return (camera.focal.mean(-1) / 2 / camera.extent.amin(-1) / trained)[:, None, None]


def _chosen_2d(
    file: Float[Tensor, "rows 1 joints 2"],
    own: Float[Tensor, "rows 1 joints 2"],
    found: ImageDepth,
    dataset: PoseDataset,
    kept: Int[Tensor, " rows"],
) -> tuple[Float[Tensor, "rows 1 joints 2"], str]:
    """The 2D that the lifter sees, and what it is called: the data set's own where depth was read at it.

    Raises DataError where the file's is not of these people, or is in another order than it says.
    """
    known = file.isfinite().all(-1)
    gap = float((file - own).norm(dim=-1)[known].median()) if bool(known.any()) else 0.0
    if gap <= SAME_2D:
        return own, dataset.source_2d
    if dataset.poses.skeleton == H36M_17:
        clip, what = dataset.clip[kept], f"{found.path}: joints_2d"
        check_fit(torch.where(known[..., None], file, 0.0)[:, 0], H36M_17, own[:, 0], clip, what, known=known[:, 0])
    # A joint that was not found stays where the person's others are, and has no confidence.
    centre = (torch.where(known[..., None], file, 0.0).sum(-2) / known.sum(-1)[..., None].clamp_min(1))[..., None, :]
    return torch.where(known[..., None], file, centre), str(found.provenance["source_2d"])


def _content(dataset: PoseDataset, kept: Int[Tensor, " kept"], own_2d: bool, path: str) -> str:
    """The poses' own, where all rows and their 2D stay: lifters with and without depth then share a protocol."""
    content = dataset.identity
    if len(kept) < len(dataset):
        content = content_id(content, kept.numpy())
    return content if own_2d else content_id(content, Path(path))


def _clips(clip: Int[Tensor, " rows"], kept: Int[Tensor, " kept"]) -> Int[Tensor, " kept"]:
    """Numbers of the clips, which also end where rows are missing."""
    if not len(kept):
        return clip[kept]
    breaks = (clip[kept].diff() != 0) | (kept.diff() != 1)
    return torch.cat([torch.zeros(1, dtype=torch.long), breaks.long().cumsum(0)])


def _notes(found: ImageDepth, left_out: int, rows: int, filled: int) -> dict[str, str]:
    chosen = ("checkpoint", "network_digest", "input_px", "align", "inputs")
    told = " ".join(f"{name}={str(found.provenance[name])[:16]}" for name in chosen if name in found.provenance)
    notes = {"image_depth": told, "without_depth": f"{left_out:,} of {rows:,} rows have no depth; left out"}
    return notes | ({"joints_without_depth": f"{filled:,} joints got their root's depth"} if filled else {})
