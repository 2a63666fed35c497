"""VideoPose3D's `data_2d_custom_NAME.npz`, which its script makes of Detectron2's results.

`positions_2d`: {video: {"custom": [array [frames, joints, 2] in pixels]}}; `metadata`: `layout_name` (`coco` for 17
joints), `video_metadata` {video: {"w", "h"}}. One person a video; its script has drawn missing frames between their
neighbours, so none is missing here.
"""

from typing import Any

import numpy as np

from dg.files.errors import FileFormatError
from dg.files.plain_text import one_line
from dg.files.safe_load import load_npz
from dg.images.keypoint_formats.base import FoundPeople, KeypointFormat, Rows, frames_of, triples_of
from dg.images.keypoint_formats.content import Content
from dg.pose.skeleton import COCO_17, H36M_17

_ARRAYS = ("positions_2d", "metadata")
_LAYOUTS = {"coco": COCO_17, "h36m": H36M_17}


class VideoPose3D(KeypointFormat):
    """See the module's docstring."""

    title = "VideoPose3D's custom archive"
    expected = "an archive of positions_2d and metadata"

    @classmethod
    def recognises(cls, content: Content) -> bool:
        """Whether it is an archive with these arrays."""
        return not content.is_folder and set(content.arrays) >= set(_ARRAYS)

    @classmethod
    def parse(cls, content: Content) -> FoundPeople:
        """Read the people of all videos; the second person of a video is a track of its own."""
        what = str(content.path)
        arrays = load_npz(content.files[0], allow_objects=_ARRAYS, wanted=_ARRAYS)
        positions, metadata = arrays["positions_2d"].item(), arrays["metadata"].item()
        return _found(positions, metadata, what)


def _found(positions: dict[Any, Any], metadata: dict[str, Any], what: str) -> FoundPeople:
    layout = str(metadata.get("layout_name", "coco"))
    if layout not in _LAYOUTS:
        raise FileFormatError(f"{what}: layout_name: expected one of {sorted(_LAYOUTS)}, got {one_line(layout)!r}")
    sizes_of = metadata.get("video_metadata", {})
    rows, names, numbers, clips, sizes = Rows(), [], [], [], []
    for clip, (video, parts) in enumerate(positions.items()):
        people = [np.asarray(array) for arrays in parts.values() for array in arrays]
        known = sizes_of.get(video, {})
        size = (float(known["w"]), float(known["h"])) if {"w", "h"} <= set(known) else None
        first = len(names)
        for number in range(max((len(p) for p in people), default=0)):
            names.append(f"{video}:{number}" if len(positions) > 1 else str(number))
            numbers.append(number)
            clips.append(clip)
            sizes.append(size)
        for track, person in enumerate(people):
            for number, places in enumerate(person):
                rows.add(first + number, triples_of(places), track)
    frames = frames_of(names, numbers, sizes, clips, in_time=True)
    return rows.people(f"VideoPose3D's custom archive, layout {layout}", _LAYOUTS[layout], frames, what)
