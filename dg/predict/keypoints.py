"""`dg predict keypoints=`: people of a keypoint file lifted to 3D, with their images where these are there."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from dg.files.plain_text import one_line
from dg.images.keypoint_file import read_keypoint_file
from dg.images.keypoint_formats.base import NO_TRACK, FoundPeople
from dg.images.people import joints_on
from dg.images.reading import ImageError, find_images, image_size, read_image
from dg.images.tracker import track_people
from dg.predict.clips import LiftedClip, People2d, lift_clip, person_of, with_tracks, write_clip
from dg.predict.lifter_inputs import PersonInputs
from dg.predict.overlay import draw_over
from dg.predict.page import MOST_PICTURES, PICTURE_PX
from dg.predict.predictor import LEAST_JOINTS, ImagePredictor, resized
from dg.predict.tally import Say, Tally, notes
from dg.predict.video_files import OVERLAY_GIF, write_gif
from dg.settings.config import ConfigError

_NAMED = 5


def lift_keypoints(predictor: ImagePredictor, say: Say, tally: Tally) -> dict[str, Any]:
    """Lift the people of a keypoint file and write one set of files.

    Args:
        predictor: with the options of the command.
        say: prints a line.
        tally: counts what became of the frames.

    Returns:
        How the results were made, for the summary.

    Raises:
        FileFormatError: for a file that is none of the formats or cannot be used.
        ImageError: for a folder of images in which none of the file's is.
        ConfigError: for a lifter with depth where there are no images.
    """
    options = predictor.options
    path = Path(options.keypoints)
    images = _Images(Path(options.images)) if options.images else None
    if predictor.scenes.needed and images is None:
        raise ConfigError(
            f"the lifter takes more than 2D (inputs={predictor.stored.config.inputs}), read from images by networks: "
            "give images=FOLDER with those that the keypoints belong to, or a lifter with inputs=xy"
        )
    found = read_keypoint_file(path, options.image_size, None if images is None else images.size_of, options.joints)
    if options.fps:
        found = replace(found, frames=replace(found.frames, fps=options.fps))
    say(f"format: {found.format}; {len(found):,} people in {len(found.frames):,} frames")
    for line in [*found.notes, *notes(predictor)]:
        say(line)
    if images is not None:
        images.report(found, say, tally)
    people = _people(predictor, found, images, say)
    for line in [] if images is None else images.unreadable(tally):
        say(line)
    clip = lift_clip(predictor, people)
    for line in clip.notes(options.smooth):
        say(line)
    for image, lifted in clip.frames:
        tally.count(image, lifted)
    made_with = predictor.made_with(f"file: {found.format}")
    # A folder may be given as `.` or `..`; what is written is called as it is called.
    name = path.name if path.name not in ("", "..") else path.resolve().name or "keypoints"
    place = Path(options.out) / name
    facts = {"keypoints": {"format": found.format, "notes": list(found.notes)}, **made_with}
    written = write_clip(predictor, clip, place, name, facts)
    written += _overlays(predictor, clip, place)
    say("wrote " + ", ".join(p.name for p in written))
    return made_with


class _Images:
    """Images by the names that a keypoint file has for them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.damaged: dict[str, str] = {}  # name of a frame -> why its image cannot be read
        base = root if root.is_dir() else root.parent
        self.paths: dict[str, Path] = {}
        for path in reversed(find_images(root)):
            inside = path.relative_to(base)
            # By the whole path, by the name, and by the name without its ending, as formats have them.
            for key in (path.stem, path.name, str(inside.with_suffix("")), str(inside)):
                self.paths[key] = path

    def path_of(self, name: str) -> Path | None:
        plain = name.removesuffix("_keypoints.json")
        for key in (name, plain, Path(name).name, Path(name).stem, f"{int(name):012d}" if name.isdecimal() else name):
            if key in self.paths:
                return self.paths[key]
        return None

    def size_of(self, name: str) -> tuple[int, int] | None:
        path = self.path_of(name)
        return None if path is None else image_size(path)

    def unreadable(self, tally: Tally) -> list[str]:
        """What to say of images that turned out to be damaged; their people are lifted without a picture."""
        tally.unreadable.update({one_line(name): reason for name, reason in self.damaged.items()})
        return [f"  without a picture: {reason}" for reason in self.damaged.values()]

    def report(self, found: FoundPeople, say: Say, tally: Tally) -> None:
        """Say which images are absent; raise ImageError where all are."""
        absent = [name for name in found.frames.names if self.path_of(name) is None]
        if absent and len(absent) == len(found.frames):
            raise ImageError(
                f"{self.root}: none of the {len(absent)} images of the keypoints is there, the first is "
                f"{one_line(absent[0])}; leave images= out, or give the folder that holds them"
            )
        for name in absent:
            tally.unreadable[one_line(name)] = "no such image; its people are lifted without a picture"
        if absent:
            shown = ", ".join(one_line(name) for name in absent[:_NAMED])
            say(f"{len(absent)} images are absent: {shown}{', ...' if len(absent) > _NAMED else ''}")


