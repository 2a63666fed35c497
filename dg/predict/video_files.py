"""Moving pictures: written as GIF, which needs no further package."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from dg.files.atomic import replace_file

OVERLAY_GIF, OVERLAY_MP4 = ".overlay.gif", ".overlay.mp4"
_FPS = 12.0
_COLOURS = 128


def write_gif(path: Path, pictures: Iterable[np.ndarray], fps: float = 0.0) -> None:
    """Write pictures as a GIF that repeats, whole or not at all.

    Args:
        path: of the file.
        pictures: RGB, all of one size; at least one.
        fps: pictures per second; 0: 12.
    """
    frames = [Image.fromarray(picture).quantize(_COLOURS) for picture in pictures]
    duration = round(1000 / (fps or _FPS))

    def write(file) -> None:  # noqa: ANN001 - a binary file
        frames[0].save(file, "GIF", save_all=True, append_images=frames[1:], duration=duration, loop=0)

    replace_file(path, write)
