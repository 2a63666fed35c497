"""Lifted people averaged over time, because a lifter of single frames answers each with its own error."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float32, Int
from scipy.ndimage import gaussian_filter1d

from dg.predict.lifter_inputs import LiftedPerson


def smooth_people(people: Sequence[LiftedPerson], clip: Int[np.ndarray, " people"], sigma: float) -> list[LiftedPerson]:
    """The people with joints that are a Gaussian mean over the frames of their clip around them.

    Args:
        people: every frame of their clips, in time order.
        clip: number of each person's clip; the people of a clip follow each other.
        sigma: standard deviation, frames. Below a third of a frame it changes nothing that can be seen.
    """
    found: list[LiftedPerson] = []
    for rows in np.split(np.arange(len(people)), np.flatnonzero(np.diff(clip)) + 1):
        part = [people[row] for row in rows]
        joints = smooth(np.stack([p.joints_3d for p in part]), sigma) if part else []
        placed = [p.placed for p in part if p.placed is not None]
        places = smooth(np.stack(placed), sigma) if part and len(placed) == len(part) else [p.placed for p in part]
        found += [replace(p, joints_3d=j, placed=q) for p, j, q in zip(part, joints, places, strict=True)]
    return found


def smooth(joints: Float32[np.ndarray, "frames joints 3"], sigma: float) -> Float32[np.ndarray, "frames joints 3"]:
    """A Gaussian mean over time; at its ends the first and the last frame are repeated.

    Args:
        joints: of the frames of one clip, in order.
        sigma: standard deviation, frames; one above the number of frames acts as that number.
    """
    return gaussian_filter1d(joints, min(sigma, len(joints)), axis=0, mode="nearest")
