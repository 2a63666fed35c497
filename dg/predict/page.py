"""The web page of an input: its pictures on the left, its people in 3D on the right."""

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from dg.drawing.viewer import ViewerFrame, viewer_fragment, viewer_page
from dg.pose.skeleton import Skeleton
from dg.predict.lifter_inputs import ImageInputs, LiftedPerson

MOST_FRAMES = 1500  # in one page; of a longer clip every n-th
MOST_PICTURES = 200
PICTURE_PX = 640  # longer side
_QUALITY = 80
_DOUBTFUL_M_PER_PX = 1.0  # a person whose size tells no scale


def page_of(
    frames: Sequence[tuple[ImageInputs, Sequence[LiftedPerson]]],
    skeleton: Skeleton,
    title: str,
    note: str,
    fps: float = 0.0,
) -> str:
    """A self-contained page.

    Args:
        frames: images or frames with their people, in order.
        skeleton: of their joints.
        title: of the page.
        note: how it was made.
        fps: of a clip; 0 where it is none.
    """
    every = -(-len(frames) // MOST_FRAMES)
    kept = frames[::every]
    shown = viewer_frames(kept, -(-len(kept) // MOST_PICTURES))
    said = f"every {every}th of {len(frames)} frames; " if every > 1 else ""
    placed = any(p.placed is not None for _, people in frames for p in people)
    where = "people stand where depth and camera place them" if placed else "people's places are drawn from the picture"
    text = f"{said}drag turns, the wheel zooms, double click resets; left is orange; {where}, their poses are lifted"
    return viewer_page(title, [viewer_fragment(shown, skeleton, text, fps / every)], note)


def viewer_frames(frames: Sequence[tuple[ImageInputs, Sequence[LiftedPerson]]], pictured: int = 1) -> list[ViewerFrame]:
    """What is shown of each frame: people in one space, their 2D, and the picture of every n-th one.

    Args:
        frames: images or frames with their people, in order.
        pictured: of which frames there are pictures: every so-and-so-many-th.
    """
    scale = _metres_per_pixel(frames)
    return [_frame(image, people, scale, n % pictured == 0) for n, (image, people) in enumerate(frames)]


def _frame(image: ImageInputs, people: Sequence[LiftedPerson], scale: float, with_picture: bool) -> ViewerFrame:
    width, height = image.camera.size_px
    shrink = min(1.0, PICTURE_PX / max(width, height))
    middle = np.array([width, height]) / 2
    poses = []
    for person in people:
        if person.seen_placed is not None:
            poses.append(person.seen_placed)
            continue
        root = (person.inputs.joints_px.mean(0) - middle) * scale
        centre = person.joints_3d.mean(0)
        poses.append(person.seen_3d + np.array([root[0] - centre[0], root[1] - centre[1], 0]))
    tracks = [person.inputs.person.track for person in people]
    pictures = with_picture and image.thumbnail is not None
    return ViewerFrame(
        poses=poses,
        labels=[str(n if track is None else track) for n, track in enumerate(tracks, 1)],
        joints_2d=[person.inputs.seen_px * shrink for person in people],
        picture=_jpeg(image.thumbnail, (width, height), shrink) if pictures else None,
        depth=_jpeg(_coloured(image.depth_thumbnail), (width, height), shrink)
        if pictures and image.depth_thumbnail is not None
        else None,
        size=(max(round(width * shrink), 1), max(round(height * shrink), 1)),
        caption=f"{image.name}: {len(people)} {'person' if len(people) == 1 else 'people'}",
    )


def _metres_per_pixel(frames: Sequence[tuple[ImageInputs, Sequence[LiftedPerson]]]) -> float:
    """The scale at which people's lifted width and height are those of the picture, as the median over all."""
    found = []
    for _, people in frames:
        for person in people:
            flat = person.inputs.joints_px - person.inputs.joints_px.mean(0)
            solid = person.joints_3d[:, :2] - person.joints_3d[:, :2].mean(0)
            found.append(float((flat * solid).sum() / max(float((flat**2).sum()), 1e-6)))
    good = [scale for scale in found if 0 < scale < _DOUBTFUL_M_PER_PX]
    return float(np.median(good)) if good else 0.0


def _jpeg(picture: np.ndarray | None, size: tuple[int, int], shrink: float) -> bytes | None:
    if picture is None:
        return None
    shown = Image.fromarray(picture).resize(
        (max(round(size[0] * shrink), 1), max(round(size[1] * shrink), 1)), Image.Resampling.BILINEAR
    )
    content = io.BytesIO()
    shown.save(content, "JPEG", quality=_QUALITY)
    return content.getvalue()


def _coloured(depth: np.ndarray | None) -> np.ndarray | None:
    if depth is None:
        return None
    from matplotlib import colormaps

    near, far = np.percentile(depth, [1, 99])
    share = ((depth - near) / max(far - near, 1e-6)).clip(0, 1)
    return (colormaps["turbo_r"](share)[..., :3] * 255).astype(np.uint8)
