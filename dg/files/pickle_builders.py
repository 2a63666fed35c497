"""What a pickle may build, each from arguments that are checked: arrays, dtypes and plain containers."""

import collections
import pickle
import re
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

# Hashing a tuple also recurses on the C stack; nobody's keys are larger.
_MAX_KEY_DEPTH, _MAX_KEY_PARTS = 8, 1000
_PLAIN_DTYPE = re.compile(r"[<>=|]?[?bBhHiIlLqQefdgFDGSUO]\d*|[<>=|]?[uc]\d+")

Builder = Callable[..., Any]


@dataclass(frozen=True, eq=False)
class Named:
    """What a global that a pickle names becomes: neither callable nor changeable, and equal only to itself.

    call: what REDUCE makes of it. new: what NEWOBJ, NEWOBJ_EX, INST and OBJ make of it. None: refused.
    """

    name: str
    call: Builder | None = None
    new: Builder | None = None


def plain_dtype(code: Any, align: Any = False, copy: Any = False) -> np.dtype:  # noqa: ANN401
    """Plain types alone, no records, whose fields could overlap.

    Args:
        code: the type's code, as "f8".
        align: of `numpy.dtype`; not used.
        copy: of `numpy.dtype`; not used.

    Raises:
        UnpicklingError: the code is not that of one plain type, as of numbers, text or objects.
    """
    if not (type(code) is str and _PLAIN_DTYPE.fullmatch(code)):
        raise pickle.UnpicklingError("a dtype that is not a plain one")
    # A copy, for BUILD may set its byte order and numpy shares the plain types.
    return np.dtype(code, copy=True)


def empty_array(cls: Any, shape: Any, kind: Any) -> np.ndarray:  # noqa: ANN401
    """An empty array that BUILD fills."""
    if cls is not NDARRAY:
        raise pickle.UnpicklingError("only plain numpy arrays can be rebuilt")
    return np.ndarray.__new__(np.ndarray, (0,), "b")


def _scalar(dtype: Any, raw: Any) -> Any:  # noqa: ANN401
    content = raw.encode("latin1") if type(raw) is str else raw
    if not _is_of_numbers(dtype) or type(content) is not bytes or len(content) != dtype.itemsize:
        raise pickle.UnpicklingError("a scalar whose bytes do not fit its dtype")
    return np.frombuffer(content, dtype)[0]


