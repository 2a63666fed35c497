"""jaxtyping's annotations of tensors, checked in a third of the time: what they say of a type is worked out once.

Names are bound among jaxtyping's own, so that the axes of both kinds of hints are one set. Whatever is unusual is left
to jaxtyping: arrays of NumPy, `...`, axes that may be broadcast.
"""

import inspect
from functools import cache
from types import UnionType
from typing import Any, Union, get_args, get_origin

import torch
from jaxtyping import AbstractArray
from jaxtyping._storage import get_shape_memo


class _Meta(type):
    def __instancecheck__(cls, value: object) -> bool:
        if type(value) not in (torch.Tensor, torch.nn.Parameter):
            return isinstance(value, cls.annotation)
        if value.dtype not in cls.seen_dtypes:
            cls.seen_dtypes[value.dtype] = _takes_dtype(cls.annotation, value.dtype)
        shape = value.shape
        if len(shape) != len(cls.axes) or not cls.seen_dtypes[value.dtype]:
            return False
        known = get_shape_memo()[0]
        new = {}
        for axis, size in zip(cls.axes, shape, strict=True):
            if isinstance(axis, int):
                if axis != size:
                    return False
            elif axis is not None and known.get(axis, new.setdefault(axis, size)) != size:
                return False
        if new:
            known.update(new)
        return True

    def __instancecheck_str__(cls, value: object) -> str:
        """For the message of an error."""
        return cls.annotation.__instancecheck_str__(value)

    def __repr__(cls) -> str:
        return repr(cls.annotation)


class Quick(metaclass=_Meta):
    """annotation: of jaxtyping. axes: sizes, names, or None for any. seen_dtypes: whether it takes them."""

    annotation: type[AbstractArray]
    axes: tuple[int | str | None, ...]
    seen_dtypes: dict[torch.dtype, bool]


def quick(hint: Any) -> Any:
    """The hint with each annotation in it that can be checked quickly in the quick form."""
    if inspect.isclass(hint) and issubclass(hint, AbstractArray):
        return _quick(hint)
    parts = get_args(hint)
    made = tuple(map(quick, parts))
    if all(a is b for a, b in zip(made, parts, strict=True)):
        return hint
    if get_origin(hint) in (Union, UnionType):
        return Union[made]  # noqa: UP007
    return get_origin(hint)[made] if get_origin(hint) in (tuple, list, dict) else hint


@cache
def _quick(annotation: type[AbstractArray]) -> type:
    axes = tuple(map(_axis, annotation.dims))
    if annotation.array_type is not torch.Tensor or ... in axes:
        return annotation
    return _Meta(annotation.__name__, (Quick,), {"annotation": annotation, "axes": axes, "seen_dtypes": {}})


def _axis(dim: Any) -> int | str | None:
    """Its size or its name, None where it may be anything, ... where it is unusual."""
    if type(dim).__name__ == "_AnonymousDim":
        return None
    if getattr(dim, "broadcastable", True) or getattr(dim, "treepath", False):
        return ...
    return getattr(dim, "size", None) or (dim.name if type(dim).__name__ == "_NamedDim" else ...)


def _takes_dtype(annotation: type[AbstractArray], dtype: torch.dtype) -> bool:
    return isinstance(torch.empty((), dtype=dtype), annotation.dtype[torch.Tensor, ""])
