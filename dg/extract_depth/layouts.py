"""Where data sets keep their frames, and what keypoint files call them.

To add a layout: one line in `PATTERNS` and `EXAMPLES`, and its name in `settings.Layout`.

A frame's name is its path below `images=` with `/`, or the short name of its data set:

| layout | files below `images=` | a frame is called |
|---|---|---|
| `folder` | any | `a/b.jpg` |
| `mpi_inf_3dhp` | `TS1/imageSequence/img_000001.jpg` | the same |
| `mpi_inf_3dhp_train` | `S1/Seq1/imageFrames/video_0/frame_000001.jpg` (SPIN's), or without `imageFrames` | `S1/Seq1/video_0/000001` |
| `pw3d` | `imageFiles/SEQUENCE/image_00000.jpg`, or from the folder `imageFiles` on | `SEQUENCE/image_00000.jpg` |
| `h36m` | `S9/S9_Directions_1.54138969/S9_Directions_1.54138969_000001.jpg` (MMPose's), or `S9/Directions-1/imageSequence/54138969/img_000001.jpg` (of the `h36m-fetch` scripts) | `S9/Directions 1.54138969/000001` |
| `fit3d` | `s03/images/50591643/band_pull_apart/000001.jpg` | `s03/50591643/band_pull_apart/000001` |

Data sets call the frames of their rows so, too: those of Human3.6M, Fit3D and MPI-INF-3DHP count from 1, as whoever
cuts their videos counts, and those of 3DPW from 0, as its files do. Human3.6M and Fit3D are published as videos, so their frames lie as whoever cut them chose: other layouts work as
`folder`. A file that does not fit its layout is no frame. The first two layouts are the data sets' own.
"""  # noqa: E501 - rows of a table

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from dg.datasets.base import DataError
from dg.extract_depth.settings import Layout
from dg.images.reading import find_images

# One group is the frame's name, of several the last is its number.
PATTERNS: dict[Layout, list[re.Pattern[str]]] = {
    "folder": [re.compile(r"(?s)(.*)")],
    "mpi_inf_3dhp": [re.compile(r"(?:.*/)?(TS[1-6]/imageSequence/[^/]+)")],
    "mpi_inf_3dhp_train": [re.compile(r"(?:.*/)?(S[1-8]/Seq[12])/(?:\w+/)?(video_\d+)/(?:frame_|img_)?(\d+)\.\w+")],
    "pw3d": [re.compile(r"(?:(?:.*/)?imageFiles/)?([^/]+/image_\d+\.\w+)")],
    "h36m": [
        re.compile(r"(?:.*/)?(S\d+)_([^/]+)\.(\d{8})/\1_\2\.\3_(\d+)\.\w+"),
        re.compile(r"(?:.*/)?(S\d+)/([^/]+)/imageSequence/(\d{8})/img_(\d+)\.\w+"),
    ],
    "fit3d": [re.compile(r"(?:.*/)?(s\d+)/(?:images|videos|imageSequence)/(\d{8})/([^/]+)/(?:\w*_)?(\d+)\.\w+")],
}
# Human3.6M's own names of actions that VideoPose3D's files (`Directions 1`) spell otherwise.
_RENAMED = {"TakingPhoto": "Photo", "WalkingDog": "WalkDog"}


@dataclass(frozen=True)
class Frame:
    """An image: its short name, its path below the root, and the file."""

    name: str
    relative: str
    path: Path


def find_frames(root: Path, layout: Layout) -> list[Frame]:
    """The frames below a folder, in the order of `find_images`.

    Args:
        root: the folder, or one image.
        layout: how the folder is laid out.

    Raises:
        DataError: where there is no frame, or where two have one name.
    """
    frames, at = [], root if root.is_dir() else root.parent
    for path in find_images(root):
        relative = PurePosixPath(path.relative_to(at)).as_posix()
        name = frame_name(relative, layout)
        if name is not None:
            frames.append(Frame(name, relative, path))
    if not frames:
        raise DataError(f"{root}: no frame of layout={layout} below it; expected files such as {EXAMPLES[layout]}")
    first: dict[str, str] = {}
    for frame in frames:
        other = first.setdefault(frame.name, frame.relative)
        if other != frame.relative:
            raise DataError(f"{root}: {other} and {frame.relative} are both the frame {frame.name!r}; leave one out")
    return frames


def by_any_name(frames: list[Frame]) -> Mapping[str, int]:
    """Number of the frame by its short name or by its path below the root."""
    numbers = {frame.relative: number for number, frame in enumerate(frames)}
    return numbers | {frame.name: number for number, frame in enumerate(frames)}


def frame_name(relative: str, layout: Layout) -> str | None:
    """The name of a frame, None for a file that does not fit the layout.

    Args:
        relative: the file's path below the root, with `/`.
        layout: how the folder is laid out.
    """
    found = next((match for pattern in PATTERNS[layout] if (match := pattern.fullmatch(relative))), None)
    if found is None:
        return None
    *parts, last = found.groups()
    if layout == "h36m":
        subject, action, camera = parts
        for original, theirs in _RENAMED.items():
            action = action.replace(original, theirs)
        parts = [subject, f"{re.sub(r'[-_](?=[0-9]+$)', ' ', action)}.{camera}"]
    return "/".join([*parts, f"{int(last):06d}"]) if parts else last


EXAMPLES: dict[Layout, str] = {
    "folder": "a/b.jpg",
    "mpi_inf_3dhp": "TS1/imageSequence/img_000001.jpg",
    "mpi_inf_3dhp_train": "S1/Seq1/imageFrames/video_0/frame_000001.jpg",
    "pw3d": "imageFiles/downtown_walking_00/image_00000.jpg",
    "h36m": "S9/S9_Directions_1.54138969/S9_Directions_1.54138969_000001.jpg",
    "fit3d": "s03/images/50591643/band_pull_apart/000001.jpg",
}
