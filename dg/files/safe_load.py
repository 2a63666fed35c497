"""Reading numpy archives and pickles from the internet without running what they ask for.

A pickle is a program: it may call whatever it can name. Here it can name numpy's array builders and plain containers,
plus classes that the caller lists, and nothing else. `np.load(allow_pickle=True)` is used nowhere.
"""

import collections
import io
import pickle
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Collection, Mapping
from math import prod
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.lib import format as npy_format


class FileFormatError(ValueError):
    """A file that is missing, truncated or of another kind. The message names file, expectation and finding."""

    exit_code = 4  # as dg.settings.errors.DATA


class UnsafeFileError(FileFormatError):
    """A pickle that asks for something other than arrays and containers. Nothing of it has been run."""


def load_npz(path: str | Path, allow_objects: Collection[str] = ()) -> dict[str, np.ndarray]:
    """All arrays of an `.npz` archive; object arrays only under the names in `allow_objects`.

    Raises FileFormatError for a file that is no such archive, UnsafeFileError for a pickle with unexpected content.
    """
    return {name: _read_array(data, path, name, name in allow_objects) for name, data in _members(path).items()}


def load_pickle(path: str | Path, extra_classes: Mapping[str, Callable[..., Any]] | None = None) -> Any:  # noqa: ANN401
    """The object in a pickle of arrays and containers; Python 2's files too.

    extra_classes: further globals that may be named, as `"module.name"` -> what stands in for it (which need not be
    what the file names: a foreign class can be replaced by a plain holder of its state).
    Raises FileFormatError for a file that is no pickle, UnsafeFileError naming a global that is refused.
    """
    return _unpickle(io.BytesIO(_read(path)), str(path), extra_classes or {})


def _read(path: str | Path) -> bytes:
    path = Path(path)
    if not path.exists():
        raise FileFormatError(f"{path}: no such file")
    if not path.is_file():
        raise FileFormatError(f"{path}: expected a file, found a directory")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise FileFormatError(f"{path}: cannot be read: {error.strerror}") from error
    if not data:
        raise FileFormatError(f"{path}: the file is empty; fetch it again")
    return data


def _members(path: str | Path) -> dict[str, bytes]:
    data = _read(path)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = {m.removesuffix(".npy"): archive.read(m) for m in archive.namelist() if m.endswith(".npy")}
    # A damaged archive fails in the directory, in a member's header, in its compressed data or at a password check.
    except (zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, RuntimeError, ValueError) as error:
        raise FileFormatError(
            f"{path}: expected an .npz archive, but it is truncated or of another kind ({error}); fetch it again"
        ) from error
    if not members:
        raise FileFormatError(f"{path}: expected an .npz archive of arrays, but it holds none")
    return members


def _read_array(data: bytes, path: str | Path, name: str, allow_object: bool) -> np.ndarray:
    stream = io.BytesIO(data)
    try:
        header = {(1, 0): npy_format.read_array_header_1_0, (2, 0): npy_format.read_array_header_2_0}
        shape, _, dtype = header[npy_format.read_magic(stream)](stream)
        if not dtype.hasobject:
            stream.seek(0)
            return npy_format.read_array(stream, allow_pickle=False)
    except (ValueError, KeyError, MemoryError) as error:
        raise FileFormatError(f"{path}: array {name!r} is damaged: {error}") from error
    if not allow_object:
        raise UnsafeFileError(f"{path}: expected numbers in {name!r}, found pickled Python objects; not loaded")
    value = _unpickle(stream, f"{path} ({name})", {})
    if not isinstance(value, np.ndarray) or value.size != prod(shape):
        raise FileFormatError(f"{path}: array {name!r} is damaged: its pickle holds {type(value).__name__}")
    return value.reshape(shape)


def _unpickle(stream: io.BytesIO, source: str, extra_classes: Mapping[str, Callable[..., Any]]) -> Any:  # noqa: ANN401
    try:
        # Python 2's byte strings hold raw array data; latin1 maps each byte to one character and back.
        return _RestrictedUnpickler(stream, source, extra_classes).load()
    except FileFormatError:
        raise
    # What a damaged opcode stream raises is not limited to UnpicklingError, says the standard library.
    except Exception as error:
        raise FileFormatError(
            f"{source}: expected a pickle of arrays, but it is damaged or of another kind "
            f"({type(error).__name__}: {error})"
        ) from error


