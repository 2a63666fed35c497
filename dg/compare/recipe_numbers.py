"""The published numbers of a recipe, and which of our runs were made as it says."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache

from dg.compare.published import PublishedResult, published_results
from dg.compare.published_rows import differences_to
from dg.compare.results import RunResult, under
from dg.datasets.protocols import Protocol
from dg.settings.command_line import check_plugins, flat_options, parse
from dg.settings.config import FREE_KEYS
from dg.settings.recipes import PublishedRecipe

# What differs between two runs of one experiment: whose machine, whose folders, which seed.
_FREE = (*FREE_KEYS, "seed", "targets", "device", "adapt_to", "data.root", "data.path", "data_content", "box_ref",
         "evaluate_every")  # fmt: skip


@dataclass
class Reached:
    """A published number with what our runs of the recipe reach.

    Attributes:
        values: of each seed.
        why: reasons that a run's number is not comparable; it is shown all the same.
    """

    result: PublishedResult
    values: dict[str, float] = field(default_factory=dict)
    why: list[str] = field(default_factory=list)


def published_of(recipe: PublishedRecipe) -> list[PublishedResult]:
    """Return the numbers that a recipe's patterns name, those that are no metric of ours left out."""
    return [
        result
        for result in published_results()
        if recipe.published
        and result.meaning.metric is not None
        and all(fnmatchcase(str(getattr(result, name)), pattern) for name, pattern in recipe.published.items())
    ]


@cache
def parameters_of(recipe_name: str, places: tuple[str, ...]) -> dict[str, str]:
    """Return the parameters that MLflow holds of a run of a recipe.

    Args:
        recipe_name: a recipe of `dg train`.
        places: names of its places; what lies there does not matter.

    Raises:
        ConfigError: the recipe is no valid configuration.
    """
    config = parse([f"recipe={recipe_name}", *(f"recipe.{place}={place}" for place in places)])
    return {key: str(value) for key, value in (config.flat() | flat_options(check_plugins(config))).items()}


def changes(recipe: PublishedRecipe, params: Mapping[str, str]) -> list[str]:
    """Return the settings in which a run differs from a recipe, as `key=value`.

    Args:
        recipe: of `dg train`.
        params: the run's parameters; those of another version that only one side has are left out.
    """
    wanted = parameters_of(recipe.name, tuple(recipe.needs))
    places = set(recipe.keys_of_places())
    keys = [key for key in wanted if key in params and key not in places and not under(key, _FREE)]
    return [f"{key}={params[key]}" for key in keys if params[key] != wanted[key]]


def reached(
    recipe: PublishedRecipe, runs: Mapping[str, Iterable[RunResult]]
) -> tuple[list[Reached], dict[tuple[str, ...], int]]:
    """Return a recipe's numbers with ours.

    Args:
        recipe: of `dg train`.
        runs: metric -> results of our runs.

    Returns:
        The numbers; and how many runs began from the recipe with which settings changed.
    """
    found, changed = [], {}
    wanted = parameters_of(recipe.name, tuple(recipe.needs))
    for result in published_of(recipe):
        one = Reached(result)
        for run in runs.get(str(result.meaning.metric), ()):
            if (run.method, run.lifter) != (wanted["method.name"], wanted["lifter.name"]):
                continue
            differences = tuple(changes(recipe, run.params))
            if not differences:
                _add(one, run)
            elif run.recipe == recipe.name:
                changed.setdefault(differences, set()).add(run.started)
        found.append(one)
    return found, {differences: len(started) for differences, started in changed.items()}


def _add(one: Reached, run: RunResult) -> None:
    """The value of the target that the number is about, were it of the same data set alone."""
    theirs = one.result.meaning.protocol
    for target, protocol in run.protocols.items():
        ours = Protocol.parse(protocol)
        if ours.dataset != theirs.dataset:
            continue
        one.values[run.seed] = run.values[target]
        reasons = differences_to(ours, one.result)
        one.why += [reason for reason in reasons if reason not in one.why]
