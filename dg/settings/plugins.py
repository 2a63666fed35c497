"""Plug-in tables: plain dicts name -> "module:Class", resolved lazily, and their options as frozen dataclasses.

A plug-in class carries its options as `Options`, a frozen dataclass; its fields are what the command line may set
(`method.feedback_mode=eval`). A table is one dict in its package's `__init__`, so every process has it.
"""

from collections.abc import Mapping
from dataclasses import MISSING, fields
from importlib import import_module
from typing import Any, get_type_hints

from dg.settings.errors import ConfigError, OptionError
from dg.settings.reader import build, members, prepare, suggest


def resolve(table: Mapping[str, str], kind: str, name: str) -> type[Any]:
    """The class that a table names.

    Args:
        table: name -> "module:Class".
        kind: what the table lists, for the message.
        name: the plug-in.

    Raises:
        OptionError: for an unknown name; lists the table.
    """
    if name not in table:
        raise OptionError(f"unknown {kind} {name!r}; known: {sorted(table)}{suggest(name, list(table))}")
    module, _, attribute = table[name].partition(":")
    return getattr(import_module(module), attribute)


def make_options(
    plugin: type[Any], kind: str, name: str, given: Mapping[str, Any], options: type[Any] | None = None
) -> Any:  # noqa: ANN401 - the plug-in's own dataclass
    """The plug-in's Options with some fields set.

    Args:
        plugin: a class with a dataclass `Options`.
        kind: the group of the command line (`method`), for messages.
        name: the plug-in's name, for messages.
        given: values by option, as text or typed.
        options: the dataclass to make; None: `plugin.Options`.

    Raises:
        OptionError: for an option that it does not have, a required one that is missing, or a value of another type.
    """
    made: type[Any] = options or plugin.Options
    known = {f.name: f for f in fields(made)}
    hints = get_type_hints(made, include_extras=True)
    for option in given:
        if option not in known:
            raise OptionError(
                f"{kind} {name!r} has no option {option!r}; it takes {sorted(known)}{suggest(option, list(known))}"
            )
    required = [n for n, f in known.items() if f.default is MISSING and f.default_factory is MISSING]
    missing = [n for n in required if n not in given]
    if missing:
        raise OptionError(f"{kind} {name!r} needs " + " ".join(f"{kind}.{option}=..." for option in missing))
    tree = {option: _as_text(prepare(value, hints[option]), hints[option]) for option, value in given.items()}
    try:
        return build(made, tree)
    except ConfigError as error:
        lines = [
            f"{kind}.{line}" if line.partition(" ")[0] in known else f"{kind} {name!r}: {line}"
            for line in str(error).splitlines()
        ]
        raise OptionError("\n".join(lines)) from error


def _as_text(value: Any, annotation: Any) -> Any:  # noqa: ANN401 - of any field
    """Numbers as text where the option is text: checkpoints of earlier versions hold `2024` for a folder's name."""
    kinds = members(annotation)
    return str(value) if str in kinds and not {int, float} & set(kinds) and type(value) in (int, float) else value