class _RestrictedUnpickler(pickle._Unpickler):
    """The pure-Python unpickler, for it lets BUILD be checked too: numpy trusts the states given to it."""

    dispatch: ClassVar[dict[int, Any]] = dict(pickle._Unpickler.dispatch)

    def __init__(self, stream: io.BytesIO, source: str, extra_classes: Mapping[str, Callable[..., Any]]) -> None:
        super().__init__(stream, encoding="latin1")
        self.source = source
        self.known = _ALLOWED | dict(extra_classes)

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401
        wanted = f"{module.replace('numpy._core', 'numpy.core')}.{name}"
        # Python 2 names; the standard fix_imports table is applied by `super().find_class`, which is never called.
        wanted = wanted.replace("__builtin__.", "builtins.").replace("copy_reg.", "copyreg.")
        if wanted not in self.known:
            raise UnsafeFileError(
                f"{self.source}: the pickle asks for {module}.{name}, which is not on the list of arrays and "
                "containers that may be loaded; nothing of it was run. Do not trust this file"
            )
        return self.known[wanted]

    def load_build(self) -> None:
        target, state = self.stack[-2:]  # pyright: ignore[reportAttributeAccessIssue] - absent from the stubs
        if isinstance(target, np.dtype):
            _check_dtype_state(target, state, self.source)
        elif isinstance(target, np.ndarray):
            _check_array_state(state, self.source)
        elif callable(target):
            raise UnsafeFileError(f"{self.source}: the pickle changes {target!r}; not loaded")
        super().load_build()  # pyright: ignore[reportAttributeAccessIssue] - absent from the stubs

    dispatch[pickle.BUILD[0]] = load_build


def _check_dtype_state(dtype: np.dtype, state: Any, source: str) -> None:  # noqa: ANN401
    """A forged state could make numpy read numbers as addresses: only a byte order may be changed."""
    order = state[1] if isinstance(state, tuple) and len(state) == 8 else None
    if order not in ("<", ">", "=", "|") or tuple(state[1:]) != dtype.newbyteorder(order).__reduce__()[2][1:]:
        raise UnsafeFileError(f"{source}: the pickle forges the state of dtype {dtype}; not loaded")


def _check_array_state(state: Any, source: str) -> None:  # noqa: ANN401
    """Numpy does not compare the length of an object array's list with its shape."""
    shape, dtype, items = state[-4], state[-3], state[-1]
    if dtype.hasobject and (not isinstance(items, list) or len(items) != prod(shape)):
        raise UnsafeFileError(f"{source}: the pickle forges the content of an object array; not loaded")


def _dtype(code: Any, align: Any = False, copy: Any = False) -> np.dtype:  # noqa: ANN401
    """Stands in for `numpy.dtype`: plain types alone, no records, whose fields could overlap."""
    if not (isinstance(code, str) and _PLAIN_DTYPE.fullmatch(code)):
        raise pickle.UnpicklingError(f"the dtype {code!r} is not a plain one")
    # A copy, for BUILD may set its byte order and numpy shares the plain types.
    return np.dtype(code, copy=True)


def _array(cls: type[Any], shape: Any, kind: Any) -> np.ndarray:  # noqa: ANN401
    """Stands in for numpy's `_reconstruct`: an empty array that BUILD fills."""
    return np.ndarray.__new__(np.ndarray, (0,), "b")


def _scalar(dtype: np.dtype, raw: bytes | str) -> Any:  # noqa: ANN401
    return np.frombuffer(raw.encode("latin1") if isinstance(raw, str) else raw, dtype)[0]


def _from_buffer(buffer: bytes | bytearray, dtype: np.dtype, shape: tuple[int, ...], order: str) -> np.ndarray:
    """Stands in for numpy's builder of protocol 5."""
    return np.frombuffer(buffer, dtype).reshape(shape, order="F" if order == "F" else "C")


def _encode(text: str, encoding: str = "latin1") -> bytes:
    """Stands in for `_codecs.encode`, with which protocol 2 writes bytes."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes encoded as {encoding!r}")
    return text.encode("latin1")


def _reconstructor(cls: type[Any], base: type[Any], state: Any) -> Any:  # noqa: ANN401
    """Stands in for `copyreg._reconstructor`; protocols 0 and 1 make plain objects with it."""
    if base is not object or state is not None:
        raise pickle.UnpicklingError("only plain objects can be rebuilt")
    return object.__new__(cls)


_PLAIN_DTYPE = re.compile(r"[<>=|]?[?bBhHiIlLqQefdgFDGSUO]\d*|[<>=|]?[uc]\d+")
_CONTAINERS = (
    bool, bytearray, bytes, complex, dict, float, frozenset, int, list, object, range, set, slice, str, tuple,
)  # fmt: skip
_ALLOWED: dict[str, Any] = {
    "numpy.ndarray": np.ndarray,
    "numpy.dtype": _dtype,
    "numpy.core.multiarray._reconstruct": _array,
    "numpy.core.multiarray.scalar": _scalar,
    "numpy.core.numeric._frombuffer": _from_buffer,
    "collections.OrderedDict": collections.OrderedDict,
    "_codecs.encode": _encode,
    "copyreg._reconstructor": _reconstructor,
    **{f"builtins.{c.__name__}": c for c in _CONTAINERS},
}
