"""OpenPose: a folder of `NAME_000000000012_keypoints.json`, one a frame, or one such file.

Each holds `people`, with `pose_keypoints_2d` of BODY_25 (75 numbers) or COCO (54), x, y and confidence in turn, in
pixels unless OpenPose was run with another `--keypoint_scale`. The names' common part is a clip.
"""

import re

from dg.files.errors import FileFormatError
from dg.images.keypoint_formats.base import FoundPeople, KeypointFormat, Rows, frames_of, skeleton_by_count
from dg.images.keypoint_formats.content import Content
from dg.pose.skeleton import BODY_25, OPENPOSE_18

_NAME = re.compile(r"(.*?)_?(\d+)_keypoints$")
_KEYS = ("pose_keypoints_2d", "pose_keypoints")
_BY_COUNT = {25: (BODY_25, "BODY_25"), 18: (OPENPOSE_18, "COCO, 18 joints")}


class OpenPose(KeypointFormat):
    """See the module's docstring."""

    title = "OpenPose"
    expected = "a folder of files {people: [{pose_keypoints_2d}]}"

    @classmethod
    def recognises(cls, content: Content) -> bool:
        """Whether its first file has OpenPose's people."""
        tree = content.first
        people = tree.get("people") if isinstance(tree, dict) else None
        if not isinstance(people, list):
            return False
        if not people:  # a frame without people
            return "version" in tree
        return isinstance(people[0], dict) and any(key in people[0] for key in _KEYS)

    @classmethod
    def parse(cls, content: Content) -> FoundPeople:
        """Read the people of all frames."""
        rows, names, numbers, clips, counts = Rows(), [], [], [], set()
        clip_of: dict[str, int] = {}
        for row, file in enumerate(content.files):
            named = _NAME.match(file.stem)
            clip, number = (named[1], int(named[2])) if named else ("", row)
            names.append(file.name)
            numbers.append(number)
            clips.append(clip_of.setdefault(clip, len(clip_of)))
            for person in content.tree(file)["people"]:
                values = next(person[key] for key in _KEYS if key in person)
                counts.add(len(values) // 3)
                rows.add(row, values, person.get("person_id"))
        skeleton, words = skeleton_by_count(max(counts, default=25), _BY_COUNT, str(content.path))
        frames = frames_of(names, numbers, clip=clips, in_time=len(content.files) > 1)
        found = rows.people(f"OpenPose: {words}", skeleton, frames, str(content.path))
        if len(found) and float(abs(found.joints_2d[found.confidence > 0]).max(initial=0)) <= 1:
            raise FileFormatError(
                f"{content.path}: its joints lie between -1 and 1, as OpenPose writes them with --keypoint_scale 3 or "
                "4; expected pixels (--keypoint_scale 0)"
            )
        return found
