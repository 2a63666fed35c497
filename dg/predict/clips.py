"""People over time or over many images, whose 2D is there: lifted in their tracks, and written as one set of files."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Int, UInt8

from dg.files.atomic import write_file, write_json
from dg.images.keypoint_formats.base import NO_TRACK, Frames
from dg.images.people import Person
from dg.pose.skeleton import Skeleton
from dg.predict.arrays import PeopleArrays
from dg.predict.bvh import motions, write_bvh
from dg.predict.cameras import ImageCamera
from dg.predict.document import clip_document
from dg.predict.lifter_inputs import ImageInputs, LiftedPerson, PersonInputs
from dg.predict.page import page_of, viewer_frames
from dg.predict.predictor import ImagePredictor
from dg.predict.rerun_file import RECORDING, write_rerun
from dg.predict.smoothing import smooth_people
from dg.predict.tally import PAGE, caption
from dg.predict.tracks import LiftRows, Track, lift_rows, named_gaps, tracks_of

Thumbnail = UInt8[np.ndarray, "height width 3"]
_BOX_MARGIN = 0.1  # of a box that is drawn around joints


@dataclass(frozen=True)
class People2d:
    """People of frames in 2D, before they are lifted.

    Attributes:
        frames: all of them, with their sizes.
        frame: number of each person's frame.
        people: as found, with their track where there is one.
        joints_px: on the lifter's skeleton, pixels, NaN where not found.
        confidence: of these, in [0, 1].
        cameras: of each frame.
        readings: gives a person what the lifter takes of the picture; None where it takes nothing.
        thumbnails: small pictures by frame, where there are any.
        paths: of the frames' image files, where there are any.
    """

    frames: Frames
    frame: Int[np.ndarray, " people"]
    people: Sequence[Person]
    joints_px: Float32[np.ndarray, "people joints 2"]
    confidence: Float32[np.ndarray, "people joints"]
    cameras: Sequence[ImageCamera]
    readings: Callable[[int, PersonInputs], PersonInputs] | None = None
    thumbnails: dict[int, tuple[Thumbnail, np.ndarray | None]] = field(default_factory=dict)
    paths: dict[int, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class LiftedClip:
    """Frames with their lifted people, and the people's tracks.

    Attributes:
        fps: frames per second; 0 where unknown.
        clip: number of each frame's clip.
        smooth_s: standard deviation, seconds, of the Gaussian that people were averaged over time with; 0 where not.
    """

    frames: list[tuple[ImageInputs, list[LiftedPerson]]]
    tracks: list[Track]
    fps: float
    clip: tuple[int, ...]
    smooth_s: float = 0.0

    def notes(self, smooth: float) -> list[str]:
        """What a reader of the numbers must know of the people over time. smooth: the option."""
        lines = named_gaps(self.tracks)
        if self.smooth_s:
            frames = f"{self.smooth_s * self.fps:.2g} frames"
            lines.append(f"people are averaged over time (Gaussian, {self.smooth_s:g} s, {frames}); smooth=0 for none")
        elif smooth and self.tracks and not self.fps:
            lines.append("frames per second unknown, so people are not averaged over time; fps=NUMBER tells them")
        return lines


def lift_clip(predictor: ImagePredictor, found: People2d) -> LiftedClip:
    """Lift the people of frames, those of a track together.

    Args:
        predictor: with the lifter.
        found: its people in 2D.
    """
    track = np.array([NO_TRACK if p.track is None else p.track for p in found.people], np.int64)
    rows = lift_rows(found.joints_px, found.confidence, found.frame, track, found.frames, predictor.skeleton)
    inputs, cameras = _inputs(found, rows)
    lifted = predictor.lifter(inputs, cameras, torch.from_numpy(rows.clip))
    tracks, fps = tracks_of(found.frame, track, found.frames), found.frames.fps
    smooth_s = predictor.options.smooth if tracks and fps else 0.0
    if smooth_s:
        lifted = smooth_people(lifted, rows.clip, smooth_s * fps)
    of_person = {int(row): person for row, person in zip(rows.row, lifted, strict=True) if row >= 0}
    people: list[list[LiftedPerson]] = [[] for _ in range(len(found.frames))]
    for number, frame in enumerate(found.frame.tolist()):
        people[frame].append(of_person[number])
    images = [_image(found, frame, people[frame]) for frame in range(len(found.frames))]
    frames = list(zip(images, people, strict=True))
    return LiftedClip(frames, tracks, fps, tuple(found.frames.clip.tolist()), smooth_s)


def _inputs(found: People2d, rows: LiftRows) -> tuple[list[PersonInputs], list[ImageCamera]]:
    inputs, cameras = [], []
    for at, (row, like) in enumerate(zip(rows.row.tolist(), rows.like.tolist(), strict=True)):
        person, frame = found.people[like], int(found.frame[like])
        missing = None if row < 0 else np.asarray(~np.isfinite(found.joints_px[row]).all(-1))
        missing = missing if missing is not None and missing.any() else None
        made = PersonInputs(person, rows.joints_px[at], rows.confidence[at], missing=missing)
        inputs.append(made if found.readings is None else found.readings(like, made))
        cameras.append(found.cameras[frame])
    return inputs, cameras


def _image(found: People2d, frame: int, people: Sequence[LiftedPerson]) -> ImageInputs:
    frames = found.frames
    thumbnail, depth = found.thumbnails.get(frame, (None, None))
    camera = found.cameras[frame]
    shrink = 1.0 if thumbnail is None else thumbnail.shape[1] / camera.size_px[0]
    number = int(frames.numbers[frame]) if frames.in_time else None
    inputs = [person.inputs for person in people]
    path = found.paths.get(frame)
    return ImageInputs(path, Path(frames.names[frame]), camera, inputs, thumbnail, depth, shrink, number)


def write_clip(
    predictor: ImagePredictor, clip: LiftedClip, place: Path, title: str, facts: dict[str, Any]
) -> list[Path]:
    """Write JSON, archive, page, recording and motions of a clip, as the options say.

    Args:
        predictor: with the options of the command.
        clip: lifted.
        place: path of the files without their ending.
        title: what the input is called.
        facts: of the whole, for the JSON file.

    Returns:
        The paths that were written.
    """
    options, skeleton = predictor.options, predictor.skeleton
    tracks = [
        {"track": t.number, "clip": t.clip, "first": t.first, "last": t.last, "frames": t.frames, "gaps": t.gaps}
        for t in clip.tracks
    ]
    written = [_named(place, ".json")]
    timing = {"fps": clip.fps, "smooth_s": clip.smooth_s}
    document = clip_document(clip.frames, skeleton, {"input": title, **timing, "tracks": tracks, **facts})
    write_json(written[0], document, allow_nan=False)
    if options.npz:
        arrays = PeopleArrays(skeleton, clip.fps)
        for image, people in clip.frames:
            arrays.add(image, people)
        arrays.write(_named(place, ".npz"))
        written += [_named(place, ".npz")] if arrays.rows else []
    if options.page and clip.frames:
        said = caption(predictor, clip.frames[0][0].camera)
        write_file(_named(place, PAGE), page_of(clip.frames, skeleton, title, said, clip.fps))
        written.append(_named(place, PAGE))
    if options.rerun:
        written.append(_named(place, RECORDING))
        write_rerun(written[-1], viewer_frames(clip.frames), skeleton, clip.fps)
    if options.bvh:
        written += _write_motions(clip, place, skeleton)
    return written


def _write_motions(clip: LiftedClip, place: Path, skeleton: Skeleton) -> list[Path]:
    """A BVH file for every track; with several clips their number stands before the track's."""
    rows: dict[tuple[int, int], list[tuple[int, np.ndarray]]] = {}
    for number, (image, people) in zip(clip.clip, clip.frames, strict=True):
        for person in people:
            track = person.inputs.person.track
            if track is not None and image.number is not None:
                joints = person.joints_3d if person.placed is None else person.placed
                rows.setdefault((number, track), []).append((image.number, joints))
    several = len(set(clip.clip)) > 1
    written = []
    for track in clip.tracks:
        found = rows.get((track.clip, track.number))
        if found:
            name = f"{track.clip}-{track.number}" if several else str(track.number)
            written.append(_named(place, f".{name}.bvh"))
            write_bvh(written[-1], motions(found, track.last - track.first + 1), skeleton, clip.fps)
    return written


def person_of(
    joints_2d: Float32[np.ndarray, "keypoints 2"],
    confidence: Float32[np.ndarray, " keypoints"],
    skeleton: Skeleton,
    track: int | None,
) -> Person:
    """A person of a keypoint file, with a box around its joints and the mean confidence of those that were found.

    Args:
        joints_2d: pixels, NaN where not found; one at least is.
        confidence: in [0, 1].
        skeleton: of the joints.
        track: number over time; None without one.
    """
    known = np.isfinite(joints_2d).all(-1)
    low, high = joints_2d[known].min(0), joints_2d[known].max(0)
    margin = _BOX_MARGIN * (high - low)
    box = np.concatenate([low - margin, high + margin]).astype(np.float32)
    return Person(box, float(confidence[known].mean()), joints_2d, confidence, skeleton, track)


def with_tracks(people: Sequence[Person], track: Int[np.ndarray, " people"]) -> list[Person]:
    """The people with these track numbers; `NO_TRACK` is none."""
    return [
        replace(person, track=None if number == NO_TRACK else number)
        for person, number in zip(people, track.tolist(), strict=True)
    ]


def _named(place: Path, ending: str) -> Path:
    return place.with_name(place.name + ending)
