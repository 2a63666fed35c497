"""Who is who from frame to frame, by where people's joints lie: the cheapest assignment of people to tracks.

The cost of a person and a track is the mean distance of their joints in the size of the person, between where the
joints are and where the track's would be if it went on as before; SciPy's assignment keeps the sum least. For people
who cross, what a detector finds decides; nothing is recognised by its looks.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Int
from scipy.optimize import linear_sum_assignment

from dg.images.keypoint_formats.base import Frames

FARTHEST = 0.5  # mean distance of the joints, in the size of the person
PATIENCE = 15  # frames for which a track waits for its person
_STEADY = 0.5  # share of the last step that a track is expected to go on with


@dataclass
class _Open:
    number: int
    last: int
    joints: Float32[np.ndarray, "joints 2"]
    step: Float32[np.ndarray, "2"]
    size: float


def track_people(
    joints_px: Float32[np.ndarray, "people joints 2"], frame: Int[np.ndarray, " people"], frames: Frames
) -> Int[np.ndarray, " people"]:
    """Number people over time.

    Args:
        joints_px: pixels, NaN where not found.
        frame: number of each person's frame.
        frames: of the video or file; each clip has tracks of its own.

    Returns:
        A track number for each person, from 1 on in each clip.
    """
    track = np.zeros(len(frame), np.int64)
    for clip in np.unique(frames.clip):
        rows = np.flatnonzero(frames.clip[frame] == clip)
        numbers = frames.numbers[frame[rows]]
        open_tracks: list[_Open] = []
        count = 0
        for number in np.unique(numbers):
            people = rows[numbers == number]
            open_tracks = [t for t in open_tracks if number - t.last <= PATIENCE + 1]
            for person, chosen in zip(people, _assigned(joints_px[people], open_tracks, int(number)), strict=True):
                if chosen is None:
                    count += 1
                    joints = joints_px[person].copy()
                    chosen = _Open(count, int(number), joints, np.zeros(2, np.float32), _size(joints))
                    open_tracks.append(chosen)
                else:
                    _follow(chosen, joints_px[person], int(number))
                track[person] = chosen.number
    return track


def _assigned(people: np.ndarray, tracks: list[_Open], number: int) -> list[_Open | None]:
    chosen: list[_Open | None] = [None] * len(people)
    if not len(people) or not tracks:
        return chosen
    cost = np.full((len(people), len(tracks)), 10 * FARTHEST)
    for column, track in enumerate(tracks):
        expected = track.joints + _STEADY * track.step * min(number - track.last, 3)
        gap = np.linalg.norm(people - expected, axis=-1)
        both: Bool[np.ndarray, "people joints"] = np.asarray(np.isfinite(gap))
        mean = np.where(both, gap, 0).sum(1) / np.maximum(both.sum(1), 1)
        size = np.array([max(_size(person), track.size) for person in people])
        cost[:, column] = np.where(both.any(1), mean / size, cost[:, column])
    for person, column in zip(*linear_sum_assignment(np.minimum(cost, 10 * FARTHEST)), strict=True):
        if cost[person, column] <= FARTHEST:
            chosen[person] = tracks[column]
    return chosen


def _follow(track: _Open, joints: np.ndarray, number: int) -> None:
    both = np.isfinite(joints).all(-1) & np.isfinite(track.joints).all(-1)
    moved = (joints[both] - track.joints[both]).mean(0) if both.any() else np.zeros(2)
    track.step = (moved / max(number - track.last, 1)).astype(np.float32)
    track.joints = np.where(np.isfinite(joints), joints, track.joints + moved).astype(np.float32)
    track.last, track.size = number, max(_size(joints), 0.5 * track.size)


def _size(joints: np.ndarray) -> float:
    """Half of width plus height of the joints' box, pixels."""
    known = joints[np.isfinite(joints).all(-1)]
    return max(float(np.ptp(known, axis=0).sum()) / 2, 1.0) if len(known) else 1.0
