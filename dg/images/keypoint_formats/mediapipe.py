"""MediaPipe's 33 pose landmarks. It defines no file; these are what people make of its results with `json.dump`.

* `pose_landmarks`: people of 33 landmarks `{x, y, z, visibility}`, in shares of width and height; a list of such
  objects, or of people, is a video;
* `people` with `landmarks` of `[x, y, z, visibility]` in pixels, with the image's `width` and `height` beside them.

MediaPipe's z and its own 3D are not used.
"""

from typing import Any

import numpy as np

from dg.images.keypoint_formats.base import FoundPeople, KeypointFormat, Rows, frames_of
from dg.images.keypoint_formats.content import Content
from dg.pose.skeleton import MEDIAPIPE_33

_SHARE = 4.0  # landmarks beyond the image lie at a few times its size; pixels are larger


class MediaPipe(KeypointFormat):
    """See the module's docstring."""

    title = "MediaPipe, 33 landmarks"
    expected = "{pose_landmarks: [33 of {x, y, visibility}]}, or {people: [{landmarks: 33 of [x, y, z, visibility]}]}"

    @classmethod
    def recognises(cls, content: Content) -> bool:
        """Whether 33 landmarks are found."""
        return not content.is_folder and any(_people(frame) for frame in _frames(content.first)[:50])

    @classmethod
    def parse(cls, content: Content) -> FoundPeople:
        """Read the people of an image or of a video."""
        what = str(content.path)
        frames, rows = _frames(content.first), Rows()
        for row, frame in enumerate(frames):
            for person in _people(frame):
                rows.add(row, [_triple(landmark) for landmark in person])
        sizes = [_size(frame) or _size(content.first) for frame in frames]
        names = [_name(frame, content, row, len(frames)) for row, frame in enumerate(frames)]
        found = rows.people(cls.title, MEDIAPIPE_33, frames_of(names, sizes=sizes, in_time=len(frames) > 1), what)
        shares = len(found) and float(np.nanmax(np.abs(found.joints_2d), initial=0)) <= _SHARE
        return FoundPeople(**{**vars(found), "unit": "share"}) if shares else found


def _frames(tree: Any) -> list[Any]:  # noqa: ANN401
    if isinstance(tree, dict) and isinstance(tree.get("frames"), list):
        return tree["frames"]
    if isinstance(tree, list) and not _is_person(tree) and not (tree and _is_person(tree[0]) and len(tree) == 1):
        return tree
    return [tree]


def _people(frame: Any) -> list[Any]:  # noqa: ANN401
    """The people of a frame, 33 landmarks each."""
    if isinstance(frame, dict):
        people = next((frame[key] for key in ("pose_landmarks", "people", "landmarks") if frame.get(key)), None)
        people = people if isinstance(people, list) else []
        people = [p["landmarks"] if isinstance(p, dict) and "landmarks" in p else p for p in people]
        return [people] if _is_person(people) else [p for p in people if _is_person(p)]
    if _is_person(frame):
        return [frame]
    return [p for p in frame if _is_person(p)] if isinstance(frame, list) else []


def _is_person(person: Any) -> bool:  # noqa: ANN401
    if not isinstance(person, list) or len(person) != len(MEDIAPIPE_33):
        return False
    first = person[0]
    return (isinstance(first, dict) and {"x", "y"} <= set(first)) or (
        isinstance(first, list) and len(first) in (3, 4, 5)
    )


def _triple(landmark: Any) -> list[Any]:  # noqa: ANN401
    if isinstance(landmark, dict):
        return [landmark["x"], landmark["y"], landmark.get("visibility", landmark.get("presence", 1.0))]
    return [landmark[0], landmark[1], landmark[3] if len(landmark) > 3 else 1.0]


def _size(tree: Any) -> tuple[float, float] | None:  # noqa: ANN401
    if isinstance(tree, dict) and {"width", "height"} <= set(tree):
        return float(tree["width"]), float(tree["height"])
    return None


def _name(frame: Any, content: Content, row: int, count: int) -> str:  # noqa: ANN401
    if isinstance(frame, dict):
        named = next((frame[key] for key in ("image", "file_name", "name") if isinstance(frame.get(key), str)), "")
        if named:
            return named
    return content.path.stem if count == 1 else str(row)
