"""A reader of pickles that builds arrays and plain containers and can do nothing else.

A pickle is a program for a small stack machine. Three things in it are dangerous: which functions it calls, which
objects it changes, and which arguments numpy believes without looking (`numpy.ndarray(shape, "O", buffer)` reads bytes
of the file as object pointers). So every global that a pickle names becomes an inert marker, only the builders of this
file can be called through one, each checks all of its arguments, and only fresh arrays, fresh dtypes, lists, dicts,
sets and the caller's own stand-ins can be changed. The opcodes that real files of arrays never hold are refused.
"""

import collections
import io
import pickle
import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar, NoReturn

import numpy as np

from dg.files.errors import FileFormatError, UnsafeFileError

# Freeing an array of objects frees its items on the C stack: a chain of very many would overflow it.
MAX_OBJECT_ARRAYS = 1000
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


def unpickle(data: bytes, source: str, extra_classes: Mapping[str, Callable[..., Any]] | None = None) -> Any:  # noqa: ANN401
    """The object in a pickle of arrays and containers.

    A class that the pickle holds as a value, such as `float`, is read as an inert `Named` marker.

    Args:
        data: The pickle, of any protocol, Python 2's too.
        source: What messages call it.
        extra_classes: Further globals that may be named, as `"module.name"` -> the class that stands in for it.

    Returns:
        The object.

    Raises:
        UnsafeFileError: It asks for something that is not allowed; nothing of that has been run.
        FileFormatError: It is damaged, no pickle, or too large for the memory.
    """
    try:
        return _RestrictedUnpickler(data, source, extra_classes or {}).load()
    except FileFormatError:
        raise
    # What a damaged opcode stream raises is not limited to UnpicklingError, says the standard library.
    except Exception as error:
        raise FileFormatError(
            f"{source}: expected a pickle of arrays, but it is damaged or of another kind "
            f"({type(error).__name__}: {error})"
        ) from error


