"""2D skeletons drawn over pictures, fast enough for video."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw

from dg.drawing.pose import side_colour
from dg.pose.skeleton import Skeleton
from dg.predict.lifter_inputs import LiftedPerson

_PALE = "#ffffff"


def draw_over(
    picture: UInt8[np.ndarray, "height width 3"],
    people: Sequence[LiftedPerson],
    skeleton: Skeleton,
    scale: float = 1.0,
) -> UInt8[np.ndarray, "height width 3"]:
    """A picture with the skeletons of its people; joints that were not found are left out.

    Args:
        picture: RGB.
        people: of the image.
        skeleton: of their joints.
        scale: size of the picture over that of the image that joints are pixels of.
    """
    image = Image.fromarray(picture).copy()
    pen = ImageDraw.Draw(image)
    width = max(2, round(max(image.size) / 320))
    for person in people:
        joints = person.inputs.seen_px * scale
        for parent, child in skeleton.bones:
            ends = joints[[parent, child]]
            if not np.isfinite(ends).all():
                continue
            line = [tuple(end) for end in ends.tolist()]
            pen.line(line, fill="#000000", width=width + 2)
            pen.line(line, fill=side_colour(skeleton, child, _PALE), width=width)
        track = person.inputs.person.track
        top = joints[np.isfinite(joints).all(-1)]
        if track is not None and len(top):
            x, y = float(top[:, 0].mean()), float(top[:, 1].min())
            pen.text((x, max(y - 14, 0)), str(track), fill=_PALE, stroke_width=2, stroke_fill="#000000")
    return np.asarray(image)
