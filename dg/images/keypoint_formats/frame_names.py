"""Numbers of frames in the names of their images."""

import re
from pathlib import PurePath

_DIGITS = re.compile(r"\d+")


def frame_number(name: str) -> tuple[int, str]:
    """A sorting key: the last number in a name such as `clip/frame_000012.jpg`, -1 where it has none, and the name."""
    numbers = _DIGITS.findall(PurePath(name).stem)
    return (int(numbers[-1]) if numbers else -1, name)
