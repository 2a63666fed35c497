"""One reader for every command: `key=value` arguments into the command's frozen dataclass.

A value is read by the type of its field. Text is taken as it stands, so that `out=2024`, `out=a=b`, `out=a #1` and
`dscale2d=off` need no quotes besides the shell's. A list is `[a,b]`, or one entry without brackets; an entry that holds
a comma or a bracket goes into quotes. `render.actors=3` sets a field of a nested dataclass, `method.width=3` an option
of a plug-in, which stays text until the plug-in's own dataclass types it (`dg.settings.plugins.make_options`).

Why this and not a library alone: of those tried, OmegaConf reads `off` as False, cuts `a #1` and refuses
`targets=npz:FILE`; jsonargparse refuses a list of one without brackets; tyro and pydantic-settings want `--key value`.
So the words are split here, and pydantic does all typing and checking, which finds every problem at once.
"""

import difflib
import re
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from dg.settings.errors import ConfigError

if TYPE_CHECKING:
    from pydantic import TypeAdapter

Settings = TypeVar("Settings")
Tree = dict[str, Any]
# Metadata of a field that no key sets: what stands on the command line without a key, or what the command fills in.
NO_KEY: dict[str, Any] = {"key": False}
# Keys that may be spelled as one of a plug-in's options though they belong to the command: no data set has `checks`.
SPELLINGS = {"data.checks": "data_checks"}