def _from_buffer(buffer: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:  # noqa: ANN401
    """Protocol 5's arrays. No opcode that is left can change the buffer under the array."""
    if not (_is_of_numbers(dtype) and type(buffer) in (bytes, bytearray) and is_shape(shape)):
        raise pickle.UnpicklingError("a buffer that is no array's")
    if len(buffer) != prod(shape) * dtype.itemsize:
        raise pickle.UnpicklingError("a buffer of another length than its array")
    flat = np.frombuffer(buffer, dtype) if len(buffer) else np.zeros(0, dtype)
    return flat.reshape(shape, order="F" if order == "F" else "C")


def _encode(text: Any, encoding: Any = "latin1") -> bytes:  # noqa: ANN401
    """`_codecs.encode`, with which protocol 2 writes bytes."""
    if type(text) is not str or encoding != "latin1":
        raise pickle.UnpicklingError("bytes in another encoding than latin1")
    return text.encode("latin1")


def _reconstructor(cls: Any, base: Any, state: Any) -> Any:  # noqa: ANN401
    """Protocols 0 and 1 make plain objects with it: only the caller's stand-ins."""
    if type(cls) is not Named or cls.new is None or base is not OBJECT or state is not None:
        raise pickle.UnpicklingError("only plain objects can be rebuilt")
    return cls.new()


def _bytes(content: Any = b"") -> bytes:  # noqa: ANN401
    if type(content) is not bytes:
        raise pickle.UnpicklingError("bytes that are not made of bytes")
    return content


def _bytearray(content: Any = b"", encoding: Any = "latin-1") -> bytearray:  # noqa: ANN401
    return bytearray(_encode(content, "latin1" if encoding == "latin-1" else encoding) if type(content) is str
                     else _bytes(content))  # fmt: skip


def _ordered(pairs: Any = ()) -> collections.OrderedDict[Any, Any]:  # noqa: ANN401
    made: collections.OrderedDict[Any, Any] = collections.OrderedDict()
    if type(pairs) not in (list, tuple):
        raise pickle.UnpicklingError("an ordered dict that is not made of pairs")
    for key, value in pairs:
        check_key(key)
        made[key] = value
    return made


def _complex(real: Any = 0.0, imaginary: Any = 0.0) -> complex:  # noqa: ANN401
    if type(real) is not float or type(imaginary) is not float:
        raise pickle.UnpicklingError("a complex number that is not made of floats")
    return complex(real, imaginary)


def _integers(kind: type[Any]) -> Builder:
    """Ranges and slices, of whole numbers alone: a slice of slices of ... would be freed on the C stack."""

    def build(*parts: Any) -> Any:  # noqa: ANN401
        if any(part is not None and type(part) is not int for part in parts):
            raise pickle.UnpicklingError(f"a {kind.__name__} that is not made of whole numbers")
        return kind(*parts)

    return build


def stand_in(name: str, made: Callable[..., Any]) -> Named:
    """Return the marker of a class of the caller's own: it makes plain objects of it, with no call of its `__init__`.

    Args:
        name: `module.name`, as the pickle names it.
        made: the class.
    """
    new = (lambda: object.__new__(made)) if isinstance(made, type) else None
    return Named(name, made, new)


def check_key(key: Any) -> None:  # noqa: ANN401
    """Raises UnpicklingError for a key of a dict or set that is not a number, a text or a small tuple of them."""
    left, parts = [(key, 0)], 0
    while left:
        value, depth = left.pop()
        parts += 1
        if type(value) in (tuple, frozenset) and depth < _MAX_KEY_DEPTH and parts + len(value) <= _MAX_KEY_PARTS:
            left += [(item, depth + 1) for item in value]
        elif not (value is None or type(value) in _SCALARS or isinstance(value, np.generic)):
            raise pickle.UnpicklingError(f"a key of a dict or set that is too large or {kind_of(value)}")


def checked_keys(items: Any) -> Any:  # noqa: ANN401
    """Return the members of a set. Raises UnpicklingError for anything but a list or tuple of allowed keys."""
    if type(items) not in (list, tuple):
        raise pickle.UnpicklingError("a set that is not made of a list")
    for item in items:
        check_key(item)
    return items


def is_shape(shape: Any) -> bool:  # noqa: ANN401
    """Whether it is a tuple of lengths whose product is no overflow, even with its zeros left out."""
    if type(shape) is not tuple or len(shape) > 32 or any(type(n) is not int or n < 0 for n in shape):
        return False
    return prod(n for n in shape if n) < 1 << 40


def _is_of_numbers(dtype: Any) -> bool:  # noqa: ANN401
    return isinstance(dtype, np.dtype) and not dtype.hasobject and dtype.itemsize > 0


def kind_of(value: Any) -> str:  # noqa: ANN401
    """Of a value that must not be spelled out: it may be huge."""
    return f"type {type(value).__name__}"


_SCALARS = (bool, bytes, complex, float, int, str, Named)
NDARRAY, OBJECT = Named("numpy.ndarray"), Named("builtins.object")
_CALLS: dict[str, Builder] = {
    "numpy.dtype": plain_dtype,
    "numpy.core.multiarray._reconstruct": empty_array,
    "numpy.core.multiarray.scalar": _scalar,
    "numpy.core.numeric._frombuffer": _from_buffer,
    "_codecs.encode": _encode,
    "copyreg._reconstructor": _reconstructor,
    "collections.OrderedDict": _ordered,
    "builtins.bytes": _bytes,
    "builtins.bytearray": _bytearray,
    "builtins.set": lambda items=(): set(checked_keys(items)),
    "builtins.frozenset": lambda items=(): frozenset(checked_keys(items)),
    "builtins.complex": _complex,
    "builtins.range": _integers(range),
    "builtins.xrange": _integers(range),  # as the first three protocols call it
    "builtins.slice": _integers(slice),
}
_TYPES = ("bool", "dict", "float", "int", "list", "str", "tuple")  # may be named as a value, never called
ALLOWED: dict[str, Named] = {
    "numpy.ndarray": NDARRAY,
    "builtins.object": OBJECT,
    **{f"builtins.{name}": Named(f"builtins.{name}") for name in _TYPES},
    **{name: Named(name, build) for name, build in _CALLS.items()},
}