class _RestrictedUnpickler(pickle._Unpickler):
    """The pure-Python unpickler, for it lets every opcode that calls or changes something be replaced."""

    dispatch: ClassVar[dict[int, Any]] = dict(pickle._Unpickler.dispatch)
    stack: list[Any]

    def __init__(self, data: bytes, source: str, extra_classes: Mapping[str, Callable[..., Any]]) -> None:
        # Python 2's byte strings hold raw array data; latin1 maps each byte to one character and back.
        super().__init__(io.BytesIO(data), encoding="latin1")
        self.source, self.size = source, len(data)
        self.known = ALLOWED | {name: _stand_in(name, made) for name, made in extra_classes.items()}
        self.stand_ins = tuple(made for made in extra_classes.values() if isinstance(made, type))
        self.fresh: dict[int, Any] = {}  # arrays and dtypes that wait for their state, by identity
        self.object_arrays = 0

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

    def refuse(self, what: str) -> NoReturn:
        raise UnsafeFileError(f"{self.source}: the pickle {what}; not loaded. Do not trust this file")

    # -- calls

    def build(self, target: Any, args: Any, how: str) -> Any:  # noqa: ANN401
        """What a marker makes of the arguments. how: `call` or `new`."""
        builder = getattr(target, how) if type(target) is Named else None
        if builder is None or type(args) is not tuple:
            self.refuse(f"calls {target.name if type(target) is Named else 'an object of ' + _kind(target)}")
        made = builder(*args)
        if builder in (_dtype, _reconstruct):
            self.fresh[id(made)] = made
        return made

    def load_reduce(self) -> None:
        args = self.stack.pop()
        self.stack[-1] = self.build(self.stack[-1], args, "call")

    def load_newobj(self) -> None:
        args = self.stack.pop()
        self.stack[-1] = self.build(self.stack[-1], args, "new")

    def load_newobj_ex(self) -> None:
        keywords = self.stack.pop()
        if type(keywords) is not dict or keywords:
            self.refuse("makes an object with keyword arguments")
        self.load_newobj()

    def _instantiate(self, klass: Any, args: Any) -> None:  # noqa: ANN401 - INST and OBJ, of protocols 0 and 1
        self.stack.append(self.build(klass, tuple(args), "new"))

    # -- changes

    def load_build(self) -> None:
        state = self.stack.pop()
        target = self.stack[-1]
        if isinstance(target, np.dtype) or type(target) is np.ndarray:
            if self.fresh.pop(id(target), None) is None:
                self.refuse("sets the state of an array or dtype twice")
            if isinstance(target, np.dtype):
                self.check_dtype_state(target, state)
            else:
                self.check_array_state(state)
            target.__setstate__(state)  # pyright: ignore[reportAttributeAccessIssue] - absent from the stubs
        elif isinstance(target, self.stand_ins):
            if hasattr(target, "__setstate__"):
                target.__setstate__(state)
            elif type(state) is dict and all(type(key) is str for key in state):
                vars(target).update(state)
            else:
                self.refuse(f"sets the state of an object to {_kind(state)}")
        else:
            self.refuse(f"changes {target.name if type(target) is Named else 'an object of ' + _kind(target)}")

    def check_dtype_state(self, dtype: np.dtype, state: Any) -> None:  # noqa: ANN401
        """A forged state could make numpy read numbers as addresses: only a byte order may be changed."""
        order = state[1] if type(state) is tuple and len(state) == 8 else None
        if type(order) is not str or order not in ("<", ">", "=", "|"):
            self.refuse(f"forges the state of dtype {dtype}")
        expected = dtype.newbyteorder(order).__reduce__()[2][1:]
        if any(type(found) is not type(wanted) or found != wanted
               for found, wanted in zip(state[2:], expected[1:], strict=True)):  # fmt: skip
            self.refuse(f"forges the state of dtype {dtype}")

    def check_array_state(self, state: Any) -> None:  # noqa: ANN401
        """Numpy believes the shape; it compares neither its signs nor, for objects, its size with the content."""
        if type(state) is not tuple or len(state) not in (4, 5):
            self.refuse("forges the state of an array")
        shape, dtype, content = state[-4], state[-3], state[-1]
        if not _is_shape(shape) or not isinstance(dtype, np.dtype):
            self.refuse("forges the shape or the dtype of an array")
        count = prod(shape)
        if dtype.hasobject:
            self.object_arrays += 1
            if type(content) is not list or len(content) != count:
                self.refuse("forges the content of an object array")
            if self.object_arrays > MAX_OBJECT_ARRAYS:
                self.refuse(f"holds more than {MAX_OBJECT_ARRAYS} arrays of objects")
        elif (
            type(content) not in (bytes, str) or len(content) != count * dtype.itemsize or (count and not len(content))
        ):
            self.refuse("forges the content of an array")

    def load_append(self) -> None:
        value = self.stack.pop()
        self.list_on_top().append(value)

    def load_appends(self) -> None:
        items = self.pop_mark()  # pyright: ignore[reportAttributeAccessIssue] - absent from the stubs
        self.list_on_top().extend(items)

    def list_on_top(self) -> list[Any]:
        if type(self.stack[-1]) is not list:
            self.refuse(f"appends to an object of {_kind(self.stack[-1])}")
        return self.stack[-1]

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self.set_items([key, value])

    def load_setitems(self) -> None:
        self.set_items(self.pop_mark())  # pyright: ignore[reportAttributeAccessIssue]

    def set_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) not in (dict, collections.OrderedDict):
            self.refuse(f"sets items of an object of {_kind(target)}")
        for key, value in zip(items[::2], items[1::2], strict=True):
            check_key(key)
            target[key] = value

    def load_dict(self) -> None:
        items = self.pop_mark()  # pyright: ignore[reportAttributeAccessIssue]
        self.stack.append({})
        self.set_items(items)

    def load_additems(self) -> None:
        items = self.pop_mark()  # pyright: ignore[reportAttributeAccessIssue]
        if type(self.stack[-1]) is not set:
            self.refuse(f"adds items to an object of {_kind(self.stack[-1])}")
        self.stack[-1].update(_keys(items))

    def load_frozenset(self) -> None:
        items = self.pop_mark()  # pyright: ignore[reportAttributeAccessIssue]
        self.stack.append(frozenset(_keys(items)))

    def load_bytearray8(self) -> None:
        """The standard one allocates what the file claims before it reads."""
        (length,) = struct.unpack("<Q", self.read(8))  # pyright: ignore[reportAttributeAccessIssue]
        if length > self.size:
            raise pickle.UnpicklingError("a byte array that is longer than the file")
        self.stack.append(bytearray(self.read(length)))  # pyright: ignore[reportAttributeAccessIssue]

    def load_refused(self) -> None:
        self.refuse("uses buffers, extensions or persistent names")

    dispatch |= {
        pickle.REDUCE[0]: load_reduce, pickle.NEWOBJ[0]: load_newobj, pickle.NEWOBJ_EX[0]: load_newobj_ex,
        pickle.BUILD[0]: load_build, pickle.APPEND[0]: load_append, pickle.APPENDS[0]: load_appends,
        pickle.SETITEM[0]: load_setitem, pickle.SETITEMS[0]: load_setitems, pickle.DICT[0]: load_dict,
        pickle.ADDITEMS[0]: load_additems, pickle.FROZENSET[0]: load_frozenset,
        pickle.BYTEARRAY8[0]: load_bytearray8,
    }  # fmt: skip
    _REFUSED = (pickle.NEXT_BUFFER, pickle.READONLY_BUFFER, pickle.EXT1, pickle.EXT2, pickle.EXT4, pickle.PERSID,
                pickle.BINPERSID)  # fmt: skip
    dispatch |= dict.fromkeys([code[0] for code in _REFUSED], load_refused)


