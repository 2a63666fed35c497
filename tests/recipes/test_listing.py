"""What `dg recipes` prints: published numbers, and ours where runs were made as the recipe says."""

from dataclasses import replace

import pytest

from dg.compare import recipe_listing as listing
from dg.compare.recipe_numbers import parameters_of
from dg.compare.recipes import RecipesOptions, main
from dg.settings.recipes import load_recipe
from tests.compare.make_results import benchmark_run

NAME = "poseaug_table2_poseaug"


def of_recipe(value, seed=0, **changed):
    recipe = load_recipe(NAME)
    params = parameters_of(NAME, tuple(recipe.needs)) | {"seed": str(seed)} | changed
    return replace(
        benchmark_run(value, seed=seed), method="poseaug", lifter="video_pose_3d", params=params, recipe=NAME
    )


def shown(monkeypatch, name, *runs):
    monkeypatch.setattr(listing, "_runs", lambda options: ({"mpjpe_mm": runs}, ""))
    return listing.listing(RecipesOptions(name=name))


def test_our_seeds_stand_beside_the_published_number(monkeypatch):
    text = shown(monkeypatch, "poseaug_table2", of_recipe(75.0, 0), of_recipe(77.0, 1), of_recipe(50.0, 2, epochs="1"))
    (line,) = [line for line in text.splitlines() if f"{NAME} " in line]
    assert "73 / 76.0 ± 1.4 (2)" in line
    assert line.rstrip(" |").endswith("1"), "the run with changed settings is counted and not averaged"


def test_a_number_under_another_protocol_is_marked(monkeypatch):
    run = of_recipe(75.0)
    other = {target: protocol.replace("n2929", "n100") for target, protocol in run.protocols.items()}
    text = shown(monkeypatch, NAME, replace(run, protocols=other))
    assert "frames 100 against 2,929" in text


def test_one_recipe_is_shown_in_full(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert main([NAME, "tracking_uri=off"]) == 0
    text = capsys.readouterr().out
    assert f"dg train recipe={NAME} data.root=... recipe.mpi_inf_3dhp=..." in text
    assert "method.rigid=learned" in text
    assert "r0038" in text
    assert list(tmp_path.iterdir()) == []


def test_without_a_store_the_published_numbers_stand_alone(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert main(["poseda_table4"]) == 0
    text = capsys.readouterr().out
    assert "61.36" in text
    assert "nothing of ours: no MLflow database" in text


@pytest.mark.parametrize("name", ["poseaug_tabel", "nothing"])
def test_an_unknown_name_is_answered(name, capsys):
    assert main([name]) == 2
    assert "unknown recipe" in capsys.readouterr().err
