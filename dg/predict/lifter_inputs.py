"""What the lifter is given of each image and of the people in it, and what it answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt8

from dg.images.people import Person
from dg.predict.cameras import ImageCamera


@dataclass(frozen=True)
class PersonInputs:
    """One person on the lifter's skeleton.

    Attributes:
        person: the person as detected.
        joints_px: joints in pixels, pixel centres at +0.5.
        confidence: confidence of each joint, in [0, 1].
        depth: depth at each joint, metres; None where the lifter takes none.
        nearest: nearest depth in the disk around each joint, metres, the disk's median being the depth; None where the
            lifter was trained with depth right at the joint.
        farthest: farthest depth in that disk, metres; None where `nearest` is.
    """

    person: Person
    joints_px: Float32[np.ndarray, "joints 2"]
    confidence: Float32[np.ndarray, " joints"]
    depth: Float32[np.ndarray, " joints"] | None = None
    nearest: Float32[np.ndarray, " joints"] | None = None
    farthest: Float32[np.ndarray, " joints"] | None = None


@dataclass(frozen=True)
class ImageInputs:
    """One image with the people in it.

    Attributes:
        path: path of the file.
        name: path below the folder of images.
        thumbnail: the image made smaller by the factor `shrink`, for the picture.
        depth_thumbnail: its depth map in metres, made smaller likewise.
    """

    path: Path
    name: Path
    camera: ImageCamera
    people: Sequence[PersonInputs]
    thumbnail: UInt8[np.ndarray, "small_height small_width 3"] | None = None
    depth_thumbnail: Float32[np.ndarray, "small_height small_width"] | None = None
    shrink: float = 1.0


@dataclass(frozen=True)
class LiftedPerson:
    """A person with 3D joints in the camera's axes, metres.

    Attributes:
        joints_3d: joints relative to the root, metres.
        placed: joints in the camera's frame, metres; None where that is not known.
    """

    inputs: PersonInputs
    joints_3d: Float32[np.ndarray, "joints 3"]
    placed: Float32[np.ndarray, "joints 3"] | None = None
