"""People over time: rows of one person in order, what was not found drawn between the frames around it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int

from dg.images.keypoint_formats.base import NO_TRACK, Frames
from dg.pose.missing_joints import fill_along_limbs
from dg.pose.skeleton import Skeleton

_NAMED = 5  # gaps that are told of
LONGEST_GAP = 15  # frames over which a person or a joint is drawn between those in which it was found


@dataclass(frozen=True)
class LiftRows:
    """Rows as a lifter sees them, clip by clip in time order.

    Attributes:
        row: which person each is; -1 for a frame in which the person was not found.
        like: a person whose frame's size and camera the row shares.
        clip: number of the clip of each; a lifter's window stays in it.
        joints_px: pixels, finite.
        confidence: in [0, 1]; 0 for a joint that was not found.
    """

    row: Int[np.ndarray, " rows"]
    like: Int[np.ndarray, " rows"]
    clip: Int[np.ndarray, " rows"]
    joints_px: Float32[np.ndarray, "rows joints 2"]
    confidence: Float32[np.ndarray, "rows joints"]


@dataclass(frozen=True)
class Track:
    """What there is of one person.

    Attributes:
        number: of the track.
        clip: number of the clip.
        first: number of its first frame.
        last: number of its last frame.
        frames: in which the person was found.
        gaps: first and last frame of each stretch in which the person was not found.
    """

    number: int
    clip: int
    first: int
    last: int
    frames: int
    gaps: tuple[tuple[int, int], ...]


def lift_rows(
    joints_px: Float32[np.ndarray, "people joints 2"],
    confidence: Float32[np.ndarray, "people joints"],
    frame: Int[np.ndarray, " people"],
    track: Int[np.ndarray, " people"],
    frames: Frames,
    skeleton: Skeleton,
) -> LiftRows:
    """Order people by track and time, and fill what is missing.

    A person who is not found for up to `LONGEST_GAP` frames is drawn between the frames around; a longer gap ends the
    clip, so that no window reaches over it. A joint that no frame near tells lies where its limb goes on.

    Args:
        joints_px: pixels, NaN where not found.
        confidence: in [0, 1].
        frame: number of each person's frame.
        track: of each person; `NO_TRACK` for one who is lifted alone.
        frames: of the file or video.
        skeleton: of the joints.
    """
    parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []  # person or -1, person alike, joints
    for people in _groups(frame, track, frames):
        numbers = frames.numbers[frame[people]]
        for part in np.split(people, np.flatnonzero(np.diff(numbers) > LONGEST_GAP + 1) + 1):
            parts.append(_dense(part, frames.numbers[frame[part]], joints_px))
    if not parts:
        empty = np.zeros(0, np.int64)
        return LiftRows(empty, empty, empty, joints_px[:0], confidence[:0])
    row, like, places = (np.concatenate(values) for values in zip(*parts, strict=True))
    clip = np.repeat(np.arange(len(parts)), [len(part[0]) for part in parts])
    known = torch.from_numpy(np.isfinite(places).all(-1))
    filled = fill_along_limbs(torch.from_numpy(places), known, skeleton).numpy()
    sure = np.where((row >= 0)[:, None], confidence[np.maximum(row, 0)], 0).astype(np.float32)
    return LiftRows(row, like, clip, filled, sure)


def tracks_of(frame: Int[np.ndarray, " people"], track: Int[np.ndarray, " people"], frames: Frames) -> list[Track]:
    """The tracks with their gaps, in the order of clips and of their first frame.

    Args:
        frame: number of each person's frame.
        track: of each person.
        frames: of the file or video.
    """
    found = []
    for people in _groups(frame, track, frames):
        if track[people[0]] == NO_TRACK:
            continue
        numbers = frames.numbers[frame[people]]
        breaks = np.flatnonzero(np.diff(numbers) > 1)
        gaps = tuple((int(numbers[i]) + 1, int(numbers[i + 1]) - 1) for i in breaks)
        clip = int(frames.clip[frame[people[0]]])
        found.append(Track(int(track[people[0]]), clip, int(numbers[0]), int(numbers[-1]), len(people), gaps))
    return sorted(found, key=lambda t: (t.clip, t.first, t.number))


def _groups(frame: np.ndarray, track: np.ndarray, frames: Frames) -> Iterator[np.ndarray]:
    """People of one clip and track in time order; who has no track is a group alone."""
    clip = frames.clip[frame]
    order = np.lexsort((frames.numbers[frame], track, clip))
    alone = track[order] == NO_TRACK
    new = np.ones(len(order), bool)
    new[1:] = (np.diff(clip[order]) != 0) | (np.diff(track[order]) != 0) | alone[1:]
    yield from np.split(order, np.flatnonzero(new)[1:]) if len(order) else ()


def _dense(people: np.ndarray, numbers: np.ndarray, joints_px: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A row for every number from the first to the last, joints between those that were found."""
    at = numbers - numbers[0]
    count = int(at[-1]) + 1
    row = np.full(count, -1, np.int64)
    row[at] = people
    like = people[np.searchsorted(at, np.arange(count), side="right") - 1]
    places = np.full((count, *joints_px.shape[1:]), np.nan, np.float32)
    places[at] = joints_px[people]
    return row, like, between(places)


def between(places: Float32[np.ndarray, "rows joints 2"]) -> Float32[np.ndarray, "rows joints 2"]:
    """Joints drawn between the nearest rows that have them, over at most `LONGEST_GAP` rows.

    Args:
        places: rows that follow each other in time; NaN where a joint was not found.
    """
    found = places.copy()
    known: Bool[np.ndarray, "rows joints"] = np.asarray(np.isfinite(places).all(-1))
    for joint in np.flatnonzero(~known.all(0) & known.any(0)):
        there = np.flatnonzero(known[:, joint])
        for before, after in pairwise(there.tolist()):
            if 1 < after - before <= LONGEST_GAP + 1:
                share = np.linspace(0, 1, after - before + 1, dtype=np.float32)[1:-1, None]
                ends = places[before, joint], places[after, joint]
                found[before + 1 : after, joint] = ends[0] + (ends[1] - ends[0]) * share
    return found


def named_gaps(tracks: Sequence[Track]) -> list[str]:
    """The gaps in words, a line each, at most `_NAMED` of them."""
    lines = []
    for track in tracks:
        for first, last in track.gaps:
            long = last - first + 1 > LONGEST_GAP
            words = "the track is cut there" if long else "drawn between the frames around"
            where = f"frame {first}" if first == last else f"frames {first} to {last}"
            lines.append(f"person {track.number} is not found in {where}: {words}")
    return lines if len(lines) <= _NAMED else [*lines[:_NAMED], f"... and {len(lines) - _NAMED} gaps more"]