# -- what may be built


def _dtype(code: Any, align: Any = False, copy: Any = False) -> np.dtype:  # noqa: ANN401
    """Plain types alone, no records, whose fields could overlap."""
    if not (type(code) is str and _PLAIN_DTYPE.fullmatch(code)):
        raise pickle.UnpicklingError("a dtype that is not a plain one")
    # A copy, for BUILD may set its byte order and numpy shares the plain types.
    return np.dtype(code, copy=True)


def _reconstruct(cls: Any, shape: Any, kind: Any) -> np.ndarray:  # noqa: ANN401
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
    if not (_is_of_numbers(dtype) and type(buffer) in (bytes, bytearray) and _is_shape(shape)):
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


def _set(items: Any = ()) -> set[Any]:  # noqa: ANN401
    return set(_keys(items))


def _frozenset(items: Any = ()) -> frozenset[Any]:  # noqa: ANN401
    return frozenset(_keys(items))


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


def _stand_in(name: str, made: Callable[..., Any]) -> Named:
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
            raise pickle.UnpicklingError(f"a key of a dict or set that is too large or {_kind(value)}")


def _keys(items: Any) -> Any:  # noqa: ANN401
    if type(items) not in (list, tuple):
        raise pickle.UnpicklingError("a set that is not made of a list")
    for item in items:
        check_key(item)
    return items


def _is_shape(shape: Any) -> bool:  # noqa: ANN401
    """Whether it is a tuple of lengths whose product is no overflow, even with its zeros left out."""
    if type(shape) is not tuple or len(shape) > 32 or any(type(n) is not int or n < 0 for n in shape):
        return False
    return prod(n for n in shape if n) < 1 << 40


def _is_of_numbers(dtype: Any) -> bool:  # noqa: ANN401
    return isinstance(dtype, np.dtype) and not dtype.hasobject and dtype.itemsize > 0


def _kind(value: Any) -> str:  # noqa: ANN401
    """Of a value that must not be spelled out: it may be huge."""
    return f"type {type(value).__name__}"


_SCALARS = (bool, bytes, complex, float, int, str, Named)
NDARRAY, OBJECT = Named("numpy.ndarray"), Named("builtins.object")
_CALLS: dict[str, Builder] = {
    "numpy.dtype": _dtype,
    "numpy.core.multiarray._reconstruct": _reconstruct,
    "numpy.core.multiarray.scalar": _scalar,
    "numpy.core.numeric._frombuffer": _from_buffer,
    "_codecs.encode": _encode,
    "copyreg._reconstructor": _reconstructor,
    "collections.OrderedDict": _ordered,
    "builtins.bytes": _bytes,
    "builtins.bytearray": _bytearray,
    "builtins.set": _set,
    "builtins.frozenset": _frozenset,
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
