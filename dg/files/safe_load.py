"""Reading numpy archives and pickles from the internet without running what they ask for.

Nothing is read that does not fit into memory, and of an archive only the arrays that are asked for. Pickles go through
`dg.files.safe_pickle`; `np.load(allow_pickle=True)` is used nowhere.
"""

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable, Collection, Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy_format

from dg.files.errors import FileFormatError, UnsafeFileError
from dg.files.reading import check_fits, read_whole
from dg.files.safe_pickle import unpickle

_HEADERS = {(1, 0): npy_format.read_array_header_1_0, (2, 0): npy_format.read_array_header_2_0}
# A damaged archive fails in the directory, in a member's header, in its compressed data or at a password check.
ARCHIVE_ERRORS = (
    zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, RuntimeError, ValueError, MemoryError,
)  # fmt: skip


def load_npz(
    path: str | Path, allow_objects: Collection[str] = (), wanted: Collection[str] | None = None
) -> dict[str, np.ndarray]:
    """The arrays of an `.npz` archive.

    Args:
        path: Of the archive.
        allow_objects: Names of arrays that may hold Python objects, read by `load_pickle`'s rules.
        wanted: Names of the arrays to read, where the archive has them; None: all.

    Returns:
        The arrays by name.

    Raises:
        UnsafeFileError: A pickle with unexpected content.
        FileFormatError: It is missing, no such archive, damaged, or unpacks to more than the free memory.
    """
    members = _members(path, wanted)
    return {name: _read_array(members.pop(name), path, name, name in allow_objects) for name in list(members)}


def npz_names(path: str | Path) -> list[str]:
    """Names of the arrays in an `.npz` archive. Raises FileFormatError for a file that is none."""
    try:
        with zipfile.ZipFile(io.BytesIO(read_whole(path))) as archive:
            return sorted(name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy"))
    except ARCHIVE_ERRORS as error:
        raise FileFormatError(f"{path}: expected an .npz archive ({error}); fetch it again") from error


def load_json(path: str | Path) -> Any:  # noqa: ANN401
    """What a JSON file holds.

    Args:
        path: Of a file in UTF-8.

    Returns:
        Plain containers; a number too large for a float is infinite, which the caller must refuse.

    Raises:
        FileFormatError: It is missing, no JSON, nested too deep or too large for the memory.
    """
    try:
        return json.loads(read_whole(path).decode())
    except RecursionError as error:
        raise FileFormatError(f"{path}: expected a JSON file, but it is nested too deep") from error
    except MemoryError as error:
        raise FileFormatError(f"{path}: what it holds does not fit into memory") from error
    except FileFormatError:
        raise
    except ValueError as error:
        raise FileFormatError(
            f"{path}: expected a JSON file, but it is truncated or of another kind: {error}"
        ) from error


def load_pickle(path: str | Path, extra_classes: Mapping[str, Callable[..., Any]] | None = None) -> Any:  # noqa: ANN401
    """The object in a pickle of arrays and containers; Python 2's files too.

    Args:
        path: Of the pickle.
        extra_classes: Further globals that may be named, as `"module.name"` -> what stands in for it (which need not
            be what the file names: a foreign class can be replaced by a plain holder of its state).

    Returns:
        The object.

    Raises:
        UnsafeFileError: It asks for something that is not allowed; the message names it.
        FileFormatError: It is missing, no pickle, or damaged.
    """
    return unpickle(read_whole(path), str(path), extra_classes)


def _members(path: str | Path, wanted: Collection[str] | None) -> dict[str, bytes]:
    data = read_whole(path)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            arrays = {i.filename.removesuffix(".npy"): i for i in archive.infolist() if i.filename.endswith(".npy")}
            if not arrays:
                raise FileFormatError(f"{path}: expected an .npz archive of arrays, but it holds none")
            chosen = {name: info for name, info in arrays.items() if wanted is None or name in wanted}
            # Twice: the unpacked bytes and the arrays made of the last of them.
            sizes = [info.file_size for info in chosen.values()]
            check_fits(sum(sizes) + max(sizes, default=0), f"{path}: {len(sizes)} of its arrays")
            return {name: archive.read(info) for name, info in chosen.items()}
    except FileFormatError:
        raise
    except ARCHIVE_ERRORS as error:
        raise FileFormatError(
            f"{path}: expected an .npz archive, but it is truncated or of another kind ({error}); fetch it again"
        ) from error


def _read_array(data: bytes, path: str | Path, name: str, allow_object: bool) -> np.ndarray:
    stream = io.BytesIO(data)
    try:
        shape, _, dtype = _HEADERS[npy_format.read_magic(stream)](stream)
        if any(length < 0 for length in shape):
            raise ValueError("a negative length")
        if not dtype.hasobject:
            # Before numpy takes memory for what the header claims.
            if prod(shape) * dtype.itemsize != len(data) - stream.tell():
                raise ValueError(f"its header claims {shape} of {dtype}, which is not what follows")
            stream.seek(0)
            return npy_format.read_array(stream, allow_pickle=False)
    except (ValueError, KeyError, MemoryError, RecursionError) as error:
        raise FileFormatError(f"{path}: array {name!r} is damaged: {error}") from error
    if not allow_object:
        raise UnsafeFileError(
            f"{path}: expected numbers or texts in {name!r}, found pickled Python objects; not loaded. Save texts with "
            "numpy.array(values, dtype=str)"
        )
    value = unpickle(data[stream.tell() :], f"{path} ({name})")
    if not isinstance(value, np.ndarray) or value.size != prod(shape):
        raise FileFormatError(f"{path}: array {name!r} is damaged: its pickle holds {type(value).__name__}")
    return value.reshape(shape)
