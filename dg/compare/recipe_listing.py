"""What `dg recipes` prints: every recipe in a table a file, or one recipe in full."""

import shlex
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from dg.compare.published import published_results
from dg.compare.recipe_numbers import Reached, reached
from dg.compare.results import RunResult
from dg.compare.sheets import Sheet, spell, to_markdown
from dg.compare.stored_runs import NothingToCompareError, read_results, stored_runs
from dg.compare.tables import SELECTION_TITLES
from dg.settings.recipes import PublishedRecipe, load_recipe, recipe_names

if TYPE_CHECKING:
    from dg.compare.settings import RecipesOptions

NOT_COMPARABLE = "*"
Runs = Mapping[str, Sequence[RunResult]]


def listing(options: "RecipesOptions") -> str:
    """The recipes as Markdown.

    Raises:
        ConfigError: for a name with which no recipe begins.
        TrackingError: for a store that cannot be read.
    """
    names = [name for name in recipe_names() if name.startswith(options.name)]
    if not names:
        load_recipe(options.name)  # says what is near
    runs, remark = _runs(options)
    if options.name in names:
        return _in_full(load_recipe(options.name), runs, remark, options.selection)
    recipes = [load_recipe(name) for name in names]
    sheets = [_sheet(list(some), runs, options.selection) for _, some in groupby(recipes, lambda r: r.table)]
    tail = [
        f"{len(recipes)} recipes; `dg recipes NAME` shows one in full, `dg train recipe=NAME` runs it",
        f"published / ours; ours: {SELECTION_TITLES[options.selection]}, mean ± standard deviation (seeds); "
        f"{NOT_COMPARABLE}: not the whole protocol agrees, or the paper does not state it; c: quoted by the paper",
        *([remark] if remark else []),
    ]
    return to_markdown(sheets) + "\n" + "".join(f"- {line}\n" for line in tail)


def _runs(options: "RecipesOptions") -> tuple[Runs, str]:
    """Our results by metric, or why there are none."""
    if options.tracking_uri == "off":
        return {}, ""
    try:
        found = stored_runs(options.tracking_uri, options.experiment)
    except NothingToCompareError as problem:
        return {}, f"nothing of ours: {problem}"
    metrics = {result.meaning.metric for result in published_results() if result.meaning.metric}
    return {metric: read_results(found, options.selection, metric)[0] for metric in metrics}, ""


def _sheet(recipes: Sequence[PublishedRecipe], runs: Runs, selection: str) -> Sheet:
    """The recipes of one file: a row each, a column for each test set and metric."""
    rows = {recipe.name: reached(recipe, runs) if recipe.command == "train" else ([], {}) for recipe in recipes}
    columns = list(dict.fromkeys(_column(one) for found, _ in rows.values() for one in found))
    lines = []
    for name, (found, changed) in rows.items():
        cells = {_column(one): _cell(one) for one in reversed(found)}
        marks = sum(changed.values())
        lines.append([name, *(cells.get(column, "") for column in columns), f"{marks}" if marks else "-"])
    first = next((one.result for found, _ in rows.values() for one in found), None)
    place = "" if first is None else f" ({first.paper}, {first.place})"
    return Sheet.of(f"{recipes[0].about}{place}", ["recipe", *columns, "changed runs"], lines, 1)


def _column(one: Reached) -> str:
    dataset = one.result.meaning.protocol.dataset or one.result.test
    return f"{dataset} {one.result.metric}"


def _cell(one: Reached) -> str:
    published = f"{one.result.value:g}{'c' if one.result.cited else ''}"
    mark = NOT_COMPARABLE if one.why else ""
    return f"{published} / {spell(list(one.values.values()))}{mark}" if one.values else published


def _in_full(recipe: PublishedRecipe, runs: Runs, remark: str, selection: str) -> str:
    places = {recipe.key_of(place): meaning for place, meaning in recipe.needs.items()}
    command = shlex.join(["dg", recipe.command, f"recipe={recipe.name}", *(f"{key}=..." for key in places)])
    parts = [f"# {recipe.name}", recipe.about, f"    {command}"]
    parts.append("Needs:\n" + _bullets(f"{key}: {meaning}" for key, meaning in places.items()))
    parts.append("Settings:\n" + _bullets(f"{key}={_spelled(value)}" for key, value in recipe.settings.items()))
    if recipe.notes:
        parts.append("Departures:\n" + _bullets(recipe.notes))
    found, changed = reached(recipe, runs) if recipe.command == "train" else ([], {})
    if found:
        parts.append(to_markdown([_numbers(found, selection)]).rstrip())
    if changed:
        told = (f"{count} with {', '.join(differences)}" for differences, count in changed.items())
        parts.append("Runs that began from it and changed settings:\n" + _bullets(told))
    return "\n\n".join([*parts, *([remark] if remark else [])]) + "\n"


def _numbers(found: Sequence[Reached], selection: str) -> Sheet:
    lines = [
        [r.id, r.test, r.metric, f"{r.value:g} {r.unit}", spell(list(one.values.values())), str(r.meaning.protocol),
         "; ".join(one.why)]
        for one in found if (r := one.result)
    ]  # fmt: skip
    head = ["id", "test", "metric", "published", "ours", "its protocol", "ours differs"]
    source = found[0].result.source
    return Sheet.of(f"{source}; ours: {SELECTION_TITLES[selection]}", head, lines, 3)


def _spelled(value: str | tuple[str, ...]) -> str:
    return value if isinstance(value, str) else f"[{','.join(value)}]"


def _bullets(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)
