"""Image files: found in the order that people number them, read as what they show, refused with the reason."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from dg.images import reading
from dg.images.reading import ImageError, find_images, image_size, read_image, read_photograph
from dg.settings.errors import exit_code

HEIGHT, WIDTH = 24, 32


def pattern() -> np.ndarray:
    """RGB whose three channels and four corners differ."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([x * 8, y * 10, (x + y) * 4], -1).astype(np.uint8)


def test_images_are_found_below_a_folder_in_natural_order_and_nothing_else_is(tmp_path):
    names = ["2.jpg", "10.JPG", "1.png", "b/3.webp", "b/20.tif", "b/img_9.bmp", "b/img_10.jpeg", "a/z.tiff"]
    others = ["notes.txt", ".hidden.jpg", ".thumbs/1.jpg", "jpg", "c/1.gif"]
    for name in names + others:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    found = [str(path.relative_to(tmp_path)) for path in find_images(tmp_path)]
    expected = ["1.png", "2.jpg", "10.JPG", "a/z.tiff", "b/3.webp", "b/20.tif", "b/img_9.bmp", "b/img_10.jpeg"]
    assert found == expected


def test_one_file_is_found_and_a_missing_place_is_an_error(tmp_path):
    path = tmp_path / "picture.without.suffix"
    path.touch()
    assert find_images(path) == [path]
    assert find_images(tmp_path) == []
    with pytest.raises(ImageError, match=r"nowhere: expected an image or a folder"):
        find_images(tmp_path / "nowhere")


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "webp"])
def test_lossless_files_come_back_byte_for_byte(tmp_path, suffix):
    path = tmp_path / f"image.{suffix}"
    Image.fromarray(pattern()).save(path, **({"lossless": True} if suffix == "webp" else {}))
    read = read_image(path)
    assert read.dtype == np.uint8
    assert (read == pattern()).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_exif_orientation_is_applied(tmp_path, orientation):
    """What a viewer shows is the pattern, however the camera stored it."""
    store = {
        1: lambda a: a, 2: np.fliplr, 3: lambda a: np.rot90(a, 2), 4: np.flipud,
        5: lambda a: a.transpose(1, 0, 2), 6: lambda a: np.rot90(a, 1),
        7: lambda a: np.rot90(a.transpose(1, 0, 2), 2), 8: lambda a: np.rot90(a, -1),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "image.png"
    Image.fromarray(np.ascontiguousarray(store(pattern()))).save(path, exif=exif)
    assert (read_image(path) == pattern()).all()


def test_grey_16_bit_palette_and_transparent_images_become_rgb(tmp_path):
    grey = pattern()[..., 0]
    Image.fromarray(grey).save(tmp_path / "grey.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "deep.tif")
    for name in ("grey.png", "deep.png", "deep.tif"):
        assert (read_image(tmp_path / name) == grey[..., None]).all(), name
    Image.fromarray(pattern()).quantize(8).save(tmp_path / "palette.png")
    assert (
        read_image(tmp_path / "palette.png") == np.asarray(Image.fromarray(pattern()).quantize(8).convert("RGB"))
    ).all()
    alpha = np.full((HEIGHT, WIDTH, 1), 255, np.uint8)
    alpha[:, 5] = 0
    Image.fromarray(np.concatenate([pattern(), alpha], -1)).save(tmp_path / "clear.png")
    read = read_image(tmp_path / "clear.png")
    assert (read[:, 5] == 255).all()
    assert (np.delete(read, 5, 1) == np.delete(pattern(), 5, 1)).all()


def damaged(folder, kind):
    path = folder / f"{kind}.png"
    if kind == "missing":
        return path
    Image.fromarray(pattern()).save(path)
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "truncated":
        path.write_bytes(path.read_bytes()[:-40])
    elif kind == "text":
        path.write_text("this is no image " * 9)
    elif kind == "float":
        path = folder / "float.tif"
        Image.fromarray(np.ones((HEIGHT, WIDTH), np.float32)).save(path)
    elif kind == "small":
        Image.fromarray(pattern()[:2]).save(path)
    elif kind == "bomb":
        path.write_bytes(png_that_claims(30_000, 30_000))
    return path


def png_that_claims(width, height):
    """A few bytes, whose header claims a huge image."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("missing", "no such file"), ("empty", "empty"), ("truncated", "cannot be read"),
        ("text", "not an image"), ("float", "floating-point"), ("small", "32 x 2 pixels"), ("bomb", "pixel"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_with_the_file_and_the_reason(tmp_path, kind, reason):
    path = damaged(tmp_path, kind)
    with pytest.raises(ImageError, match=reason) as caught:
        read_image(path)
    assert str(path) in str(caught.value)
    assert exit_code(caught.value) == 4


def test_the_limit_of_pixels_is_ours_and_not_a_warning_of_pillow(tmp_path, monkeypatch, recwarn):
    path = tmp_path / "image.png"
    Image.fromarray(pattern()).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", HEIGHT * WIDTH - 1)
    assert (read_image(path) == pattern()).all()
    assert not recwarn.list
    monkeypatch.setattr(reading, "LARGEST_PIXELS", HEIGHT * WIDTH - 1)
    with pytest.raises(ImageError, match="32 x 24 pixels are more than the 767"):
        read_image(path)


@pytest.mark.parametrize("turned", [1, 6])
def test_exif_tells_the_focal_length_unless_the_picture_was_cropped(tmp_path, turned):
    """26 mm on a frame of 36 x 24 mm, whose diagonal is 43.27 mm."""
    exif = Image.Exif()
    exif[0x0112] = turned
    exif.get_ifd(0x8769).update({0xA405: 26, 0xA002: 4000, 0xA003: 3000})
    path = tmp_path / "a.jpg"
    Image.new("RGB", (400, 300)).save(path, exif=exif)
    found = read_photograph(path)
    assert found.rgb.shape[:2] == ((300, 400) if turned == 1 else (400, 300))
    assert image_size(path) == found.rgb.shape[1::-1]
    assert found.focal_px == pytest.approx(26 / 43.267 * 500)
    Image.new("RGB", (300, 300)).save(path, exif=exif)
    assert read_photograph(path).focal_px == 0
    Image.new("RGB", (400, 300)).save(path)
    assert read_photograph(path).focal_px == 0
