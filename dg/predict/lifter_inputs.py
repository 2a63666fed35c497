"""What the lifter is given of each image and of the people in it, and what it answers."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float16, Float32, UInt8

from dg.images.people import Person
from dg.predict.cameras import ImageCamera


@dataclass(frozen=True)
class PersonInputs:
    """One person on the lifter's skeleton.

    Attributes:
        person: the person as detected.
        joints_px: joints in pixels, pixel centres at +0.5; one that was not found lies where its limb goes on.
        confidence: confidence of each joint, in [0, 1]; 0 where it was not found.
        depth: depth at each joint, metres; None where the lifter takes none.
        nearest: nearest depth in the disk around each joint, metres, the disk's median being the depth; None where the
            lifter was trained with depth right at the joint.
        farthest: farthest depth in that disk, metres; None where `nearest` is.
        missing: joints that were not found; None: all were.
        features: what networks say of the picture at each joint; None where the lifter takes none.
    """

    person: Person
    joints_px: Float32[np.ndarray, "joints 2"]
    confidence: Float32[np.ndarray, " joints"]
    depth: Float32[np.ndarray, " joints"] | None = None
    nearest: Float32[np.ndarray, " joints"] | None = None
    farthest: Float32[np.ndarray, " joints"] | None = None
    missing: Bool[np.ndarray, " joints"] | None = None
    features: Float16[np.ndarray, "joints channels"] | None = None

    def with_readings_of(self, other: "PersonInputs") -> "PersonInputs":
        """The same person with the depth and the features of another one, read in the same picture."""
        return replace(self, depth=other.depth, nearest=other.nearest, farthest=other.farthest, features=other.features)

    @property
    def seen_px(self) -> Float32[np.ndarray, "joints 2"]:
        """The joints that were found, in pixels; NaN for the others."""
        return _without(self.joints_px, self.missing)


@dataclass(frozen=True)
class ImageInputs:
    """One image with the people in it.

    Attributes:
        path: path of the file; None where there is no picture.
        name: path below the folder of images, or what the frame is called.
        number: place in time of a frame of a clip; None for a photograph.
        thumbnail: the image made smaller by the factor `shrink`, for the picture.
        depth_thumbnail: its depth map in metres, made smaller likewise.
    """

    path: Path | None
    name: Path
    camera: ImageCamera
    people: Sequence[PersonInputs]
    thumbnail: UInt8[np.ndarray, "small_height small_width 3"] | None = None
    depth_thumbnail: Float32[np.ndarray, "small_height small_width"] | None = None
    shrink: float = 1.0
    number: int | None = None


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

    @property
    def seen_3d(self) -> Float32[np.ndarray, "joints 3"]:
        """Joints whose 2D was found, relative to the root, metres; NaN for the others, which are a guess."""
        return _without(self.joints_3d, self.inputs.missing)

    @property
    def seen_placed(self) -> Float32[np.ndarray, "joints 3"] | None:
        """The same in the camera's frame; None where `placed` is."""
        return None if self.placed is None else _without(self.placed, self.inputs.missing)


def _without(
    values: Float32[np.ndarray, "joints axes"], missing: Bool[np.ndarray, " joints"] | None
) -> Float32[np.ndarray, "joints axes"]:
    return values if missing is None else np.where(missing[:, None], np.float32(np.nan), values)
