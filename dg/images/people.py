"""People as a detector finds them, and their joints on a lifter's skeleton (METHODS 1.2)."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from dg.pose.joint_map import image_joint_map
from dg.pose.skeleton import COCO_17, Skeleton

# Made joints that one of their parts is enough for: an eye that a turned head hides is near the other one.
_ONE_PART_DOES = ("head", "neck")


@dataclass(frozen=True)
class Person:
    """One person in an image, in its pixels, whose centres lie at +0.5: (0, 0) is the image's corner.

    Attributes:
        box: left, top, right and bottom, pixels.
        score: score of the box, in [0, 1].
        keypoints: keypoints in the detector's order, pixels; NaN where one was not found.
        confidence: confidence of each keypoint, in [0, 1].
        skeleton: the detector's keypoints.
        track: number of the person over time; None where there is none.
    """

    box: Float32[np.ndarray, "4"]
    score: float
    keypoints: Float32[np.ndarray, "keypoints 2"]
    confidence: Float32[np.ndarray, " keypoints"]
    skeleton: Skeleton = COCO_17
    track: int | None = None

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

    A joint that the detector lacks is the mean of some that it has, and its confidence is the same mean of theirs
    (METHODS 1.2). It is unknown where one of these is, but for the head and the neck, which one of them makes.
    MediaPipe's hips are moved apart (`dg.pose.joint_map.image_joint_map`).

    Args:
        person: with a detector's keypoints.
        skeleton: of the joints that are wanted.

    Returns:
        Joints in pixels, NaN where unknown, and their confidence in [0, 1], 0 where unknown.

    Raises:
        ValueError: for a skeleton that cannot be made from the detector's keypoints.
    """
    joints, confidence = joints_on(person.keypoints[None], person.confidence[None], person.skeleton, skeleton)
    return joints[0], confidence[0]


def joints_on(
    joints_2d: Float32[np.ndarray, "rows source 2"],
    confidence: Float32[np.ndarray, "rows source"],
    source: Skeleton,
    target: Skeleton,
) -> tuple[Float32[np.ndarray, "rows target 2"], Float32[np.ndarray, "rows target"]]:
    """Many people's joints on another skeleton; `to_skeleton` says how.

    Args:
        joints_2d: pixels; NaN where unknown.
        confidence: in [0, 1].
        source: the skeleton of these.
        target: the skeleton that is wanted.
    """
    if source == target:
        return joints_2d, np.where(np.isfinite(joints_2d).all(-1), confidence, 0).astype(np.float32)
    weights = image_joint_map(source, target).numpy()
    known = np.asarray(np.isfinite(joints_2d).all(-1))
    parts = known.astype(np.float32) @ weights.T  # share of each joint's parts that are known
    needed = np.array([1e-3 if name in _ONE_PART_DOES else 1 - 1e-3 for name in target.joints])
    made = np.asarray(parts >= needed)
    share = np.maximum(parts, 1e-3)
    places = np.einsum("ts,rsc->rtc", weights, np.where(known[..., None], joints_2d, 0)) / share[..., None]
    sure = (np.where(known, confidence, 0) @ weights.T) / share
    places = np.where(made[..., None], places, np.nan)
    return places.astype(np.float32), np.where(made, sure, 0).clip(0, 1).astype(np.float32)
