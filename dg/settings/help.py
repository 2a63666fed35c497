"""`--help`, made from the settings: every key with its default, its choices and the comment behind its field."""

import inspect
import re
import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from typing import Any, Literal, get_args, get_origin, get_type_hints

from dg.settings.reader import members

_FIELD = re.compile(r"    (\w+): .*?(?:  # (.+))?$")
_HEADING = re.compile(r"    # -- (.+)$")
_MORE = re.compile(r"    # (.+)$")
WIDEST, INDENT = 110, 28


@dataclass(frozen=True)
class Key:
    """A line of help: the key, its default as text, its choices, and what it means."""

    name: str
    default: str
    choices: tuple[str, ...]
    meaning: str
    heading: str = ""


def keys_of(kind: type[Any], prefix: str = "", heading: str = "") -> Iterator[Key]:
    """Every key of a settings dataclass, those of nested dataclasses with their prefix.

    Args:
        kind: a dataclass; the comment behind a field is its meaning, `# -- TEXT` between fields a heading.
        prefix: of the keys, such as `render.`.
        heading: of keys that stand under none of their own.
    """
    said = _comments(kind)
    hints = get_type_hints(kind, include_extras=True)
    for f in fields(kind):
        if not f.metadata.get("key", True):
            continue
        meaning, own = said.get(f.name, ("", ""))
        annotation, under = hints[f.name], own or heading
        if is_dataclass(annotation) and isinstance(annotation, type):
            yield from keys_of(annotation, f"{prefix}{f.name}.", under)
        else:
            yield Key(prefix + f.name, _default(f), _choices(annotation), meaning, under)


def render_keys(keys: Sequence[Key], width: int = 0) -> str:
    """Keys as wrapped lines, each heading above its keys.

    Args:
        keys: from `keys_of`.
        width: of the lines in characters; 0: the terminal's, at most 110.
    """
    width = width or _terminal_width()
    lines, heading = [], ""
    for key in keys:
        if key.heading != heading:
            heading = key.heading
            lines += ["", f"{heading}:"]
        meaning = "; ".join(part for part in (" | ".join(filter(None, key.choices)), key.meaning) if part)
        lines += _wrapped(f"{key.name}={key.default}", meaning, width)
    return "\n".join(lines)


def render_table(names: Sequence[tuple[str, str]]) -> str:
    """Pairs of a name and what it means, as wrapped lines."""
    width = _terminal_width()
    return "\n".join(line for name, meaning in names for line in _wrapped(name, meaning, width))


def render_text(text: str) -> str:
    """Text with its paragraphs wrapped; one with an indented line stays as it is."""
    width = _terminal_width()
    parts = text.strip().split("\n\n")
    return "\n\n".join(p if re.search(r"^ ", p, re.M) else textwrap.fill(p, width) for p in parts)


def plugin_help(group: str, name: str, plugin: type[Any], options: type[Any] | None = None) -> str:
    """What a plug-in is, and its options.

    Args:
        group: of the command line, such as `method`.
        name: in the group's table.
        plugin: a class with `Options`.
        options: the dataclass to list; None: `plugin.Options`.
    """
    listed: type[Any] = options or plugin.Options
    about = inspect.getdoc(sys.modules[plugin.__module__]) or ""
    keys = list(keys_of(listed, f"{group}."))
    said = inspect.getdoc(listed) or ""
    own = "" if not keys or said.startswith(f"{listed.__name__}(") else said
    shown = render_keys(keys) if keys else "  none"
    return "\n".join(part for part in (f"{group}={name}: {about}", f"\nits options:\n{shown}", own) if part)


def _terminal_width() -> int:
    return min(WIDEST, shutil.get_terminal_size((WIDEST, 24)).columns)


def _wrapped(left: str, right: str, width: int) -> list[str]:
    body = textwrap.wrap(right, max(30, width - INDENT - 2)) or [""]
    if len(left) > INDENT - 2:
        return [f"  {left}", *(f"  {'':{INDENT}}{line}" for line in body if line)]
    return [f"  {left:<{INDENT}}{body[0]}".rstrip(), *(f"  {'':{INDENT}}{line}" for line in body[1:])]


def _default(field: "Field[Any]") -> str:
    if field.default is not MISSING:
        value = field.default
    elif field.default_factory is not MISSING:
        value = field.default_factory()
    else:
        return "..."
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return str(value.get("name", ""))
    if isinstance(value, list | tuple):
        return f"[{','.join(map(str, value))}]"
    return "none" if value is None else "" if value == "" else f"{value:g}" if type(value) is float else str(value)


def _choices(annotation: Any) -> tuple[str, ...]:  # noqa: ANN401 - a type
    found = [str(v) for kind in members(annotation) if get_origin(kind) is Literal for v in get_args(kind)]
    return ("true", "false") if annotation is bool else tuple(found)


def _comments(kind: type[Any]) -> dict[str, tuple[str, str]]:
    """Of each field the comment behind it, with the comment lines right below, and the heading that it stands under."""
    found: dict[str, tuple[str, str]] = {}
    for base in reversed(kind.__mro__[:-1]):
        heading, last = "", ""
        for line in textwrap.dedent(inspect.getsource(base)).splitlines():
            if match := _HEADING.match(line):
                heading, last = match[1], ""
            elif (match := _FIELD.match(line)) and match[1] in getattr(base, "__annotations__", {}):
                last = match[1]
                found[last] = (match[2] or "", heading)
            elif (match := _MORE.match(line)) and last:
                found[last] = (f"{found[last][0]} {match[1]}", heading)
            elif not line.startswith("    #"):
                last = ""
    return found
