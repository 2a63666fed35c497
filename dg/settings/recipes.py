"""Recipes: the settings of published experiments, in `dg/recipes/*.yaml`, and how a command line starts from one.

A file holds one experiment, or a table of them that `vary` spans: each axis is a list of choices, and each combination
is a recipe called FILE_CHOICE_CHOICE. What a choice says is added to what the file says. A file whose name starts
with `_` is no recipe by itself; others extend it.

| key | content |
|---|---|
| `about` | what the experiment is, in a sentence |
| `extends` | file or files whose content comes first |
| `command` | `train`, or `grid` for several runs |
| `settings` | keys of the command; `{PLACE}` in a value stands for a place, `{KEY}` for another setting |
| `needs` | place -> what has to lie there |
| `published` | field of a published number -> pattern of its text; see `dg.compare.published` |
| `notes` | where our run departs from the published one |
| `vary` | axes, each choice -> the keys above; the name of a file that holds an axis; or a list of such parts of one |
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

from dg.settings.errors import ConfigError
from dg.settings.reader import home, quoted, suggest

FOLDER = Path(__file__).parents[1] / "recipes"
COMMANDS = ("train", "grid")
KEYS = ("about", "extends", "command", "settings", "needs", "published", "notes")
FORMER = ("original", "common")  # values of the key in earlier versions
_NAMED = re.compile(r"\{([\w.]+)\}")
Pairs = list[tuple[str, str]]
Value = str | tuple[str, ...]


@dataclass(frozen=True)
class PublishedRecipe:
    """One published experiment.

    Attributes:
        name: as in `recipe=NAME`.
        table: the file that it stands in.
        settings: key -> text, or texts of a list, with `{NAME}` for places.
        needs: place -> what has to lie there.
        published: field of a published number -> pattern of its text.
        notes: where our run departs from the published one.
    """

    name: str
    table: str
    about: str = ""
    command: str = "train"
    settings: Mapping[str, Value] = field(default_factory=dict)
    needs: Mapping[str, str] = field(default_factory=dict)
    published: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def pairs(self, places: Mapping[str, str], own: Mapping[str, str] | None = None) -> Pairs:
        """The settings as a command line has them.

        Args:
            places: place -> path.
            own: settings of the command line, to which the others may refer.
        """
        texts = {key: value for key, value in self.settings.items() if isinstance(value, str)}
        known = {**texts, **(own or {}), **places}
        return [(key, _spelled(value, known)) for key, value in self.settings.items()]

    def places_in(self, value: Value) -> set[str]:
        """Names of the places that a value takes, by itself or through settings to which it refers.

        Args:
            value: of a setting.
        """
        named = set(_NAMED.findall(str(value)))
        through = [self.places_in(self.settings[key]) for key in named if key in self.settings]
        return set().union(named - set(self.settings), *through)

    def keys_of_places(self) -> dict[str, str]:
        """Setting -> place, for the settings that are a place and nothing else."""
        texts = {key: value for key, value in self.settings.items() if isinstance(value, str)}
        whole = {key: _NAMED.fullmatch(text) for key, text in texts.items()}
        return {key: found[1] for key, found in whole.items() if found}

    def key_of(self, place: str) -> str:
        """What sets a place on the command line: `data.root` where that is all it is, else `recipe.PLACE`.

        Args:
            place: one of `needs`.
        """
        return next((key for key, name in self.keys_of_places().items() if name == place), f"recipe.{place}")


def recipe_names() -> list[str]:
    """Names of all recipes, file by file."""
    return list(_recipes())


def load_recipe(name: str) -> PublishedRecipe:
    """Return a recipe by its name.

    Args:
        name: as `recipe_names` has it.

    Raises:
        ConfigError: for an unknown name.
    """
    if name in FORMER:
        raise ConfigError(f"recipe names a published experiment; how a lifter is trained is training={name}")
    known = _recipes()
    if name not in known:
        raise ConfigError(f"unknown recipe {name!r}{suggest(name, known)} `dg recipes` lists them")
    return known[name]


def with_recipe(pairs: Sequence[tuple[str, str]], groups: Sequence[str], command: str = "train") -> Pairs:
    """Put the settings of the recipe that is named before those that were given, which hold.

    A plug-in of another name than the recipe's comes without the recipe's options of that plug-in.

    Args:
        pairs: keys and values of a command line.
        groups: keys that name a plug-in.
        command: whose command line it is.

    Returns:
        The pairs, those of places taken out; unchanged where no recipe is named.

    Raises:
        ConfigError: for an unknown recipe, one of another command, a place that it does not have, or places that are
            not given; with every problem, one a line.
    """
    named = [value for key, value in pairs if key == "recipe" and value]
    given = {key.partition(".")[2]: home(value) for key, value in pairs if key.startswith("recipe.")}
    own = [(key, value) for key, value in pairs if key.partition(".")[0] != "recipe"]
    if not named:
        if given:
            raise ConfigError(f"recipe.{next(iter(given))} is a place of a recipe; name one with recipe=NAME")
        return own
    recipe = load_recipe(named[-1])
    if recipe.command != command:
        raise ConfigError(f"recipe {recipe.name} is for another command: dg {recipe.command} recipe={recipe.name}")
    left = _left(recipe.settings, own, groups)
    places = _places(recipe, left, given, dict(own))
    ahead = [("recipe", recipe.name)] if command == "train" else []
    return [*ahead, *(pair for pair in recipe.pairs(places, dict(own)) if pair[0] in left), *own]


def _left(settings: Mapping[str, Value], own: Pairs, groups: Sequence[str]) -> list[str]:
    """Keys of the recipe that hold beside those of the command line."""
    last = dict(own)
    others = {group for group in groups if group in last and last[group] != settings.get(group)}
    return [key for key in settings if key not in last and key.partition(".")[0] not in others]


def _places(
    recipe: PublishedRecipe, left: Sequence[str], given: Mapping[str, str], own: Mapping[str, str]
) -> dict[str, str]:
    """Path of each place. Raises ConfigError for places that are unknown or missing."""
    unknown = [place for place in given if place not in recipe.needs]
    found = [
        f"recipe {recipe.name} has no place {place!r}{suggest(place, recipe.needs)} It has {list(recipe.needs)}"
        for place in unknown
    ]
    places = {place: home(own[key]) for key, place in recipe.keys_of_places().items() if key in own}
    places |= dict(given)
    wanted = {name for key in left for name in recipe.places_in(recipe.settings[key])}
    found += [
        f"recipe {recipe.name} needs {recipe.key_of(place)}=...: {meaning}"
        for place, meaning in recipe.needs.items()
        if place in wanted and not places.get(place)
    ]
    if found:
        raise ConfigError("\n".join(found))
    # What nothing takes is not asked for.
    return {**dict.fromkeys(recipe.needs, ""), **places}


# -- files ------------------------------------------------------------------------------------------------------------


@cache
def _recipes() -> dict[str, PublishedRecipe]:
    found: dict[str, PublishedRecipe] = {}
    for path in sorted(FOLDER.glob("[!_]*.yaml")):
        for recipe in read_recipes(path):
            if recipe.name in found:
                raise ConfigError(f"{path.name} and {found[recipe.name].table}.yaml both hold {recipe.name}")
            found[recipe.name] = recipe
    return found


def read_recipes(path: Path) -> Iterator[PublishedRecipe]:
    """Read every recipe of a file; files that it extends lie beside it.

    Raises:
        ConfigError: for a file of another form, naming file and key.
    """
    content = _content(path)
    axes = content.pop("vary", [])
    if not isinstance(axes, list):
        raise ConfigError(f"{path.name}: vary: expected a list of axes, got {axes!r}")
    axes = [_axis(axis, path) for axis in axes]
    start = _added(PublishedRecipe(path.stem, path.stem), content, path, "")
    for choices in product(*(axis.items() for axis in axes)):
        recipe = replace(start, name="_".join([path.stem, *(name for name, _ in choices)]))
        for name, block in choices:
            recipe = _added(recipe, block or {}, path, f"vary: {name}: ")
        taken = set().union(*(recipe.places_in(value) for value in recipe.settings.values()))
        # A part may name places of settings that another part replaces.
        yield replace(recipe, needs={place: meaning for place, meaning in recipe.needs.items() if place in taken})


def _axis(axis: Any, path: Path) -> dict[str, Any]:  # noqa: ANN401 - of a file
    """The choices of an axis. Raises ConfigError for something else."""
    if isinstance(axis, str):
        axis = _content(path.with_name(f"{axis}.yaml"))
    if isinstance(axis, list):
        axis = {name: block for part in axis for name, block in _axis(part, path).items()}
    if not isinstance(axis, dict) or not axis:
        raise ConfigError(f"{path.name}: vary: expected each axis to be choices with what they say, got {axis!r}")
    return axis


def _content(path: Path) -> dict[str, Any]:
    from dg.files.strict_yaml import load_yaml  # here, as help needs none

    content = load_yaml(path.read_text(encoding="utf-8"), texts_only=True)
    if not isinstance(content, dict):
        raise ConfigError(f"{path.name}: expected the keys {[*KEYS, 'vary']}")
    return dict(content)


def _added(recipe: PublishedRecipe, block: Mapping[str, Any], path: Path, where: str) -> PublishedRecipe:
    """A recipe with what a block says."""
    unknown = sorted(set(block) - set(KEYS)) if isinstance(block, Mapping) else ["no mapping"]
    if unknown:
        raise ConfigError(f"{path.name}: {where}unknown {unknown}; expected {list(KEYS)}")
    extended = block.get("extends", [])
    for part in [extended] if isinstance(extended, str) else extended:
        recipe = _added(recipe, _content(path.with_name(f"{part}.yaml")), path.with_name(f"{part}.yaml"), "")
    settings = {k: tuple(v) if isinstance(v, list) else v for k, v in block.get("settings", {}).items()}
    command = block.get("command", recipe.command)
    if command not in COMMANDS:
        raise ConfigError(f"{path.name}: {where}command must be one of {list(COMMANDS)}, got {command!r}")
    return replace(
        recipe,
        about=block.get("about", recipe.about),
        command=command,
        settings={**recipe.settings, **settings},
        needs={**recipe.needs, **block.get("needs", {})},
        published={**recipe.published, **block.get("published", {})},
        notes=(*recipe.notes, *block.get("notes", [])),
    )


def _spelled(value: Value, known: Mapping[str, str]) -> str:
    """As the command line has it, places and settings filled in."""
    if isinstance(value, str):
        return _NAMED.sub(lambda found: _spelled(known[found[1]], known), value)
    return f"[{','.join(quoted(_spelled(text, known)) for text in value)}]"
