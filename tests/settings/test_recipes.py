"""Recipes on the command line: whose settings hold, which places are asked for, and how files build on each other."""

import pytest

from dg.settings import recipes
from dg.settings.command_line import parse
from dg.settings.config import GROUPS, ConfigError, TrainConfig
from dg.settings.recipes import load_recipe, read_recipes, recipe_names, with_recipe

TABLE = "recipe=poseaug_table4_poseaug_cpn_video_pose_3d"
PLACES = ("data.root=/h36m", "recipe.mpi_inf_3dhp=/3dhp")


def test_a_recipe_is_its_settings_with_the_places_that_are_given():
    config = parse([TABLE, *PLACES])
    assert config.recipe == TABLE.partition("=")[2]
    assert config.data == {"name": "h36m", "root": "/h36m", "keypoints": "cpn_ft_h36m_dbb"}
    assert config.targets == ["h36m:/h36m?keypoints=cpn_ft_h36m_dbb", "mpi_inf_3dhp:/3dhp?protocol=3DHP-2929"]
    assert (config.method["feedback"], config.lifter["name"], config.batch_size) == ("released", "video_pose_3d", 1024)


def test_what_the_command_line_says_holds_wherever_it_stands():
    before, after = parse(["epochs=60", TABLE, *PLACES]), parse([TABLE, *PLACES, "epochs=60"])
    assert before.epochs == after.epochs == 60
    assert parse([TABLE, *PLACES, "data.keypoints=hr"]).targets[0].endswith("?keypoints=hr")


def test_another_plug_in_comes_without_the_recipes_options_of_that_plug_in():
    config = parse([TABLE, *PLACES, "method=erm"])
    assert config.method == {"name": "erm"}
    assert config.epochs == 146


def test_places_that_are_missing_are_asked_for_at_once_and_only_where_they_are_used():
    with pytest.raises(ConfigError) as caught:
        parse([TABLE])
    assert [line.split("=...: ")[0].rsplit(" ", 1)[1] for line in str(caught.value).splitlines()] == [
        "data.root", "recipe.mpi_inf_3dhp",
    ]  # fmt: skip
    assert parse([TABLE, "data.root=/h36m", "targets=npz:FILE"]).targets == ["npz:FILE"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["recipe=poseaug_tabel4"], "unknown recipe"),
        (["recipe=common"], "training=common"),
        (["recipe.h36m=/x"], "name one with recipe=NAME"),
        ([TABLE, *PLACES, "recipe.pw3d=/x"], "has no place 'pw3d'"),
    ],
)
def test_a_mistake_is_answered_with_what_was_expected(words, message):
    with pytest.raises(ConfigError, match=message):
        parse(words)


def test_the_name_of_the_recipe_decides_no_number():
    config = parse([TABLE, *PLACES])
    plain = TrainConfig.from_plain(config.plain() | {"recipe": ""})
    assert config.digest() == plain.digest()
    assert "recipe" not in config.flat()


def test_checkpoints_from_before_recipes_keep_their_training_and_their_digest():
    """Digests by `parse([]).digest()` and `parse(["inputs=uadd", "recipe=common"]).digest()` at commit 2c90ae7, when
    30 epochs were the default.
    """
    assert parse(["epochs=30", "output_init=original"]).digest() == "6ece2018d9f02717"
    new = parse(["inputs=uadd", "training=common", "epochs=30", "output_init=original"])
    assert new.digest() == "7b1ab534c3dbef3b"
    plain = {k: v for k, v in new.plain().items() if k not in ("training", "output_init")} | {"recipe": "common"}
    assert TrainConfig.from_plain(plain) == new


def written(folder, name, text):
    (folder / name).write_text(text)
    return folder / name


def test_every_combination_of_choices_is_a_recipe_and_later_blocks_hold(tmp_path):
    written(tmp_path, "_base.yaml", "settings: {epochs: 1, seed: 1}\nnotes: [base]")
    written(tmp_path, "_axis.yaml", "x: {settings: {seed: 2}}\ny: {}")
    path = written(
        tmp_path,
        "t.yaml",
        "extends: _base\nsettings: {epochs: 2}\n"
        "vary:\n  - a: {notes: [more]}\n    b: {settings: {epochs: 3}}\n  - _axis",
    )
    found = {recipe.name: recipe for recipe in read_recipes(path)}
    assert list(found) == ["t_a_x", "t_a_y", "t_b_x", "t_b_y"]
    assert dict(found["t_a_x"].settings) == {"epochs": "2", "seed": "2"}
    assert dict(found["t_b_y"].settings) == {"epochs": "3", "seed": "1"}
    assert found["t_a_y"].notes == ("base", "more")


@pytest.mark.parametrize(
    ("text", "message"),
    [("settngs: {a: 1}", "unknown"), ("command: fly", "command must be"), ("vary: 3", "list of axes"), ("- a", "keys")],
)
def test_a_file_of_another_form_is_refused_by_name(tmp_path, text, message):
    with pytest.raises(ConfigError, match=rf"t\.yaml.*{message}"):
        list(read_recipes(written(tmp_path, "t.yaml", text)))


def test_a_recipe_of_another_command_names_it(tmp_path, monkeypatch):
    written(tmp_path, "g.yaml", "command: grid\nsettings: {methods: [erm], seeds: [0, 1]}")
    monkeypatch.setattr(recipes, "FOLDER", tmp_path)
    recipes._recipes.cache_clear()
    try:
        with pytest.raises(ConfigError, match="dg grid recipe=g"):
            parse(["recipe=g"])
        assert with_recipe([("recipe", "g")], list(GROUPS), "grid") == [("methods", "[erm]"), ("seeds", "[0,1]")]
    finally:
        recipes._recipes.cache_clear()


def test_the_key_of_a_place_is_the_setting_that_it_is():
    recipe = load_recipe(TABLE.partition("=")[2])
    assert [recipe.key_of(place) for place in recipe.needs] == ["data.root", "recipe.mpi_inf_3dhp"]


def test_every_published_experiment_starts_its_lifter_as_its_authors_do():
    """`output_init=zero` is ours."""
    other = [name for name in recipe_names() if load_recipe(name).settings.get("output_init") != "original"]
    assert other == []
