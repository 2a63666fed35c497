"""`dg predict clip.mp4`: people found in every frame, tracked, lifted in their tracks.

Frames are decoded one at a time; what stays is people's 2D and some small pictures for the page. The overlay decodes
the file once more.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from dg.images.keypoint_formats.base import frames_of
from dg.images.people import Person, to_skeleton
from dg.images.tracker import track_people
from dg.images.video import Video, write_video
from dg.predict.cameras import ImageCamera
from dg.predict.clips import LiftedClip, People2d, lift_clip, with_tracks, write_clip
from dg.predict.lifter_inputs import PersonInputs
from dg.predict.overlay import draw_over
from dg.predict.page import MOST_PICTURES, PICTURE_PX
from dg.predict.predictor import ImagePredictor, chosen, resized
from dg.predict.tally import Say, Tally, notes
from dg.predict.video_files import OVERLAY_MP4


class _Found:
    """What is kept of the frames while a video is read."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.people: list[Person] = []
        self.frame: list[int] = []
        self.inputs: list[PersonInputs] = []
        self.cameras: list[ImageCamera] = []
        self.thumbnails: dict[int, tuple[np.ndarray, np.ndarray | None]] = {}
        self.every = 1

    def keep(self, frame: int, image: np.ndarray, depth: np.ndarray | None) -> None:
        """Keep a small picture of every n-th frame, n doubling so that there are never too many."""
        if frame % self.every:
            return
        shrink = min(1.0, PICTURE_PX / max(image.shape[:2]))
        self.thumbnails[frame] = (resized(image, shrink), None if depth is None else resized(depth, shrink))
        if len(self.thumbnails) > MOST_PICTURES:
            self.every *= 2
            self.thumbnails = {n: kept for n, kept in self.thumbnails.items() if n % self.every == 0}


def lift_video(predictor: ImagePredictor, say: Say, tally: Tally) -> dict[str, Any]:
    """Lift the people of a video and write one set of files.

    Args:
        predictor: with the options of the command.
        say: prints a line.
        tally: counts what became of the frames.

    Returns:
        How the results were made, for the summary.

    Raises:
        VideoError: for a file that cannot be read.
        OptionError: where PyAV is not installed.
    """
    options = predictor.options
    path = Path(options.images)
    video = Video(path)
    for line in notes(predictor):
        say(line)
    read = _read(predictor, video)
    if video.stopped:
        say(f"{path.name}: {video.stopped}")
    found = _tracked(predictor, read, video)
    clip = lift_clip(predictor, found)
    for line in clip.notes(options.smooth):
        say(line)
    for image, people in clip.frames:
        tally.count(image, people)
    say(f"{len(clip.frames):,} frames at {video.fps:g} per second, {len(clip.tracks)} people over time")
    made_with = predictor.made_with()
    place = Path(options.out) / path.name
    written = write_clip(predictor, clip, place, path.name, made_with)
    if options.picture:
        overlay = place.with_name(place.name + OVERLAY_MP4)
        write_video(overlay, _drawn(predictor, video, clip), video.fps)
        written.append(overlay)
    say("wrote " + ", ".join(p.name for p in written))
    return made_with


def _read(predictor: ImagePredictor, video: Video) -> _Found:
    found = _Found()
    with _progress(video.expected) as advance:
        for at, frame in enumerate(video.frames()):
            seen = predictor.see(frame.rgb)
            found.numbers.append(frame.number)
            found.cameras.append(seen.camera)
            for person in chosen(seen.people, predictor.options.people):
                made = predictor.on_skeleton(person, seen.scene)
                if made is None:
                    predictor.left_out += 1
                    continue
                found.people.append(person)
                found.inputs.append(made)
                found.frame.append(at)
            if predictor.options.page or predictor.options.rerun:
                found.keep(at, frame.rgb, None if seen.scene is None else seen.scene.depth)
            advance()
    return found


def _tracked(predictor: ImagePredictor, read: _Found, video: Video) -> People2d:
    sizes = [camera.size_px for camera in read.cameras]
    names = [str(number) for number in read.numbers]
    frames = frames_of(names, read.numbers, sizes, fps=video.fps, in_time=True)
    frame = np.asarray(read.frame, np.int64)
    joints = len(predictor.skeleton)
    found = [to_skeleton(person, predictor.skeleton) for person in read.people]
    joints_px = np.array([j for j, _ in found], np.float32).reshape(-1, joints, 2)
    confidence = np.array([c for _, c in found], np.float32).reshape(-1, joints)
    people = with_tracks(read.people, track_people(joints_px, frame, frames))

    def measured(row: int, person: PersonInputs) -> PersonInputs:
        return person.with_readings_of(read.inputs[row])

    readings = measured if predictor.scenes.needed else None
    return People2d(frames, frame, people, joints_px, confidence, read.cameras, readings, read.thumbnails)


def _drawn(predictor: ImagePredictor, video: Video, clip: LiftedClip) -> Iterator[np.ndarray]:
    for frame, (_, people) in zip(video.frames(), clip.frames, strict=False):
        yield draw_over(frame.rgb, people, predictor.skeleton)


@contextmanager
def _progress(total: int) -> Iterator[Any]:
    """A bar on the terminal, nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("frames"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("frames", total=total or None)
        yield lambda: bar.advance(task)
