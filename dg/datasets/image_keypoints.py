"""2D that a detector found in a data set's own images, in the place of the projection: the option `keypoints`.

The file is one that `dg extract-depth` reads (`dg.datasets.keypoints`: .npz or COCO .json) or writes
(`dg.datasets.image_depth_file`), of which the 2D and its confidence are taken. Rows of a data set find theirs by the
image's name, and where an image has several people, by whose 2D is nearest. Rows in which nothing was found are left
out and counted; a joint that was not found is drawn between the rows around it, or put at the next joint of its limb,
with no confidence, and is counted too.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from dg.datasets.base import DataError, PoseDataset, content_digest
from dg.datasets.content import content_id
from dg.datasets.detected_2d import check_fit, check_places, fill_missing
from dg.datasets.image_depth import with_image_depth
from dg.datasets.image_depth_file import FORMAT, read_image_depth
from dg.datasets.image_rows import as_seen_by, by_longer_side, check_shape_of_images, clips_of_kept, matches, used_rows
from dg.datasets.keypoints import Keypoints, read_keypoints
from dg.datasets.validation import read_arrays
from dg.pose.camera import Camera
from dg.pose.joint_map import convertible
from dg.pose.skeleton import H36M_17


def with_found(dataset: PoseDataset, images: Sequence[str], keypoints: str, image_depth: str) -> PoseDataset:
    """Put what was found in a data set's images in the place of what is projected and rendered.

    Args:
        dataset: the data set.
        images: name of each row's image.
        keypoints: file of 2D; empty: the data set's own stays.
        image_depth: file of depths, read after the 2D; empty: none.

    Raises:
        DataError: a file does not fit.
    """
    names = list(images)
    if keypoints:
        dataset, names = with_keypoints(dataset, names, keypoints)
    return with_image_depth(dataset, names, image_depth) if image_depth else dataset


def with_keypoints(dataset: PoseDataset, images: Sequence[str], path: str) -> tuple[PoseDataset, list[str]]:
    """Exchange the 2D of a data set for that of a file.

    Args:
        dataset: the data set; one whose joints the file's cannot be converted to comes back on Human3.6M's 17.
        images: name of each row's image.
        path: the file of 2D.

    Returns:
        The rows that have 2D in the file, and the names of their images.

    Raises:
        DataError: the file cannot be read, has none of the images, or is not 2D of these people.
    """
    found, source_2d = _read(path)
    if not convertible(found.skeleton, dataset.poses.skeleton):
        dataset = replace(dataset, poses=dataset.poses.convert(H36M_17))
    found = found.convert(dataset.poses.skeleton)
    poses = dataset.poses
    row = matches(found.names, found.image, _comparable(found, path), images, poses)
    kept, row = used_rows(row, path, "2D", found.names, images)
    some, clip = poses[kept], clips_of_kept(dataset.clip, kept)
    given = torch.from_numpy(_as_camera_sees(found.take(row), some.camera, path))
    known = given.isfinite().all(-1)
    confidence = None
    if found.confidence is not None:
        confidence = torch.from_numpy(np.nan_to_num(found.confidence[row]))
        known &= confidence > 0
        confidence = torch.where(known, confidence.clamp(0, 1), 0.0)[:, None]
    # Joints that were not found are told to `fill_missing` as files tell them: in the corner, with no confidence.
    corner = -some.camera.extent[:, None].expand_as(given)
    at = torch.where(known[..., None], given, corner)
    filled = fill_missing(at, known.float(), some.camera.extent, clip, poses.skeleton)
    if poses.skeleton == H36M_17:
        check_fit(filled.joints_2d, H36M_17, some.joints_2d[:, 0], clip, f"{path}: 2D", known=~filled.missing)
    check_places(filled.joints_2d, f"{path}: 2D")
    left_out = f"{len(images) - len(row):,} of {len(images):,} rows have no 2D in the file; left out"
    some = some.replace(joints_2d=filled.joints_2d[:, None], confidence=confidence)
    changed = replace(
        dataset,
        poses=some,
        **{name: getattr(dataset, name)[kept] for name in ("subject", "action")},
        clip=clip,
        digest=content_digest(some.joints_3d, some.joints_2d),
        content=content_id(dataset.identity, kept.numpy(), Path(path)),
        source_2d=source_2d,
        notes=dataset.notes | filled.notes() | {"without_2d": left_out},
    )
    return changed, [images[int(number)] for number in kept]


def _read(path: str) -> tuple[Keypoints, str]:
    """The 2D of a file, and what its detector is called."""
    file = Path(path)
    name = file.stem
    extracted = file.suffix.lower() == ".npz" and file.is_file()
    if not extracted or str(read_arrays(path, (), optional=("format",)).get("format")) != FORMAT:
        return read_keypoints(file), name
    found = read_image_depth(path)
    rows = Keypoints(found.names, found.image, found.joints_px, found.skeleton, found.confidence, found.size)
    return rows, str(found.provenance["source_2d"])


def _comparable(found: Keypoints, path: str) -> np.ndarray:
    """The file's 2D by the longer side, by which people of one image are told apart."""
    if found.normalised:
        return found.joints_2d
    if found.size is None:
        raise DataError(
            f"{path}: does not say how large the images are on which its 2D was made; add `size` [2] or [rows, 2] "
            "pixels (.npz), or width and height of each image (COCO .json)"
        )
    return by_longer_side(found.joints_2d, found.size)


def _as_camera_sees(found: Keypoints, camera: Camera, path: str) -> np.ndarray:
    if found.normalised or found.size is None:
        # By the longer side; the camera may divide by another.
        return found.joints_2d * camera.extent.amax(-1).cpu().numpy()[:, None, None]
    check_shape_of_images(found.size, camera, path)
    return as_seen_by(camera, found.joints_2d, found.size)
