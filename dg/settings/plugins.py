"""Plug-in tables: plain dicts name -> "module:Class", resolved lazily, and their options as frozen dataclasses.

A plug-in class carries its options as `Options`, a frozen dataclass; its fields are what the command line may set
(`method.feedback_mode=eval`). A table is one dict in its package's `__init__`, so every process has it.
"""

import difflib
from collections.abc import Mapping
from dataclasses import MISSING, fields
from importlib import import_module
from typing import Any, get_args, get_origin


class OptionError(ValueError):
    """A plug-in or an option that does not exist, or a value of the wrong type. The message says what is possible."""


def suggest(name: str, known: list[str]) -> str:
    """`; did you mean 'x'?` where a known name is close, else nothing."""
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def resolve(table: Mapping[str, str], kind: str, name: str) -> type[Any]:
    """The class that a table names. Raises OptionError that lists the table for an unknown name."""
    if name not in table:
        raise OptionError(f"unknown {kind} {name!r}; known: {sorted(table)}{suggest(name, list(table))}")
    module, _, attribute = table[name].partition(":")
    return getattr(import_module(module), attribute)


def make_options(plugin: type[Any], kind: str, name: str, given: Mapping[str, Any]) -> Any:  # noqa: ANN401
    """The plug-in's Options with some fields set.

    Raises OptionError for an option it does not have, a required one that is missing, or a value of another type.
    """
    known = {f.name: f for f in fields(plugin.Options)}
    for option, value in given.items():
        if option not in known:
            raise OptionError(
                f"{kind} {name!r} has no option {option!r}; it takes {sorted(known)}{suggest(option, list(known))}"
            )
        if not _fits(value, known[option].type):
            raise OptionError(f"{kind}.{option} expects {_spell(known[option].type)}, got {value!r}")
    required = [n for n, f in known.items() if f.default is MISSING and f.default_factory is MISSING]
    missing = [n for n in required if n not in given]
    if missing:
        raise OptionError(f"{kind} {name!r} needs " + " ".join(f"{kind}.{option}=..." for option in missing))
    converted = {o: _convert(v, known[o].type) for o, v in given.items()}
    try:
        return plugin.Options(**converted)
    except ValueError as error:
        raise OptionError(f"{kind} {name!r}: {error}") from error


def _fits(value: Any, kind: Any) -> bool:  # noqa: ANN401
    if get_origin(kind) is not None and get_origin(kind) is not tuple:  # a union such as `str | None`
        return any(_fits(value, k) for k in get_args(kind))
    if get_origin(kind) is tuple:
        return isinstance(value, list | tuple) and all(_fits(v, get_args(kind)[0]) for v in value)
    if kind is type(None):
        return value is None
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return not isinstance(kind, type) or isinstance(value, kind)


def _convert(value: Any, kind: Any) -> Any:  # noqa: ANN401
    if kind is float:
        return float(value)
    return tuple(value) if get_origin(kind) is tuple else value


def _spell(kind: Any) -> str:  # noqa: ANN401
    return getattr(kind, "__name__", str(kind)) if get_origin(kind) is None else str(kind)
