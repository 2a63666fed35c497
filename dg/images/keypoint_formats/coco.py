"""COCO keypoints: a file of annotations, or a list of results as COCO's evaluation takes it.

Annotations: `images` (`id`, `file_name`, `width`, `height`) and `annotations` (`image_id`, `keypoints`); the third
number of a joint is a flag, 0 missing, 1 hidden, 2 visible. Results: a list of `image_id` (a number), `keypoints`,
`score`; the third number is a confidence. 133 joints (COCO-WholeBody) begin with COCO's 17.
"""

from typing import Any

import numpy as np

from dg.files.errors import FileFormatError
from dg.files.plain_text import one_line
from dg.images.keypoint_formats.base import FoundPeople, KeypointFormat, Rows, frames_of
from dg.images.keypoint_formats.content import Content
from dg.pose.skeleton import COCO_17

_WHOLE_BODY = 133


class Coco(KeypointFormat):
    """See the module's docstring."""

    title = "COCO keypoints"
    expected = "{images, annotations: [{image_id, keypoints}]}, or [{image_id: NUMBER, keypoints, score}]"

    @classmethod
    def recognises(cls, content: Content) -> bool:
        """Whether it is one file of annotations or results."""
        if content.is_folder:
            return False
        tree = content.first
        if isinstance(tree, dict):
            return isinstance(tree.get("images"), list) and isinstance(tree.get("annotations"), list)
        first = tree[0] if isinstance(tree, list) and tree else None
        if not isinstance(first, dict):
            return False
        return isinstance(first.get("image_id"), int) and isinstance(first.get("keypoints"), list)

    @classmethod
    def parse(cls, content: Content) -> FoundPeople:
        """Read the people; images without people are frames, too."""
        tree, what = content.first, str(content.path)
        return _annotations(tree, what) if isinstance(tree, dict) else _results(tree, what)


def _annotations(tree: dict[str, Any], what: str) -> FoundPeople:
    images = tree["images"]
    row_of = {image["id"]: row for row, image in enumerate(images)}
    sizes = [(i["width"], i["height"]) if {"width", "height"} <= set(i) else None for i in images]
    rows = Rows()
    for number, person in enumerate(tree["annotations"]):
        if person["image_id"] not in row_of:
            raise FileFormatError(
                f"{what}: annotation {one_line(person.get('id', number))} is of image "
                f"{one_line(person['image_id'])}, which `images` does not list"
            )
        if person.get("keypoints") and any(person["keypoints"][2::3]):
            rows.add(row_of[person["image_id"]], person["keypoints"][: _length(person)], person.get("track_id"))
    names = [str(i.get("file_name", i["id"])) for i in images]
    return rows.people("COCO keypoints: annotations", COCO_17, frames_of(names, sizes=sizes), what)


def _results(tree: list[dict[str, Any]], what: str) -> FoundPeople:
    numbers = sorted({person["image_id"] for person in tree})
    row_of = {number: row for row, number in enumerate(numbers)}
    rows = Rows()
    for person in tree:
        rows.add(row_of[person["image_id"]], person["keypoints"][: _length(person)], person.get("track_id"))
    names = [str(number) for number in numbers]
    return rows.people("COCO keypoints: results", COCO_17, frames_of(names, np.asarray(numbers).tolist()), what)


def _length(person: dict[str, Any]) -> int | None:
    return 3 * len(COCO_17) if len(person["keypoints"]) == 3 * _WHOLE_BODY else None
