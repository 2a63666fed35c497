"""Our own archives: `joints_2d` [rows, J, 2] in pixels, or `pose2d` [rows, 17, 2] divided by the longer image side.

May be there too: `confidence` [rows, J] in [0, 1], `skeleton` (a name; without it 17 joints are Human3.6M's and 16 are
these without the neck), `size` or `res` [rows, 2] or [2] px, `image` [rows] names (rows of one name are the people of
an image; without it every row is a frame), `track` [rows], `clip` [rows] and `fps`. With `clip`, or without `image`,
rows follow each other in time.
"""

from typing import Any

import numpy as np

from dg.files.errors import FileFormatError
from dg.files.safe_load import load_npz
from dg.images.keypoint_formats.base import FoundPeople, Frames, KeypointFormat, Rows, frames_of, triples_of
from dg.images.keypoint_formats.content import Content
from dg.images.settings import MOST_FPS
from dg.pose.skeleton import H36M_16, H36M_17, SKELETONS, Skeleton

_PLACES = ("joints_2d", "pose2d")
_MORE = ("confidence", "skeleton", "size", "res", "image", "track", "clip", "fps")
_BY_COUNT = {len(H36M_17): H36M_17, len(H36M_16): H36M_16}


class Npz(KeypointFormat):
    """See the module's docstring."""

    title = "an archive of our own"
    expected = "an archive of joints_2d in pixels, or pose2d"

    @classmethod
    def recognises(cls, content: Content) -> bool:
        """Whether it is an archive with one of the two arrays."""
        return not content.is_folder and any(name in content.arrays for name in _PLACES)

    @classmethod
    def parse(cls, content: Content) -> FoundPeople:
        """Read the people, one a row."""
        what = str(content.path)
        arrays = load_npz(content.files[0], wanted=(*_PLACES, *_MORE))
        name = next(n for n in _PLACES if n in arrays)
        joints = arrays[name]
        if joints.ndim != 3 or joints.shape[2] != 2 or joints.dtype.kind not in "fiu":
            raise FileFormatError(f"{what}: {name}: expected numbers [rows, joints, 2], got {list(joints.shape)}")
        skeleton = _skeleton(arrays, joints.shape[1], what)
        confidence = _checked(arrays, "confidence", joints.shape[:2], what)
        track = _checked(arrays, "track", joints.shape[:1], what)
        frames, frame = _frames(arrays, len(joints), what)
        rows = Rows()
        for row, places in enumerate(joints):
            sure = None if confidence is None else confidence[row]
            rows.add(int(frame[row]), triples_of(places, sure), None if track is None else int(track[row]))
        unit = "px" if name == "joints_2d" else "longer"
        return rows.people(f"npz: {name}, {skeleton.name}", skeleton, frames, what, unit=unit)


def _frames(arrays: dict[str, np.ndarray], rows: int, what: str) -> tuple[Frames, np.ndarray]:
    sizes = _sizes(arrays, rows, what)
    clip = _numbered(_checked(arrays, "clip", (rows,), what, kinds="fiuUS"), rows)
    fps = float(arrays["fps"]) if "fps" in arrays and arrays["fps"].ndim == 0 else 0.0
    if not 0 <= fps <= MOST_FPS:
        raise FileFormatError(f"{what}: expected fps of 0 (unknown) to {MOST_FPS:g}, got {fps:g}")
    image = _checked(arrays, "image", (rows,), what, kinds="US")
    if image is None:
        numbers = np.arange(rows) - np.unique(clip, return_index=True)[1][clip]
        names = [str(row) for row in range(rows)]
        return frames_of(names, numbers.tolist(), sizes, clip.tolist(), fps, in_time=True), np.arange(rows)
    texts = (np.char.decode(image, "utf-8") if image.dtype.kind == "S" else image).tolist()
    first = {name: row for row, name in reversed(list(enumerate(texts)))}
    names = list(dict.fromkeys(texts))
    kept = [first[name] for name in names]
    number = {name: row for row, name in enumerate(names)}
    frame = np.array([number[name] for name in texts])
    own = None if sizes is None else [sizes[row] for row in kept]
    return frames_of(names, None, own, clip[kept].tolist(), fps, in_time="clip" in arrays), frame


def _numbered(values: np.ndarray | None, rows: int) -> np.ndarray:
    """Clips numbered in the order in which they come."""
    if values is None:
        return np.zeros(rows, np.int64)
    number = {value: row for row, value in enumerate(dict.fromkeys(values.tolist()))}
    return np.array([number[value] for value in values.tolist()], np.int64)


def _sizes(arrays: dict[str, np.ndarray], rows: int, what: str) -> list[tuple[float, float] | None] | None:
    name = next((n for n in ("size", "res") if n in arrays), None)
    if name is None:
        return None
    size = arrays[name]
    if size.shape not in ((2,), (rows, 2)) or size.dtype.kind not in "fiu" or not (size > 0).all():
        raise FileFormatError(f"{what}: {name}: expected [2] or [{rows}, 2] pixels above 0, got {list(size.shape)}")
    return [(float(w), float(h)) for w, h in np.broadcast_to(size, (rows, 2))]


def _checked(arrays: dict[str, np.ndarray], name: str, shape: tuple[int, ...], what: str, kinds: str = "fiu") -> Any:  # noqa: ANN401 - an array or None
    if name not in arrays:
        return None
    if arrays[name].shape != shape or arrays[name].dtype.kind not in kinds:
        raise FileFormatError(f"{what}: {name}: expected shape {list(shape)}, got {list(arrays[name].shape)}")
    return arrays[name]


def _skeleton(arrays: dict[str, np.ndarray], joints: int, what: str) -> Skeleton:
    if "skeleton" in arrays:
        name = str(arrays["skeleton"])
        if name not in SKELETONS:
            raise FileFormatError(f"{what}: skeleton: expected one of {sorted(SKELETONS)}, got {name!r}")
        if len(SKELETONS[name]) != joints:
            raise FileFormatError(f"{what}: expected {len(SKELETONS[name])} joints ({name}), got {joints}")
        return SKELETONS[name]
    if joints not in _BY_COUNT:
        raise FileFormatError(f"{what}: {joints} joints: expected {sorted(_BY_COUNT)}, or a name in `skeleton`")
    return _BY_COUNT[joints]
