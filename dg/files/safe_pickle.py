"""A reader of pickles that builds arrays and plain containers and can do nothing else.

A pickle is a program for a small stack machine. Three things in it are dangerous: which functions it calls, which
objects it changes, and which arguments numpy believes without looking (`numpy.ndarray(shape, "O", buffer)` reads bytes
of the file as object pointers). So every global that a pickle names becomes an inert marker, only the builders of
`dg.files.pickle_builders` can be called through one, each checks all of its arguments, and only fresh arrays, fresh
dtypes, lists, dicts, sets and the caller's own stand-ins can be changed. The opcodes that real files of arrays never
hold are refused.
"""

import collections
import io
import pickle
import struct
from collections.abc import Callable, Mapping
from math import prod
from typing import Any, ClassVar, NoReturn

import numpy as np

from dg.files.errors import FileFormatError, UnsafeFileError
from dg.files.pickle_builders import (
    ALLOWED,
    Named,
    check_key,
    checked_keys,
    empty_array,
    is_shape,
    kind_of,
    plain_dtype,
    stand_in,
)

# Freeing an array of objects frees its items on the C stack: a chain of very many would overflow it.
MAX_OBJECT_ARRAYS = 1000


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
        self.known = ALLOWED | {name: stand_in(name, made) for name, made in extra_classes.items()}
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
            self.refuse(f"calls {target.name if type(target) is Named else 'an object of ' + kind_of(target)}")
        made = builder(*args)
        if builder in (plain_dtype, empty_array):
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
                self.refuse(f"sets the state of an object to {kind_of(state)}")
        else:
            self.refuse(f"changes {target.name if type(target) is Named else 'an object of ' + kind_of(target)}")

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
        if not is_shape(shape) or not isinstance(dtype, np.dtype):
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
            self.refuse(f"appends to an object of {kind_of(self.stack[-1])}")
        return self.stack[-1]

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self.set_items([key, value])

    def load_setitems(self) -> None:
        self.set_items(self.pop_mark())  # pyright: ignore[reportAttributeAccessIssue]

    def set_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) not in (dict, collections.OrderedDict):
            self.refuse(f"sets items of an object of {kind_of(target)}")
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
            self.refuse(f"adds items to an object of {kind_of(self.stack[-1])}")
        self.stack[-1].update(checked_keys(items))

    def load_frozenset(self) -> None:
        items = self.pop_mark()  # pyright: ignore[reportAttributeAccessIssue]
        self.stack.append(frozenset(checked_keys(items)))

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
