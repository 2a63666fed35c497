"""Every recipe is a valid run whose published number is found; a new file is tested as soon as it is there."""

import pytest

from dg.compare.recipe_numbers import changes, parameters_of, published_of
from dg.grid.cells import read_grid
from dg.grid.plan import make_plan
from dg.settings.command_line import check_plugins, parse
from dg.settings.recipes import FOLDER, load_recipe, recipe_names

NAMES = recipe_names()


def words(recipe):
    return [f"recipe={recipe.name}", *(f"recipe.{place}=/data/{place}" for place in recipe.needs)]


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_is_a_valid_run_and_its_numbers_are_published(name):
    recipe = load_recipe(name)
    if recipe.command == "grid":
        options, shared = read_grid(words(recipe))
        assert make_plan(options, shared).cells
    else:
        check_plugins(parse(words(recipe)))
    assert recipe.about
    taken = set().union(*(recipe.places_in(value) for value in recipe.settings.values()))
    assert taken == set(recipe.needs)
    assert published_of(recipe), f"no published number fits {dict(recipe.published)}"


@pytest.mark.parametrize("name", NAMES)
def test_the_numbers_of_a_recipe_are_those_of_one_row(name):
    """One lifter and one method; and no number twice for one test set, unless the paper prints it twice."""
    recipe = load_recipe(name)
    if recipe.command == "grid":
        pytest.skip("a grid has many rows")
    found = published_of(recipe)
    assert len({(r.lifter, r.method, r.input_2d.partition(",")[0]) for r in found}) == 1


def test_a_run_with_a_recipes_own_parameters_has_no_changes_and_another_tells_them():
    recipe = load_recipe("poseaug_table2_poseaug")
    params = parameters_of(recipe.name, tuple(recipe.needs))
    assert changes(recipe, params | {"seed": "7", "data.root": "/elsewhere", "targets": "[]"}) == []
    assert changes(recipe, params | {"epochs": "3"}) == ["epochs=3"]


def test_every_part_is_used():
    parts = {path.stem for path in FOLDER.glob("_*.yaml")}
    text = "\n".join(path.read_text() for path in FOLDER.glob("*.yaml"))
    assert {part for part in parts if text.count(part) == 0} == set()
