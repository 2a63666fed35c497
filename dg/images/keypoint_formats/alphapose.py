"""AlphaPose: one list of people over all images, `image_id` the image's name.

Each has `keypoints` of COCO's 17 or Halpe's 26 joints (136: Halpe's full body, which begins with these 26), `score`
(no share: it may exceed 1, and is left out) and, from its tracker, `idx`.
"""

from dg.images.keypoint_formats.base import FoundPeople, KeypointFormat, Rows, frames_of, skeleton_by_count
from dg.images.keypoint_formats.content import Content
from dg.images.keypoint_formats.frame_names import frame_number
from dg.pose.skeleton import COCO_17, HALPE_26

_BY_COUNT = {17: (COCO_17, "COCO's 17 joints"), 26: (HALPE_26, "Halpe's 26 joints"), 136: (HALPE_26, "Halpe's 136")}


class AlphaPose(KeypointFormat):
    """See the module's docstring."""

    title = "AlphaPose"
    expected = "[{image_id: NAME, keypoints, score, box}]"

    @classmethod
    def recognises(cls, content: Content) -> bool:
        """Whether it is a list of people with the names of their images."""
        tree = content.first
        first = tree[0] if not content.is_folder and isinstance(tree, list) and tree else None
        if not isinstance(first, dict):
            return False
        return isinstance(first.get("image_id"), str) and isinstance(first.get("keypoints"), list)

    @classmethod
    def parse(cls, content: Content) -> FoundPeople:
        """Read the people; frames are in the order of their names."""
        people, what = content.first, str(content.path)
        names = sorted({str(person["image_id"]) for person in people}, key=frame_number)
        counts = [len(person["keypoints"]) // 3 for person in people]
        skeleton, words = skeleton_by_count(counts[0], _BY_COUNT, what)
        row_of = {name: row for row, name in enumerate(names)}
        rows = Rows()
        for person in people:
            kept = person["keypoints"][: 3 * len(skeleton)]
            rows.add(row_of[str(person["image_id"])], kept, person.get("idx"))
        in_time = len(names) > 1 and any("idx" in person for person in people)
        places = [frame_number(name)[0] for name in names]
        numbers = places if in_time and len(set(places)) == len(places) and min(places) >= 0 else None
        return rows.people(f"AlphaPose: {words}", skeleton, frames_of(names, numbers, in_time=in_time), what)
