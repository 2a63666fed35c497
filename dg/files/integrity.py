"""Whether a file is still what was written: every reader of weights goes through here.

What can be verified depends on the file. A zip archive (`torch.save` since PyTorch 1.6, TorchScript, `.npz`) holds a
CRC-32 of every member; PyTorch does not look at them, so they are checked here. Older `.pt` and `.pth` files and ONNX
files hold no checksum. For any file, `FILE.sha256` beside it, as `sha256sum FILE > FILE.sha256` writes it, is checked.
"""

import hashlib
import io
import re
import zipfile
from pathlib import Path

from dg.files.errors import FileFormatError
from dg.files.reading import check_fits, read_whole
from dg.files.safe_load import ARCHIVE_ERRORS

DIGEST_SUFFIX = ".sha256"
_ZIP = b"PK\x03\x04"
_REMEDY = "the file has changed since it was written: fetch or copy it again"


def read_verified(path: str | Path) -> bytes:
    """The content of a file of weights, after its checksums have been compared.

    Args:
        path: Of the file; `PATH.sha256` is read too where it exists.

    Returns:
        All its bytes.

    Raises:
        FileFormatError: It cannot be read, does not fit into memory, or a checksum says that it has changed.
    """
    data = read_whole(path)
    _check_digest(Path(path), data)
    if data.startswith(_ZIP) or zipfile.is_zipfile(io.BytesIO(data)):
        _check_archive(path, data)
    return data


def digest_file(path: Path) -> Path:
    """Where the digest of a file is looked for."""
    return path.with_name(path.name + DIGEST_SUFFIX)


def _check_digest(path: Path, data: bytes) -> None:
    beside = digest_file(path)
    if not beside.is_file():
        return
    with beside.open("rb") as file:
        words = file.read(4096).decode(errors="replace").split()
    if not words or not re.fullmatch(r"[0-9a-fA-F]{64}", words[0]):
        raise FileFormatError(f"{beside}: expected a SHA-256 digest; write it anew with sha256sum, or remove it")
    if hashlib.sha256(data).hexdigest() != words[0].lower():
        raise FileFormatError(f"{path} does not have the digest that {beside} gives: {_REMEDY}")


def _check_archive(path: str | Path, data: bytes) -> None:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            check_fits(sum(member.file_size for member in archive.infolist()), f"{path}: unpacked, it")
            damaged = archive.testzip()
    except FileFormatError:
        raise
    except (*ARCHIVE_ERRORS, NotImplementedError) as error:  # the latter for an unknown kind of compression
        raise FileFormatError(f"{path} is a damaged archive ({error}): {_REMEDY}") from error
    if damaged is not None:
        raise FileFormatError(f"{path}: the checksum of its part {damaged!r} is wrong: {_REMEDY}")