def _people(predictor: ImagePredictor, found: FoundPeople, images: _Images | None, say: Say) -> People2d:
    joints, confidence = joints_on(found.joints_2d, found.confidence, found.skeleton, predictor.skeleton)
    kept = np.flatnonzero(np.isfinite(joints).all(-1).sum(1) >= LEAST_JOINTS)
    if predictor.options.people == "best":
        kept = _best(kept, found, confidence)
    lost = len(found) - len(kept)
    if lost and predictor.options.people == "all":
        say(f"{lost:,} people are left out: fewer than {LEAST_JOINTS} of their joints were found")
    predictor.left_out += lost
    track, frame = found.track[kept], found.frame[kept]
    if found.frames.in_time and (track == NO_TRACK).all() and len(kept):
        track = track_people(joints[kept], frame, found.frames)
        say(f"the file numbers nobody: {len(set(track.tolist()))} tracks by where people are")
    people = [person_of(found.joints_2d[row], found.confidence[row], found.skeleton, None) for row in kept.tolist()]
    cameras = [predictor.camera((round(w), round(h))) for w, h in found.frames.size.tolist()]
    made = People2d(found.frames, frame, with_tracks(people, track), joints[kept], confidence[kept], cameras)
    return made if images is None else _with_images(predictor, made, images)


def _best(kept: np.ndarray, found: FoundPeople, confidence: np.ndarray) -> np.ndarray:
    """Of each frame the person whose joints are the surest on average."""
    best: dict[int, int] = {}
    for row in kept.tolist():
        frame = int(found.frame[row])
        if frame not in best or confidence[row].mean() > confidence[best[frame]].mean():
            best[frame] = row
    return np.array(sorted(best.values()), np.int64)


def _with_images(predictor: ImagePredictor, made: People2d, images: _Images) -> People2d:
    """With small pictures, and with what the lifter takes of each picture."""
    pictured = set(range(0, len(made.frames), max(1, -(-len(made.frames) // MOST_PICTURES))))
    readings: dict[int, PersonInputs] = {}
    for frame, path, image in _read(made, images, None if predictor.scenes.needed else pictured):
        made.paths[frame] = path
        scene = predictor.scenes.look(image, made.cameras[frame])
        for row in np.flatnonzero(made.frame == frame).tolist() if scene is not None else ():
            person = PersonInputs(made.people[row], made.joints_px[row], made.confidence[row])
            read = predictor.measured(person, scene)
            if read is not None:
                readings[row] = read
        if frame in pictured:
            shrink = min(1.0, PICTURE_PX / max(image.shape[:2]))
            depth = None if scene is None else scene.depth
            made.thumbnails[frame] = (resized(image, shrink), None if depth is None else resized(depth, shrink))
    if not predictor.scenes.needed:
        return made

    def measured(row: int, person: PersonInputs) -> PersonInputs:
        if row not in readings:
            raise ImageError(
                f"the image of frame {one_line(made.frames.names[int(made.frame[row])])} is absent, and the lifter "
                "takes more than 2D; give images= with all of them, or a lifter with inputs=xy"
            )
        return person.with_readings_of(readings[row])

    return People2d(**{**vars(made), "readings": measured})


def _read(made: People2d, images: _Images, wanted: set[int] | None) -> Iterator[tuple[int, Path, np.ndarray]]:
    for frame, name in enumerate(made.frames.names):
        path = images.path_of(name)
        if path is None or (wanted is not None and frame not in wanted):
            continue
        try:
            yield frame, path, read_image(path)
        except ImageError as error:
            if wanted is None:  # the lifter takes what is in the picture
                raise
            images.damaged[name] = str(error)


def _overlays(predictor: ImagePredictor, clip: LiftedClip, place: Path) -> list[Path]:
    """A moving picture of the frames with their skeletons, where there are pictures of a clip."""
    shown = [(image, people) for image, people in clip.frames if image.thumbnail is not None]
    if not predictor.options.picture or len(shown) < 2 or shown[0][0].number is None:
        return []
    path = place.with_name(place.name + OVERLAY_GIF)
    drawn = (
        draw_over(i.thumbnail, people, predictor.skeleton, i.shrink) for i, people in shown if i.thumbnail is not None
    )
    write_gif(path, drawn, clip.fps)
    return [path]
