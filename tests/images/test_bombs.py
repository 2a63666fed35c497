"""Image files that are small on disk and large in memory: refused by their header, whatever the format says inside."""

import json
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from PIL import Image

READ = """
import json, resource, sys
from pathlib import Path
from dg.images.reading import ImageError, read_image
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before, told = peak(), {}
for name in sys.argv[1:]:
    try:
        told[name] = list(read_image(Path(name)).shape)
    except ImageError as error:
        told[name] = str(error)
print(json.dumps([told, peak() - before]))
"""


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, data: bytes, *more: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(more) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def zeros(megabytes: int) -> bytes:
    """That many MB of zeros, compressed a thousandfold."""
    packer = zlib.compressobj(9)
    return b"".join(packer.compress(bytes(1 << 20)) for _ in range(megabytes)) + packer.flush()


@pytest.fixture(scope="module")
def read(tmp_path_factory) -> "tuple[dict[str, object], float]":
    """What reading each bomb in a process of its own said, by the file's name, and by how many MB its memory grew."""
    folder = tmp_path_factory.mktemp("bombs")
    plain = zlib.compress(bytes(64 * 65))
    (folder / "pixels.png").write_bytes(png(12_000, 12_500, zeros(150)))
    (folder / "text.png").write_bytes(png(64, 64, plain, chunk(b"zTXt", b"a\0\0" + zeros(150))))
    (folder / "profile.png").write_bytes(png(64, 64, plain, chunk(b"iCCP", b"a\0\0" + zeros(150))))
    (folder / "rows.png").write_bytes(png(64, 64, zeros(150)))  # more rows than the header says
    frame = Image.new("P", (2000, 2000))
    frame.save(folder / "frames.gif", save_all=True, append_images=[frame] * 12)
    (folder / "frames.gif").rename(folder / "frames.png")
    Image.new("1", (12_000, 12_000)).save(folder / "grey.tif", compression="group4")
    files = sorted(map(str, folder.iterdir()))
    assert sum(Path(name).stat().st_size for name in files) < 8e6
    command = [sys.executable, "-c", READ, *files]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=600, check=True)
    told, grown_mb = json.loads(answer.stdout)
    return {Path(name).name: value for name, value in told.items()}, grown_mb


def test_image_bombs_are_refused_or_read_in_little_memory(read):
    told, grown_mb = read
    for name in ("pixels.png", "grey.tif"):
        assert "pixels" in told[name], told
    for name in ("text.png", "profile.png", "rows.png"):  # the picture beside the bomb may be read
        assert told[name] == [64, 64, 3] or name in told[name], told
    assert told["frames.png"] == [2000, 2000, 3]  # the first frame alone
    assert grown_mb < 120, grown_mb
