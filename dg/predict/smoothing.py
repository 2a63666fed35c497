"""Lifted people averaged over time, because a lifter of single frames answers each with its own error."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float32, Int
from scipy.ndimage import gaussian_filter1d

from dg.predict.lifter_inputs import LiftedPerson


def smooth_people(people: Sequence[LiftedPerson], clip: Int[np.ndarray, " people"], sigma: float) -> list[LiftedPerson]:
    """The people with joints that are a Gaussian mean over the frames of their clip around them.

    Places in the camera's frame are averaged too, where all of them are known.

    Args:
        people: one or more, every frame of their clips, in time order.
        clip: number of each person's clip; the people of a clip follow each other.
        sigma: standard deviation, frames. Below a third of a frame it changes nothing that can be seen.
    """
    joints = smooth(np.stack([p.joints_3d for p in people]), clip, sigma)
    placed = [p.placed for p in people]
    known = [place for place in placed if place is not None]
    places = smooth(np.stack(known), clip, sigma) if len(known) == len(people) else placed
    return [replace(p, joints_3d=j, placed=q) for p, j, q in zip(people, joints, places, strict=True)]


def smooth(
    joints: Float32[np.ndarray, "frames joints 3"], clip: Int[np.ndarray, " frames"], sigma: float
) -> Float32[np.ndarray, "frames joints 3"]:
    """A Gaussian mean over time; at a clip's ends its first and last frame are repeated.

    Args:
        joints: of frames in time order, clip by clip.
        clip: number of each frame's clip.
        sigma: standard deviation, frames; one above a clip's number of frames acts as that number.
    """
    parts = np.split(joints, np.flatnonzero(np.diff(clip)) + 1)
    return np.concatenate([gaussian_filter1d(p, min(sigma, len(p)), axis=0, mode="nearest") for p in parts])
