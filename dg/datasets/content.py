"""Which data a result was measured on: a short digest of content, by which two files of one name are told apart.

`PoseDataset.digest` is of the loaded tensors; it differs in its last bit between processors, because projections and
rotations are computed. The digest here is of what was read, before any arithmetic, so it is the same everywhere.
"""

import hashlib
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import numpy as np

DIGEST_BYTES = 6
CHUNK = 1 << 20


def content_id(*parts: str | Path | np.ndarray) -> str:
    """Digest of file contents, arrays and words, in this order.

    Args:
        parts: A path stands for the content of its file, whatever the file is called. An array counts with its type
            and shape.

    Returns:
        Twelve hexadecimal digits, equal on every machine.
    """
    digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
    for part in parts:
        if isinstance(part, Path):
            digest.update(_of_file(part))
        elif isinstance(part, np.ndarray):
            digest.update(f"{part.dtype.str}{part.shape}".encode())
            digest.update(np.ascontiguousarray(part).data.cast("B") if part.size else b"")
        else:
            digest.update(f"{len(part)}:{part}".encode())
    return digest.hexdigest()


def choices(options: Any, *leave_out: str) -> str:  # noqa: ANN401 - the dataclass of any data set
    """Return in words the options that choose among the data of a file.

    Those at their default are left out, so that an option that a later version adds changes no digest.
    """
    chosen = {
        f.name: getattr(options, f.name)
        for f in fields(options)
        if f.name not in leave_out and (f.default is MISSING or getattr(options, f.name) != f.default)
    }
    return " ".join(f"{name}={chosen[name]!r}" for name in sorted(chosen))


def _of_file(path: Path) -> bytes:
    digest = hashlib.blake2b(digest_size=32)
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.digest()
