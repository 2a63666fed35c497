"""Depth, detections and features from a data set's own images, in the place of what is rendered or projected.

`dg extract-depth` writes the file (`dg.datasets.image_depth_file`). Rows of a data set find theirs by the
image's name, and where an image has several people, by whose 2D is nearest. Rows without depth at the root are left
out, and counted; a joint without depth gets the root's, with no confidence, and is counted too. A metric network knows
one camera; its depth is multiplied by f / f_trained with the data set's own focal length, as is done with rendered
crops (docs/depth.md).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from dg.datasets.base import DataError, PoseDataset, content_digest
from dg.datasets.content import content_id
from dg.datasets.detected_2d import check_fit
from dg.datasets.image_depth_file import ImageDepth, read_image_depth
from dg.datasets.image_rows import as_seen_by, by_longer_side, check_shape_of_images, clips_of_kept, matches, used_rows
from dg.pose.batch import PoseBatch
from dg.pose.camera import Camera
from dg.pose.skeleton import H36M_17, Skeleton

SAME_2D = 1e-3  # median distance, normalised: the same 2D, and not another detector's


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
    if set(dataset.poses.skeleton.joints) - set(found.skeleton.joints):
        # Such as SMPL's joints of 3DPW: depth was read at those that a detector finds.
        dataset = replace(dataset, poses=dataset.poses.convert(found.skeleton))
    poses = dataset.poses
    joints = _joints(found.skeleton, poses.skeleton, path)
    normalised = by_longer_side(found.joints_px[:, joints], found.size)
    row = matches(found.names, found.image, normalised, images, poses)
    root = joints[poses.skeleton.root]
    row = np.where(np.isfinite(found.depth[row, root]), row, -1)
    kept, row = used_rows(row, path, "depth", found.names, images)
    seen = _Seen.of(found, row, joints, root)
    camera = poses.camera[kept]
    check_shape_of_images(found.size[row], camera, path)
    scale = _focal_ratio(found, camera)
    flat = torch.from_numpy(as_seen_by(camera, found.joints_px[row][:, joints], found.size[row]))[:, None]
    own = poses.joints_2d[kept]
    flat, source_2d = _chosen_2d(flat, own, found, dataset, kept)
    some = poses[kept].replace(
        joints_2d=flat,
        depth=seen.depth * scale,
        depth_spread=None if seen.spread is None else seen.spread * scale[..., None],
        confidence=seen.confidence,
        joint_features=seen.features,
    )
    left_out = len(images) - len(row)
    return replace(
        dataset,
        poses=some,
        **{name: getattr(dataset, name)[kept] for name in ("subject", "action")},
        clip=clips_of_kept(dataset.clip, kept),
        digest=content_digest(some.joints_3d, some.joints_2d, seen.depth),
        content=_content(dataset, kept, flat is own, path),
        source_2d=source_2d,
        source_depth=found.label,
        depth_content=content_id(Path(path)),
        features=found.feature_sizes,
        notes=dataset.notes | _notes(found, left_out, len(images), seen.filled),
    )


@dataclass(frozen=True)
class _Seen:
    """What the file says of the rows that are kept. filled: joints that had no depth."""

    depth: Float[Tensor, "rows 1 joints"]
    spread: Float[Tensor, "rows 1 joints 2"] | None
    confidence: Float[Tensor, "rows 1 joints"]
    features: Float[Tensor, "rows 1 joints channels"] | None
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
            None if found.features is None else torch.from_numpy(found.features[row][:, joints])[:, None],
            int(unknown.sum()),
        )


def converted(poses: PoseBatch, skeleton: Skeleton) -> PoseBatch:
    """Convert poses to another skeleton and keep the depth and the features that came with them.

    `PoseBatch.convert` drops them, because what is rendered is rendered anew.

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
    spread, features = poses.depth_spread, poses.joint_features
    return other.replace(
        depth=poses.depth[..., joints],
        depth_spread=None if spread is None else spread[..., joints, :],
        joint_features=None if features is None else features[..., joints, :],
    )


def _joints(source: Skeleton, target: Skeleton, what: str) -> list[int]:
    missing = [joint for joint in target.joints if joint not in source.joints]
    if missing:
        raise DataError(f"{what}: depth was read on {source.name}, which lacks {missing} of {target.name}")
    return [source.index(joint) for joint in target.joints]


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


def _notes(found: ImageDepth, left_out: int, rows: int, filled: int) -> dict[str, str]:
    chosen = ("checkpoint", "network_digest", "input_px", "align", "inputs")
    told = " ".join(f"{name}={str(found.provenance[name])[:16]}" for name in chosen if name in found.provenance)
    notes = {"image_depth": told, "without_depth": f"{left_out:,} of {rows:,} rows have no depth; left out"}
    return notes | ({"joints_without_depth": f"{filled:,} joints got their root's depth"} if filled else {})
