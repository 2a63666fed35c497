"""Image files: found in folders, in the order that people number them, and read as RGB, whatever they are stored as."""

import os
import re
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image, ImageOps

from dg.files.safe_load import FileFormatError

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
LARGEST_PIXELS = 120_000_000  # of an image; a small file may claim any size
SMALLEST_SIDE = 16
_WHITE = (255, 255, 255)
_DIAGONAL_MM = 43.267  # of a frame of 36 x 24 mm
_ASPECT_GAP = 0.01
_ON_THE_SIDE = (5, 6, 7, 8)  # EXIF orientations that exchange width and height


class ImageError(FileFormatError):
    """An image that is missing or cannot be read. The message names the file and the reason."""


def find_images(root: Path) -> list[Path]:
    """The images in a folder and the folders below it, known by their suffix.

    Hidden files and folders are left out, and links to folders are not followed.

    Args:
        root: a folder, or one image.

    Returns:
        Paths sorted folder by folder, numbers by their value: `2.jpg` before `10.jpg`. Empty where there is no image.

    Raises:
        ImageError: where there is no file or folder.
    """
    if root.is_file():
        return [root]
    if not root.is_dir():
        raise ImageError(f"{root}: expected an image or a folder of images, found nothing")
    found = []
    for folder, below, names in os.walk(root):
        below[:] = [name for name in below if not name.startswith(".")]
        visible = [name for name in names if not name.startswith(".")]
        found += [Path(folder, name) for name in visible if Path(name).suffix.lower() in SUFFIXES]
    return sorted(found, key=lambda path: (by_number(path.relative_to(root)), str(path)))


def read_image(path: Path) -> UInt8[np.ndarray, "height width 3"]:
    """An image as RGB, turned as its EXIF orientation says.

    Grey values are repeated, 16 bits become 8, and transparent pixels become white. Of a file with several images the
    first is read.

    Args:
        path: of the file.

    Raises:
        ImageError: for a file that is missing, empty, truncated or no image, for one with a side below `SMALLEST_SIDE`
            or more than `LARGEST_PIXELS`, and for floating-point pixels, whose range is not known.
    """
    if not path.is_file():
        raise ImageError(f"{path}: no such file")
    if path.stat().st_size == 0:
        raise ImageError(f"{path}: the file is empty")
    try:
        with warnings.catch_warnings():
            # Pillow's own guard against files that claim a huge size warns below our limit.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                _check_size(path, *image.size)
                return np.array(_as_rgb(path, ImageOps.exif_transpose(image)))
    except ImageError:
        raise
    except Exception as error:  # Pillow raises errors of many kinds for damaged files
        raise ImageError(f"{path}: {_reason(error)}") from error


@dataclass(frozen=True)
class Photograph:
    """rgb: the image, upright. focal_px: focal length that its EXIF tells, pixels of the image; 0: none."""

    rgb: UInt8[np.ndarray, "height width 3"]
    focal_px: float = 0.0


def read_photograph(path: Path) -> Photograph:
    """An image with the focal length that its EXIF tells.

    `FocalLengthIn35mmFilm` is taken for the diagonal of a frame of 36 x 24 mm, as the standard has it. An image that is
    smaller than its EXIF says was cropped or scaled: a crop changes the angle of view, which no file tells, so that
    its focal length is left out unless both sides are smaller by the same factor.

    Args:
        path: of the file.

    Raises:
        ImageError: as `read_image` does.
    """
    rgb = read_image(path)
    try:
        with Image.open(path) as image:
            tags = image.getexif().get_ifd(ExifTags.IFD.Exif)
            focal_mm = float(tags.get(ExifTags.Base.FocalLengthIn35mmFilm, 0))
            taken = [float(tags.get(name, 0)) for name in (ExifTags.Base.ExifImageWidth, ExifTags.Base.ExifImageHeight)]
    except Exception:  # EXIF of every kind of damage; the picture itself is well
        return Photograph(rgb)
    height, width = rgb.shape[:2]
    aspect = max(taken) / min(taken) if min(taken) > 0 else max(width, height) / min(width, height)
    whole = abs(aspect - max(width, height) / min(width, height)) < _ASPECT_GAP * aspect
    if not (1 <= focal_mm <= 2000 and whole):
        return Photograph(rgb)
    return Photograph(rgb, focal_mm / _DIAGONAL_MM * float(np.hypot(width, height)))


def image_size(path: Path) -> tuple[int, int]:
    """Width and height of an image, upright, without reading its pixels. Raises ImageError."""
    try:
        with Image.open(path) as image:
            turned = image.getexif().get(ExifTags.Base.Orientation, 1) in _ON_THE_SIDE
            return (image.size[1], image.size[0]) if turned else image.size
    except Exception as error:
        raise ImageError(f"{path}: {_reason(error)}") from error


def _check_size(path: Path, width: int, height: int) -> None:
    if width * height > LARGEST_PIXELS:
        raise ImageError(f"{path}: {width} x {height} pixels are more than the {LARGEST_PIXELS:,} that are read")
    if min(width, height) < SMALLEST_SIDE:
        raise ImageError(f"{path}: {width} x {height} pixels; expected at least {SMALLEST_SIDE} on each side")


def _as_rgb(path: Path, image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise ImageError(f"{path}: its pixels are floating-point numbers; expected 8 or 16 bits")
    if image.mode.startswith("I"):
        grey = np.asarray(image).astype(np.int32).clip(0, None)
        bits = 16 if image.mode != "I" or grey.max() > 255 else 8
        image = Image.fromarray((grey.clip(0, 65535) // 257 if bits == 16 else grey).astype(np.uint8))
    if image.has_transparency_data:
        over = image.convert("RGBA")
        image = Image.new("RGB", image.size, _WHITE)
        image.paste(over, mask=over.getchannel("A"))
    return image.convert("RGB")


def _reason(error: Exception) -> str:
    if isinstance(error, Image.UnidentifiedImageError):
        return "not an image of a known format"
    first = str(error).strip().partition("\n")[0]
    return f"cannot be read: {first or type(error).__name__}"


def by_number(path: Path) -> list[list[tuple[int, int, str]]]:
    """A sorting key of a relative path: folders stay together, and numbers count by their value."""
    parts = [re.split(r"(\d+)", part) for part in path.parts]
    return [[(0, int(t), "") if t.isdecimal() else (1, 0, t.lower()) for t in texts if t] for texts in parts]
