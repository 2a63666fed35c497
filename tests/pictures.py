"""Whether a picture shows anything."""

from pathlib import Path

from PIL import Image


def shows_something(path: Path, at_least_px: int = 200) -> bool:
    """A picture that opens, is no thumbnail, and holds more than a few shades of grey."""
    with Image.open(path) as picture:
        return min(picture.size) > at_least_px and len(picture.convert("L").getcolors()) > 20