def suggest(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` where a known name is close, else nothing.

    Args:
        name: what was given.
        known: the names that exist.
    """
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def read(
    kind: type[Settings],
    args: Sequence[str],
    positional: str = "",
    problems: "Callable[[Settings], list[str]] | None" = None,
) -> Settings:
    """The settings that the arguments describe.

    Args:
        kind: a dataclass.
        args: `key=value` each, and at most one path where `positional` names the field that takes it.
        positional: name of the field for the argument without a key.
        problems: what to check besides each field's own type, when all fields are well.

    Raises:
        ConfigError: with every problem, one a line.
    """
    paths, pairs, odd = _split(args, positional=bool(positional))
    tree, found = to_tree(kind, pairs)
    found = odd + found
    if len(paths) > 1:
        found.append(f"expected key=value and one path, got {' '.join(paths)}; `--help` shows the usage")
    if paths:
        tree[positional] = home(paths[0])
    return build(kind, tree, found, problems)


def read_own(kind: type[Settings], args: Sequence[str], positional: str = "") -> tuple[Settings, list[str]]:
    """The settings of a command that takes those of another one too, and the arguments for that one.

    Args:
        kind: a dataclass; a key that it does not have belongs to the other.
        args: as for `read`.
        positional: as for `read`.

    Raises:
        ConfigError: with every problem of the command's own settings.
    """
    paths, pairs = split_args(args, positional=bool(positional))
    known = keys(kind)
    own = [f"{key}={value}" for key, value in pairs if key.partition(".")[0] in known]
    rest = [f"{key}={value}" for key, value in pairs if key.partition(".")[0] not in known]
    return read(kind, [*paths, *own], positional), rest


def keys(kind: type[Any]) -> list[str]:
    """The keys that set a dataclass, those of nested ones left out.

    Args:
        kind: a dataclass.
    """
    return [f.name for f in fields(kind) if f.init and f.metadata.get("key", True)]


def split_args(args: Sequence[str], positional: bool = False) -> tuple[list[str], list[tuple[str, str]]]:
    """The arguments without a key, and the `(key, value)` pairs of the others.

    Args:
        args: as the command line gives them.
        positional: whether arguments without a key are paths; one that exists as a file is a path even with a `=`.

    Raises:
        ConfigError: for an argument that is neither.
    """
    paths, pairs, found = _split(args, positional)
    if found:
        raise ConfigError("\n".join(found))
    return paths, pairs


def _split(args: Sequence[str], positional: bool) -> tuple[list[str], list[tuple[str, str]], list[str]]:
    paths, pairs, found = [], [], []
    for arg in args:
        key, equals, value = arg.partition("=")
        if positional and not arg.startswith("-") and (not equals or (not _is_key(key) and Path(arg).exists())):
            paths.append(arg)
        elif arg.startswith(("+", "~")) and equals:
            found.append(f"{arg!r}: write key=value without {key[0]!r}")
        elif not equals or not key:
            found.append(f"expected key=value, got {arg!r}; `--help` lists the keys")
        else:
            key = key.removeprefix("--")
            pairs.append((SPELLINGS.get(key, key), value))
    return paths, pairs, found


def to_tree(kind: type[Any], pairs: Sequence[tuple[str, str]]) -> tuple[Tree, list[str]]:
    """Nested dictionaries of prepared values, and what is wrong with the keys. The last of two equal keys holds.

    Args:
        kind: a dataclass; a field that is a dataclass is a branch, one that is a dict a plug-in with options.
        pairs: `(key, value)` each, keys with dots for branches.
    """
    tree: Tree = {}
    found: list[str] = []
    for key, value in pairs:
        problem = _place(kind, key, value, tree)
        found += [problem] if problem else []
    return tree, found


def build(
    kind: type[Settings],
    tree: Tree,
    found: Sequence[str] = (),
    problems: "Callable[[Settings], list[str]] | None" = None,
) -> Settings:
    """The dataclass that a tree of values describes, checked by its field types.

    Args:
        kind: a dataclass.
        tree: values by field name, nested where a field is a dataclass.
        found: problems that are known already; they are told with those found here.
        problems: what to check besides each field's own type.

    Raises:
        ConfigError: with every problem, one a line.
    """
    found = list(found)
    settings, wrong = _validated(kind, tree)
    if settings is None:
        found += wrong.values()
        # What is left may have problems of its own, and all are told at once.
        settings, _ = _validated(kind, _without(tree, wrong))
    if settings is not None and problems is not None:
        found += problems(settings)
    if found or settings is None:
        raise ConfigError("\n".join(dict.fromkeys(found)))
    return settings


def prepare(value: Any, annotation: Any) -> Any:  # noqa: ANN401 - of any field
    """A value in the form that pydantic checks: lists split, quotes taken off, `none` as None.

    Args:
        value: text from the command line; anything else is given back as it is.
        annotation: the type of the field.
    """
    if not isinstance(value, str):
        return value
    kinds = members(annotation)
    if type(None) in kinds and value.strip().lower() in ("none", "null"):
        return None
    for kind in kinds:
        if get_origin(kind) in (list, tuple):
            item = get_args(kind)[0] if get_args(kind) else str
            return [prepare(part, item) for part in split_list(value, one=str in members(item))]
    literals = [v for kind in kinds if get_origin(kind) is Literal for v in get_args(kind)]
    for literal in literals:
        if not isinstance(literal, str) and str(literal) == value.strip():
            return literal
    return home(unquoted(value))


def home(path: str) -> str:
    """A path with `~` at its beginning as the home folder.

    Args:
        path: any text; only `~` and `~/...` change.
    """
    return str(Path(path).expanduser()) if path == "~" or path.startswith("~/") else path


def members(annotation: Any) -> tuple[Any, ...]:  # noqa: ANN401 - a type
    """The types that a field may hold: those of a union, `Annotated` taken off.

    Args:
        annotation: a type.
    """
    if get_origin(annotation) is Annotated:
        return members(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return tuple(m for part in get_args(annotation) for m in members(part))
    return (annotation,)


def split_list(text: str, one: bool = True) -> list[str]:
    """`[a,b?x=[1,2]]` as `["a", "b?x=[1,2]"]`; commas within brackets and quotes do not part entries.

    Args:
        text: a list in brackets, or without.
        one: without brackets the text is one entry, commas and all; otherwise commas part it.
    """
    inner = text.strip()
    if inner.startswith("[") and inner.endswith("]"):
        inner = inner[1:-1]
    elif one:
        return [unquoted(inner)] if inner else []
    return [unquoted(part.strip()) for part in split_outside(inner, ",")] if inner.strip() else []


def split_outside(text: str, separator: str) -> list[str]:
    """The parts between separators that stand outside brackets and quotes.

    Args:
        text: what to split.
        separator: one character.
    """
    parts, depth, quote, begin, escaped = [], 0, "", 0, False
    for place, letter in enumerate(text):
        if quote:
            quote = "" if letter == quote and not escaped else quote
            escaped = letter == "\\" and not escaped
        elif letter in "'\"":
            quote = letter
        elif letter in "[{(":
            depth += 1
        elif letter in ")}]":
            depth -= 1
        elif letter == separator and depth == 0:
            parts.append(text[begin:place])
            begin = place + 1
    return [*parts, text[begin:]]


def unquoted(text: str) -> str:
    """Text without the quotes around it, if it is in quotes; a backslash before a quote within them keeps it."""
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "'\"":
        return re.sub(r"\\([\\'\"])", r"\1", text[1:-1])
    return text


def quoted(text: str) -> str:
    """Text as an entry of a list, or as a value: in quotes where it holds more than plain characters.

    Args:
        text: any text; `unquoted` is the inverse.
    """
    if text and not set(text) & set("[]{}(),'\"\\ \t\n#") and text == text.strip():
        return text
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'" if text else ""


# -- one key ----------------------------------------------------------------------------------------------------------


def _is_key(text: str) -> bool:
    return bool(text) and all(part.isidentifier() for part in text.split("."))


def _place(kind: type[Any], key: str, value: str, tree: Tree) -> str:
    """Put a value where its key says; returns what is wrong with the key, or nothing."""
    hints = get_type_hints(kind, include_extras=True)
    known = keys(kind)
    head, _, rest = key.partition(".")
    if head not in known:
        return f"unknown key {head!r}{suggest(head, known)} `--help` lists the keys"
    annotation = hints[head]
    if is_dataclass(annotation):
        inner = [f.name for f in fields(annotation)]
        if rest.partition(".")[0] not in inner:
            return f"unknown key {key!r}; {head} has {inner}{suggest(rest, inner)}"
        branch = tree.setdefault(head, {})
        return _place(annotation, rest, value, branch) if isinstance(annotation, type) else ""
    if dict in (annotation, get_origin(annotation)):
        tree.setdefault(head, {})[rest or "name"] = value
        return ""
    if rest:
        return f"unknown key {key!r}; {head} has no parts"
    tree[head] = prepare(value, annotation)
    return ""


# -- checking ---------------------------------------------------------------------------------------------------------


def _validated(kind: type[Settings], tree: Tree) -> "tuple[Settings | None, dict[tuple[str, ...], str]]":
    """The dataclass, or what is wrong by the place of the value."""
    from pydantic import ValidationError

    unknown = set(tree) - {f.name for f in fields(kind)}  # type: ignore[arg-type]
    if unknown:
        raise ConfigError(f"unknown keys {sorted(unknown)}")
    try:
        return _adapter(kind).validate_python(tree), {}
    except ValidationError as error:
        wrong: dict[tuple[str, ...], str] = {}
        for problem in error.errors():
            place = _path(kind, problem["loc"])
            wrong.setdefault(place, _message(".".join(place), problem))
        return None, wrong


@cache
def _adapter(kind: type[Any]) -> "TypeAdapter[Any]":
    """Made once: a grid or a list of recipes reads one dataclass hundreds of times."""
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def _path(kind: Any, location: Sequence[int | str]) -> tuple[str, ...]:  # noqa: ANN401 - a type
    """The names of fields in a pydantic location, which also holds places in lists and members of unions."""
    path: list[str] = []
    for part in location:
        if not is_dataclass(kind) or part not in {f.name for f in fields(kind)}:
            break
        path.append(str(part))
        kind = get_type_hints(kind).get(str(part))
    return tuple(path)


_EXPECTED = {
    "int": "expects a whole number (int)",
    "float": "expects a number (float)",
    "finite": "expects a finite number (float)",
    "bool": "expects true or false (bool)",
    "string": "expects text (str)",
    "list": "expects a list such as [a,b]",
    "tuple": "expects a list such as [a,b]",
}


def _message(name: str, problem: Mapping[str, Any]) -> str:
    kind, got, context = problem["type"], problem["input"], problem.get("ctx", {})
    if kind == "value_error":
        said = str(context.get("error", problem["msg"]))
        return f"{name}: {said}" if name else said
    if kind == "literal_error":
        choices = [text.strip(" '") for text in context["expected"].replace(" or ", ", ").split(",")]
        return f"{name} must be one of {choices}, got {got!r}{suggest(str(got), choices)}"
    if kind == "missing":
        return f"{name} is needed: give {name}=..."
    expected = _EXPECTED.get(kind.partition("_")[0]) or _bound(kind, context) or problem["msg"]
    return f"{name} {expected}, got {got!r}"


def _bound(kind: str, context: Mapping[str, Any]) -> str:
    """What a number out of its range should have been; empty for another problem."""
    least = context.get("ge")
    return {
        "greater_than": "must be positive" if context.get("gt") == 0 else f"must be above {context.get('gt')}",
        "greater_than_equal": "must not be negative" if least == 0 else f"must be at least {least}",
        "less_than": f"must be below {context.get('lt')}",
        "less_than_equal": f"must be at most {context.get('le')}",
    }.get(kind, "")


def _without(tree: Tree, places: Iterable[tuple[str, ...]]) -> Tree:
    """A copy without the values at these places."""
    copy = {key: dict(value) if isinstance(value, dict) else value for key, value in tree.items()}
    for place in places:
        branch: Any = copy
        for part in place[:-1]:
            branch = branch.get(part, {}) if isinstance(branch, dict) else {}
        if place and isinstance(branch, dict):
            branch.pop(place[-1], None)
    return copy
