"""The JSON file of one image: everything that was found, and what it was found with."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dg.pose.skeleton import Skeleton
from dg.predict.cameras import ImageCamera
from dg.predict.lifter_inputs import ImageInputs, LiftedPerson

FORMAT = "dg-prediction/1"
_PIXELS, _METRES, _SHARE = 2, 4, 4  # decimals
_BLOCK = 1 << 20


def image_document(
    image: ImageInputs, people: Sequence[LiftedPerson], skeleton: Skeleton, made_with: Mapping[str, Any]
) -> dict[str, Any]:
    """What is written of an image, as plain containers.

    Args:
        image: with the people that were found.
        people: the same people, lifted.
        skeleton: of their joints.
        made_with: protocol label, checkpoint, networks and versions.
    """
    return {
        "format": FORMAT,
        "image": str(image.name),
        **_camera(image.camera),
        "joints": list(skeleton.joints),
        "parents": list(skeleton.parents),
        "people": [_person(person, skeleton) for person in people],
        **made_with,
    }


def clip_document(
    frames: Iterable[tuple[ImageInputs, Sequence[LiftedPerson]]], skeleton: Skeleton, facts: Mapping[str, Any]
) -> dict[str, Any]:
    """What is written of a video or a file of keypoints, as plain containers.

    Args:
        frames: with their people.
        skeleton: of their joints.
        facts: of the whole: tracks, format, notes, how it was made.
    """
    return {
        "format": FORMAT,
        "joints": list(skeleton.joints),
        "parents": list(skeleton.parents),
        **facts,
        "frames": [
            {
                "image": str(image.name),
                "number": image.number,
                **_camera(image.camera),
                "people": [_person(person, skeleton) for person in people],
            }
            for image, people in frames
        ],
    }


def _camera(camera: ImageCamera) -> dict[str, Any]:
    return {
        "width": camera.size_px[0],
        "height": camera.size_px[1],
        "camera": {
            "known": camera.known,
            "origin": camera.origin,
            "focal_px": _rounded(camera.focal_px, _PIXELS),
            "center_px": _rounded(camera.center_px, _PIXELS),
            "distortion": list(camera.distortion),
            "horizontal_field_of_view_deg": round(camera.field_of_view, 2),
        },
    }


def _person(lifted: LiftedPerson, skeleton: Skeleton) -> dict[str, Any]:
    inputs = lifted.inputs
    placed = lifted.seen_placed
    root = None if lifted.placed is None else lifted.placed[skeleton.root]
    return {
        "track": inputs.person.track,
        "box_px": _rounded(inputs.person.box, _PIXELS),
        "score": round(inputs.person.score, _SHARE),
        "joints_2d_px": _rounded(inputs.seen_px, _PIXELS),
        "confidence": _rounded(inputs.confidence, _SHARE),
        "depth_m": _rounded(inputs.depth, _METRES),
        "nearest_depth_m": _rounded(inputs.nearest, _METRES),
        "farthest_depth_m": _rounded(inputs.farthest, _METRES),
        "joints_3d_m": _rounded(lifted.seen_3d, _METRES),
        "joints_3d_camera_m": _rounded(placed, _METRES),
        "root_camera_m": _rounded(root, _METRES),
        "keypoints": {
            "joints": list(inputs.person.skeleton.joints),
            "joints_2d_px": _rounded(inputs.person.keypoints, _PIXELS),
            "confidence": _rounded(inputs.person.confidence, _SHARE),
        },
    }


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _rounded(values: Any, decimals: int) -> Any:  # noqa: ANN401 - nested lists of any depth
    """Numbers as lists; a joint that is not known is None."""
    if values is None:
        return None
    array = np.asarray(values, np.float64).round(decimals)
    known = np.isfinite(array) if array.ndim == 1 else np.isfinite(array).all(-1)
    return [row if k else None for row, k in zip(array.tolist(), known.tolist(), strict=True)]
