"""What is known of one image and of the people in it, before and after lifting."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt8

from dg.images.people import Person
from dg.predict.cameras import ImageCamera


@dataclass(frozen=True)
class SeenPerson:
    """One person on the lifter's skeleton. joints_px: pixels, centres at +0.5. depth: at each joint, metres; None where
    the lifter needs none. nearest, farthest: in the disk around each joint, whose median depth is then; None where the
    lifter was trained with depth right at the joint.
    """

    person: Person
    joints_px: Float32[np.ndarray, "joints 2"]
    confidence: Float32[np.ndarray, " joints"]
    depth: Float32[np.ndarray, " joints"] | None = None
    nearest: Float32[np.ndarray, " joints"] | None = None
    farthest: Float32[np.ndarray, " joints"] | None = None


@dataclass(frozen=True)
class SeenImage:
    """One image. thumbnail, depth_thumbnail: of it and of its depth map (metres), made smaller by `shrink`, for the
    picture.
    """

    path: Path
    name: Path
    camera: ImageCamera
    people: Sequence[SeenPerson]
    thumbnail: UInt8[np.ndarray, "small_height small_width 3"] | None = None
    depth_thumbnail: Float32[np.ndarray, "small_height small_width"] | None = None
    shrink: float = 1.0


@dataclass(frozen=True)
class LiftedPerson:
    """A person with 3D joints in the camera's axes, metres: relative to the root, and absolute where that is known."""

    seen: SeenPerson
    joints_3d: Float32[np.ndarray, "joints 3"]
    placed: Float32[np.ndarray, "joints 3"] | None = None
