"""People as a detector finds them, and their joints on a lifter's skeleton (METHODS 1.2)."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from dg.pose.joint_map import joint_map
from dg.pose.skeleton import COCO_17, Skeleton


@dataclass(frozen=True)
class Person:
    """One person in an image, in its pixels, whose centres lie at +0.5: (0, 0) is the image's corner.

    Attributes:
        box: left, top, right and bottom, pixels.
        score: score of the box, in [0, 1].
        keypoints: keypoints in COCO's order, pixels.
        confidence: confidence of each keypoint, in [0, 1].
    """

    box: Float32[np.ndarray, "4"]
    score: float
    keypoints: Float32[np.ndarray, "keypoints 2"]
    confidence: Float32[np.ndarray, " keypoints"]

    @property
    def area(self) -> float:
        """Of the box, square pixels."""
        left, top, right, bottom = self.box.tolist()
        return max(right - left, 0.0) * max(bottom - top, 0.0)

    @property
    def size(self) -> float:
        """What people are sorted by: score times area, largest first."""
        return self.score * self.area


def to_skeleton(
    person: Person, skeleton: Skeleton
) -> tuple[Float32[np.ndarray, "joints 2"], Float32[np.ndarray, " joints"]]:
    """A person's joints on a skeleton of Human3.6M.

    A joint that COCO lacks is the mean of some that COCO has, and its confidence is the same mean of theirs
    (METHODS 1.2).

    Args:
        person: with COCO's keypoints.
        skeleton: of the joints that are wanted.

    Returns:
        Joints in pixels, and their confidence in [0, 1].

    Raises:
        ValueError: for a skeleton that cannot be made from COCO's keypoints.
    """
    matrix = joint_map(COCO_17, skeleton).numpy()
    return (matrix @ person.keypoints).astype(np.float32), (matrix @ person.confidence).astype(np.float32)
