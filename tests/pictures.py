"""Whether a picture shows anything."""

from pathlib import Path

from PIL import Image

# A PNG that stands for a figure where nobody looks at it.
ONE_PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b55"
    "0000000a49444154789c63f80f0001010100b138f6140000000049454e44ae426082"
)


def shows_something(path: Path, at_least_px: int = 200) -> bool:
    """A picture that opens, is no thumbnail, and holds more than a few shades of grey."""
    with Image.open(path) as picture:
        return min(picture.size) > at_least_px and len(picture.convert("L").getcolors()) > 20
