"""Ultralytics' pose results: `result.to_json()` of an image, a list of these for a video, or a folder of label files.

JSON: people with `box` and `keypoints` (`x`, `y`, `visible`) in pixels, `track_id` from its tracker. Label files
(`save_txt=True`), one an image: `class cx cy w h` and x, y, confidence of each joint, in shares of width and height,
then the box's score and the track number where they were written.
"""

import json
import math
from pathlib import Path
from typing import Any

from dg.files.reading import read_whole
from dg.images.keypoint_formats.base import FoundPeople, KeypointFormat, Rows, frames_of, triples_of
from dg.images.keypoint_formats.content import TEXT, Content
from dg.images.keypoint_formats.frame_names import frame_number
from dg.pose.skeleton import COCO_17

_BOX = 5  # class and box before the joints
_NUMBERS = _BOX + 3 * len(COCO_17)


class Ultralytics(KeypointFormat):
    """See the module's docstring."""

    title = "Ultralytics"
    expected = "[{name, box, keypoints: {x, y, visible}}], or label files of class, box and joints"

    @classmethod
    def recognises(cls, content: Content) -> bool:
        """Whether it has Ultralytics' people or label lines."""
        if content.kind == TEXT:
            lines = [line for file in content.files[:50] for line in _lines(file)[:1]]
            return bool(lines) and all(_NUMBERS <= len(line.split()) <= _NUMBERS + 2 for line in lines)
        return not content.is_folder and any(_is_person(p) for frame in _frames(content.first) for p in frame[:1])

    @classmethod
    def parse(cls, content: Content) -> FoundPeople:
        """Read the people of an image, of several, or of label files."""
        what = str(content.path)
        return _labels(content, what) if content.kind == TEXT else _results(content, what)


def _results(content: Content, what: str) -> FoundPeople:
    frames, rows = _frames(content.first), Rows()
    for row, people in enumerate(frames):
        for person in people:
            points = person["keypoints"]
            xy = [[x, y] for x, y in zip(points["x"], points["y"], strict=True)]
            rows.add(row, triples_of(xy, points.get("visible")), person.get("track_id"))
    single = len(frames) == 1
    names = [content.path.stem] if single else [str(row) for row in range(len(frames))]
    return rows.people("Ultralytics: results", COCO_17, frames_of(names, in_time=not single), what)


def _labels(content: Content, what: str) -> FoundPeople:
    rows = Rows()
    for row, file in enumerate(content.files):
        for line in _lines(file):
            values = [float(word) for word in line.split()]
            rest = values[_NUMBERS:]
            # A track number is written last, as a whole number; a score alone lies in [0, 1].
            tracked = len(rest) == 2 or (len(rest) == 1 and rest[0] >= 1 and rest[0] == math.floor(rest[0]))
            rows.add(row, values[_BOX:_NUMBERS], rest[-1] if tracked else None)
    names = [file.stem for file in content.files]
    in_time = any(track >= 0 for track in rows.track)
    numbers = [frame_number(name)[0] if in_time else row for row, name in enumerate(names)]
    frames = frames_of(names, numbers, in_time=in_time)
    return rows.people("Ultralytics: label files", COCO_17, frames, what, unit="share")


def _lines(file: Path) -> list[str]:
    return [line for line in read_whole(file).decode(errors="replace").splitlines() if line.strip()]


def _frames(tree: Any) -> list[list[Any]]:  # noqa: ANN401
    """The people of each frame; a frame may be a text that holds JSON, as `to_json` returns it."""
    if not isinstance(tree, list) or not tree:
        return []
    if isinstance(tree[0], dict):
        return [tree]
    return [found for frame in tree if isinstance(found := _parsed(frame), list)]


def _parsed(frame: Any) -> Any:  # noqa: ANN401
    try:
        return json.loads(frame) if isinstance(frame, str) else frame
    except (ValueError, RecursionError):
        return None


def _is_person(person: Any) -> bool:  # noqa: ANN401
    points = person.get("keypoints") if isinstance(person, dict) else None
    return isinstance(points, dict) and {"x", "y"} <= set(points)
