"""People in 2D as keypoint files give them, in one shape for all formats."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float32, Int

from dg.files.errors import FileFormatError
from dg.files.plain_text import one_line
from dg.images.keypoint_formats.content import Content
from dg.pose.skeleton import Skeleton

NO_TRACK = -1
MOST_PEOPLE = 1000  # in one frame; more is a file that is misread
_LARGEST_PX = 1e6


@dataclass(frozen=True)
class Frames:
    """The frames of a file, whether somebody was found in them or not.

    Attributes:
        names: name of each frame's image, or its number as text.
        numbers: place in time of each frame; a gap is a frame that the file lacks.
        clip: number of each frame's clip.
        size: width and height of each frame's image, pixels; NaN where the file does not tell.
        fps: frames per second; 0 where the file does not tell.
        in_time: whether frames of a clip follow each other in time; else they are photographs by themselves.
    """

    names: tuple[str, ...]
    numbers: Int[np.ndarray, " frames"]
    clip: Int[np.ndarray, " frames"]
    size: Float32[np.ndarray, "frames 2"]
    fps: float = 0.0
    in_time: bool = False

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True)
class FoundPeople:
    """People of a keypoint file, one a row, in pixels.

    Attributes:
        format: name of the format, and what it was recognised by, for the reader.
        skeleton: joints of the file.
        frames: of the file.
        frame: number of each row's frame.
        joints_2d: pixels; NaN where a joint was not found. Where `unit` is not `px`, in shares of the image.
        confidence: of each joint, in [0, 1]; 0 where it was not found, 1 where the file has none.
        track: number of the person over time, as the file has it; `NO_TRACK` where it has none.
        unit: `px`; `share`: of width and height; `longer`: pixels divided by half the longer side, 0 in the middle.
        notes: what a reader should know of how the file was read.
    """

    format: str
    skeleton: Skeleton
    frames: Frames
    frame: Int[np.ndarray, " rows"]
    joints_2d: Float32[np.ndarray, "rows joints 2"]
    confidence: Float32[np.ndarray, "rows joints"]
    track: Int[np.ndarray, " rows"]
    unit: str = "px"
    notes: tuple[str, ...] = field(default=())

    def __len__(self) -> int:
        return len(self.frame)

    def noted(self, note: str) -> "FoundPeople":
        """The same with a further note."""
        return replace(self, notes=(*self.notes, note))


class KeypointFormat(ABC):
    """A format of keypoint files; neither method keeps anything.

    Attributes:
        title: what it is called to the reader.
        expected: the shape of its files in a few words, for the message where no format fits.
    """

    title: ClassVar[str]
    expected: ClassVar[str]

    @classmethod
    @abstractmethod
    def recognises(cls, content: Content) -> bool:
        """Whether the content has the shape of this format. It does not raise for any JSON."""

    @classmethod
    @abstractmethod
    def parse(cls, content: Content) -> FoundPeople:
        """Read the people; may stumble over values of another kind with whatever error they cause."""

    @classmethod
    def read(cls, content: Content) -> FoundPeople:
        """Read the people.

        Args:
            content: of a shape that the format recognises.

        Raises:
            FileFormatError: for content of the right shape that cannot be used.
        """
        try:
            return cls.parse(content)
        except FileFormatError:
            raise
        except (KeyError, TypeError, AttributeError, ValueError, IndexError, OverflowError, StopIteration) as error:
            raise FileFormatError(
                f"{content.path}: expected {cls.title}, {cls.expected}, but {type(error).__name__}: {one_line(error)}"
            ) from error


@dataclass
class Rows:
    """Collects people frame by frame while a file is read."""

    joints: list[Any] = field(default_factory=list)
    frame: list[int] = field(default_factory=list)
    track: list[int] = field(default_factory=list)

    def add(self, frame: int, triples: Any, track: Any = None) -> None:  # noqa: ANN401 - what a file holds
        """Take a person.

        Args:
            frame: number of the frame.
            triples: joints times x, y and confidence, flat or nested.
            track: number over time; None, or a negative one, where there is none.
        """
        self.joints.append(triples)
        self.frame.append(frame)
        self.track.append(_track(track))

    def people(self, format: str, skeleton: Skeleton, frames: Frames, what: str, **more: Any) -> FoundPeople:  # noqa: ANN401
        """What was collected, frame by frame.

        Args:
            format: of `FoundPeople`.
            skeleton: joints of each person.
            frames: of the file.
            what: the file, for messages.
            more: further fields of `FoundPeople`.

        Raises:
            FileFormatError: for people of another number of joints, values that are no numbers, places that cannot be,
                or a frame of more than `MOST_PEOPLE`.
        """
        joints = len(skeleton)
        values = np.zeros((0, joints, 3))
        if self.joints:
            values = self._array(what).reshape(len(self.joints), -1, 3)
        if values.shape[1] != joints:
            raise FileFormatError(f"{what}: expected {joints} joints ({skeleton.name}), got {values.shape[1]}")
        counts = np.bincount(self.frame, minlength=1) if self.frame else np.zeros(1, int)
        if counts.max() > MOST_PEOPLE:
            name = one_line(frames.names[int(counts.argmax())])
            raise FileFormatError(
                f"{what}: {counts.max():,} people in frame {name}; expected at most {MOST_PEOPLE:,} in one image"
            )
        xy, confidence = _cleaned(values, what)
        order = np.argsort(np.asarray(self.frame, np.int64), kind="stable")
        frame, track = (np.asarray(values, np.int64)[order] for values in (self.frame, self.track))
        return FoundPeople(format, skeleton, frames, frame, xy[order], confidence[order], track, **more)

    def _array(self, what: str) -> np.ndarray:
        try:
            flat = [np.asarray(one, np.float64).reshape(-1) for one in self.joints]
        except (TypeError, ValueError) as error:
            raise FileFormatError(f"{what}: expected numbers for joints: {one_line(error)}") from error
        lengths = {len(one) for one in flat}
        if len(lengths) > 1 or lengths == {0} or next(iter(lengths)) % 3:
            raise FileFormatError(
                f"{what}: expected x, y and confidence of as many joints for every person, got lists of "
                f"{sorted(lengths)} numbers"
            )
        return np.stack(flat)


def frames_of(
    names: Sequence[str],
    numbers: Sequence[int] | None = None,
    sizes: Sequence[tuple[float, float] | None] | None = None,
    clip: Sequence[int] | None = None,
    fps: float = 0.0,
    in_time: bool = False,
) -> Frames:
    """Frames from plain lists.

    Args:
        names: of the frames' images.
        numbers: place in time; without it they follow each other.
        sizes: width and height in pixels, None where unknown; without it all are unknown.
        clip: number of the clip of each; without it all are of one.
        fps: frames per second, 0 where unknown.
        in_time: whether they follow each other in time.

    Raises:
        ValueError: for sizes that no image has.
    """
    count = len(names)
    rows = [s or (np.nan, np.nan) for s in sizes] if sizes is not None else [(np.nan, np.nan)] * count
    if any(s and not all(0 < float(side) <= _LARGEST_PX for side in s) for s in sizes or ()):
        raise ValueError(f"expected images of 1 to {_LARGEST_PX:,.0f} pixels on each side")
    return Frames(
        tuple(str(name) for name in names),
        np.asarray(range(count) if numbers is None else numbers, np.int64),
        np.asarray([0] * count if clip is None else clip, np.int64),
        np.asarray(rows, np.float32).reshape(count, 2),
        fps,
        in_time,
    )


def triples_of(xy: Any, confidence: Any = None) -> np.ndarray:  # noqa: ANN401 - what a file holds
    """Joints `[joints, 3]` of places `[joints, 2]` and confidences `[joints]`, 1 without them. Raises ValueError."""
    places = np.asarray(xy, np.float64).reshape(-1, 2)
    sure = np.ones(len(places)) if confidence is None else np.asarray(confidence, np.float64).reshape(-1)
    if len(sure) != len(places):
        raise ValueError(f"{len(places)} places and {len(sure)} confidences")
    return np.concatenate([places, sure[:, None]], 1)


def skeleton_by_count(joints: int, known: dict[int, tuple[Skeleton, str]], what: str) -> tuple[Skeleton, str]:
    """The skeleton of a number of joints and a note on it. Raises FileFormatError that lists the known numbers.

    Args:
        joints: number of joints in the file.
        known: skeleton and note by number of joints.
        what: the file and the place in it, for the message.
    """
    if joints not in known:
        counts = ", ".join(f"{n} ({s.name})" for n, (s, _) in known.items())
        raise FileFormatError(f"{what}: expected {counts} joints, got {joints}")
    return known[joints]


def _track(value: Any) -> int:  # noqa: ANN401 - what a file holds
    while isinstance(value, list | tuple):
        value = value[0] if value else None
    if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value) or value < 0:
        return NO_TRACK
    return int(value)


def _cleaned(values: np.ndarray, what: str) -> tuple[np.ndarray, np.ndarray]:
    """Places with NaN where a joint was not found, and confidences: a joint is missing where it is NaN, in the corner
    (0, 0), at (-1, -1), or has no confidence.
    """
    xy, confidence = values[..., :2], values[..., 2]
    if np.isinf(values).any() or (np.abs(np.nan_to_num(xy)) > _LARGEST_PX).any():
        row = int((np.isinf(values) | (np.abs(np.nan_to_num(values)) > _LARGEST_PX)).any((1, 2)).argmax())
        raise FileFormatError(f"{what}: person {row} has a joint at infinity or beyond {_LARGEST_PX:,.0f} pixels")
    sure = np.nan_to_num(confidence, nan=0.0)
    missing = ~np.isfinite(xy).all(-1) | (xy == 0).all(-1) | (xy == -1).all(-1) | (sure <= 0)
    places = np.where(missing[..., None], np.nan, xy).astype(np.float32)
    return places, np.where(missing, 0.0, sure.clip(0, 1)).astype(np.float32)
