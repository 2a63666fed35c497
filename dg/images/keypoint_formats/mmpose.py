"""MMPose's and RTMLib's predictions: people as `keypoints` [joints, 2] in pixels and `keypoint_scores` [joints].

A file is a list of people (an image), a list of `frame_id` and `instances` (a video), or `meta_info` and
`instance_info` (MMPose's demos); a folder holds a file an image. 17 joints are COCO's, 26 Halpe's; 133 (whole body)
begin with COCO's 17. RTMLib returns arrays; saved as `keypoints` and `scores` in an archive, [people, joints, 2] is one
image and [frames, people, joints, 2] a video.
"""

from typing import Any

import numpy as np

from dg.files.safe_load import load_npz
from dg.images.keypoint_formats.base import FoundPeople, KeypointFormat, Rows, frames_of, skeleton_by_count, triples_of
from dg.images.keypoint_formats.content import NPZ, Content
from dg.pose.skeleton import COCO_17, HALPE_26

_BY_COUNT = {17: (COCO_17, "COCO's 17 joints"), 26: (HALPE_26, "Halpe's 26 joints"), 133: (COCO_17, "17 of 133 joints")}
_FILES, _PERSON = {"keypoints", "scores"}, {"keypoints", "keypoint_scores"}


class MMPose(KeypointFormat):
    """See the module's docstring."""

    title = "MMPose / RTMLib"
    expected = "[{keypoints: [[x, y], ...], keypoint_scores}], or [{frame_id, instances}]"

    @classmethod
    def recognises(cls, content: Content) -> bool:
        """Whether people have keypoints and scores apart."""
        if content.kind == NPZ:
            return not content.is_folder and set(content.arrays) >= _FILES
        person = _first_person(content.first)
        return (isinstance(person, dict) and set(person) >= _PERSON) or _is_video(content.first)

    @classmethod
    def parse(cls, content: Content) -> FoundPeople:
        """Read the people of an image, of a folder of images, or of a video."""
        what = str(content.path)
        if content.kind == NPZ:
            frames, names, in_time = _arrays(content), [content.path.stem], False
            in_time = len(frames) > 1
        elif content.is_folder:
            frames = [people for file in content.files for people in _frames(content.tree(file))[:1]]
            names, in_time = [file.stem for file in content.files], False
        else:
            frames, names = _frames(content.first), [content.path.stem]
            in_time = _is_video(content.first)
        return _found(frames, names, in_time, what)


def _found(frames: list[tuple[int, list[Any]]], names: list[str], in_time: bool, what: str) -> FoundPeople:
    joints = next((len(p["keypoints"]) for _, people in frames for p in people), len(COCO_17))
    skeleton, words = skeleton_by_count(joints, _BY_COUNT, what)
    rows = Rows()
    for row, (_, people) in enumerate(frames):
        for person in people:
            triples = triples_of(person["keypoints"], person.get("keypoint_scores"))
            rows.add(row, triples[: len(skeleton)], person.get("track_id"))
    numbers = [number for number, _ in frames] if in_time else list(range(len(frames)))
    called = names if len(names) == len(frames) else [str(number) for number in numbers]
    return rows.people(f"MMPose / RTMLib: {words}", skeleton, frames_of(called, numbers, in_time=in_time), what)


def _frames(tree: Any) -> list[tuple[int, list[Any]]]:  # noqa: ANN401
    """Number and people of each frame."""
    if isinstance(tree, dict):
        tree = tree["instance_info"] if "instance_info" in tree else tree["predictions"][0]
    if _is_video(tree):
        return [(int(frame["frame_id"]), frame["instances"]) for frame in tree]
    return [(0, tree)]


def _arrays(content: Content) -> list[tuple[int, list[Any]]]:
    arrays = load_npz(content.files[0], wanted=_FILES)
    places, scores = arrays["keypoints"], arrays["scores"]
    if places.ndim == 3:
        places, scores = places[None], scores[None]
    if places.ndim != 4 or places.shape[-1] != 2 or scores.shape != places.shape[:-1]:
        raise ValueError(f"keypoints of shape {list(places.shape)} and scores of shape {list(scores.shape)}")
    return [
        (row, [{"keypoints": p, "keypoint_scores": s} for p, s in zip(*frame, strict=True) if np.any(s > 0)])
        for row, frame in enumerate(zip(places, scores, strict=True))
    ]


def _first_person(tree: Any) -> Any:  # noqa: ANN401
    if isinstance(tree, dict):
        found = tree.get("predictions")
        tree = found[0] if isinstance(found, list) and found else tree.get("instance_info")
    return tree[0] if isinstance(tree, list) and tree else None


def _is_video(tree: Any) -> bool:  # noqa: ANN401
    if isinstance(tree, dict):
        tree = tree.get("instance_info")
    first = tree[0] if isinstance(tree, list) and tree else None
    return isinstance(first, dict) and {"frame_id", "instances"} <= set(first)
