"""Video files, decoded frame by frame with PyAV (the extra `video`): one frame is in memory at a time."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import IO, Any

import numpy as np
from jaxtyping import UInt8

from dg.files.atomic import replace_file
from dg.files.errors import FileFormatError
from dg.files.plain_text import one_line
from dg.images.reading import LARGEST_PIXELS, SMALLEST_SIDE
from dg.settings.errors import OptionError

SUFFIXES = (".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".ts", ".wmv")
_DEFAULT_FPS = 30.0
_CODECS = ("libx264", "libopenh264", "mpeg4")
_QUARTER = 90
_WHOLE = 0.95  # share of the frames that a file tells of which make it a whole one: what it tells is not always exact


class VideoError(FileFormatError):
    """A video that is missing or cannot be read. The message names the file and the reason."""


@dataclass(frozen=True)
class VideoFrame:
    """number: place in time at the video's rate; a number that is left out is a frame that the file lacks."""

    number: int
    rgb: UInt8[np.ndarray, "height width 3"]


def is_video(path: Path) -> bool:
    """Whether a path is one of a video by its suffix; a folder never is."""
    return path.suffix.lower() in SUFFIXES and not path.is_dir()


class Video:
    """A video file.

    Args:
        path: of the file.

    Attributes:
        fps: frames per second.
        expected: number of frames that the file tells of; 0 where it does not.

    Raises:
        VideoError: for a file that is missing, or holds no video that can be read.
        OptionError: where PyAV is not installed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            raise VideoError(f"{path}: no such video")
        self.stopped = ""  # why decoding ended before the file did
        with _opened(path) as container:
            stream = _stream(container, path)
            width, height = stream.codec_context.width, stream.codec_context.height
            if not (min(width, height) >= SMALLEST_SIDE and width * height <= LARGEST_PIXELS):
                raise VideoError(f"{path}: frames of {width} x {height} pixels cannot be read")
            self.fps = float(stream.average_rate or stream.guessed_rate or _DEFAULT_FPS)
            self.expected = int(stream.frames) or round(_seconds(container, stream) * self.fps)

    def frames(self) -> Iterator[VideoFrame]:
        """The frames in order, upright. A file that is damaged or cut after its first frame ends there; see `stopped`.

        Raises:
            VideoError: where not even the first frame can be read.
        """
        last = -1
        with _opened(self.path) as container:
            stream = _stream(container, self.path)
            start: float | None = None
            try:
                for frame in container.decode(stream):
                    time = float(frame.pts * stream.time_base) if frame.pts is not None else None
                    start = time if start is None else start
                    number = last + 1 if time is None or start is None else round((time - start) * self.fps)
                    last = max(number, last + 1)
                    yield VideoFrame(last, _upright(frame))
            except _errors() as error:
                self.stopped = f"decoding ended after frame {last}: {one_line(error)}"
                if last < 0:
                    raise VideoError(f"{self.path}: no frame can be read: {one_line(error)}") from error
        if last < 0:
            raise VideoError(f"{self.path}: it holds no frames")
        if not self.stopped and last + 1 < _WHOLE * self.expected - 2:
            self.stopped = f"decoding ended after frame {last} of {self.expected} that the file tells of"


def write_video(path: Path, pictures: Iterator[UInt8[np.ndarray, "height width 3"]], fps: float) -> None:
    """Write pictures as an MP4 file, whole or not at all.

    Args:
        path: of the file.
        pictures: RGB, all of one size; an odd last row or column is left out, as the codecs want.
        fps: frames per second.
    """
    av = _av()

    def write(file: IO[bytes]) -> None:
        with av.open(file, "w", format="mp4") as container:
            stream: Any = None
            for picture in pictures:
                even = np.ascontiguousarray(picture[: picture.shape[0] // 2 * 2, : picture.shape[1] // 2 * 2])
                if stream is None:
                    codec = next((name for name in _CODECS if name in av.codecs_available), _CODECS[-1])
                    stream = container.add_stream(codec, rate=Fraction(fps).limit_denominator(1001))
                    stream.height, stream.width = even.shape[:2]
                    stream.pix_fmt = "yuv420p"
                container.mux(stream.encode(av.VideoFrame.from_ndarray(even, format="rgb24")))
            if stream is not None:
                container.mux(stream.encode())

    replace_file(path, write)


def _av() -> Any:  # noqa: ANN401 - an extra
    try:
        import av
        import av.logging
    except ImportError as error:
        raise OptionError("video needs PyAV: pip install -c constraints.txt -e '.[video]'") from error
    av.logging.set_level(av.logging.PANIC)
    return av


def _errors() -> tuple[type[Exception], ...]:
    return (_av().FFmpegError, ValueError)


def _opened(path: Path) -> Any:  # noqa: ANN401
    try:
        return _av().open(str(path))
    except _errors() as error:
        raise VideoError(f"{path}: expected a video, but it cannot be read: {one_line(error)}") from error


def _stream(container: Any, path: Path) -> Any:  # noqa: ANN401
    if not container.streams.video:
        raise VideoError(f"{path}: it holds no video, only {[s.type for s in container.streams]}")
    stream = container.streams.video[0]
    stream.thread_type = "AUTO"
    return stream


def _seconds(container: Any, stream: Any) -> float:  # noqa: ANN401
    """How long the file says that its video is; 0 where it does not."""
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return (container.duration or 0) / _av().time_base


def _upright(frame: Any) -> UInt8[np.ndarray, "height width 3"]:  # noqa: ANN401
    rgb = frame.to_ndarray(format="rgb24")
    turns = round(getattr(frame, "rotation", 0) / _QUARTER) % 4
    return np.ascontiguousarray(np.rot90(rgb, turns))
