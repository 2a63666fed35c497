"""Which runs a grid has, what they are told, and what of it is refused."""

import json
from dataclasses import replace

import pytest

from dg.grid.cells import GridOptions, Spec, default_args, make_cells, parse_spec, read_grid
from dg.grid.plan import (
    begun,
    check_folder,
    choose_folder,
    finished,
    load_record,
    make_plan,
    mark_cell,
    write_record,
)
from dg.settings.command_line import parse
from dg.settings.config import ConfigError


def plan(*words):
    return make_plan(*read_grid(words))


def refusal(*words):
    with pytest.raises(ConfigError) as error:
        plan(*words)
    return str(error.value)


def test_a_spec_is_a_name_with_options():
    assert parse_spec("poseda") == Spec("poseda")
    spec = parse_spec("poseda?parts=gpa&betas=[0.5,0.9]")
    assert spec == Spec("poseda", (("parts", "gpa"), ("betas", "[0.5,0.9]")))
    assert spec.args("method", "method.") == ["method=poseda", "method.parts=gpa", "method.betas=[0.5,0.9]"]
    assert str(spec) == "poseda?parts=gpa&betas=[0.5,0.9]"


@pytest.mark.parametrize("text", ["", "?a=1", "a?", "a?b", "a?=1", "a?b=", "a?b=1&", "a b", "a?b=1&b=2", "a.b"])
def test_what_is_no_spec_is_refused(text):
    with pytest.raises(ConfigError):
        parse_spec(text)


def test_labels_are_plain_names_and_distinct():
    texts = [
        "a",
        "a?x=1",
        "a?x=2",
        "a?x=1&y=2",
        "a?x=b_c",
        "a?x_b=c",
        "a?x='1,2'",
        "a?x=[1,2]",
        "a?x=/long/" + 60 * "p",
    ]
    labels = [parse_spec(text).label for text in texts]
    assert len(set(labels)) == len(labels)
    assert labels[1] == "a_x=1"
    for label in labels:
        assert len(label) < 64
        assert not set("/?&',[]") & set(label)


def test_every_combination_is_a_cell_and_the_first_seed_comes_first():
    cells = plan(
        "methods=[erm,random_rigid]", "lifters=[simple_baseline,video_pose_3d]", "inputs=[xy,xyd]", "seeds=[3,1]"
    ).cells
    assert len(cells) == 16
    assert len({c.name for c in cells}) == len({c.digest for c in cells}) == 16
    assert [c.cell.seed for c in cells] == 8 * [3] + 8 * [1]
    assert cells[0].name == "erm-simple_baseline-xy-s3"


def test_a_cells_words_make_its_configuration():
    cells = plan(
        "methods=[random_rigid,erm]", "inputs=[xyd?dscale2d=paper,xy]", "epochs=7", "data.clips=9", "seeds=[2]"
    ).cells
    for planned in cells:
        config = parse(list(planned.cell.args))
        assert config == planned.config
        assert (config.epochs, config.data["clips"], config.seed) == (7, 9, 2)
        assert (config.pool, config.threads) == ("local", 1)
    assert [c.config.dscale2d_resolved for c in cells] == ["paper", "off", "paper", "off"]


def test_the_budget_is_one_for_all():
    cells = plan("methods=[erm,random_rigid]", "lifters=[simple_baseline?width=64]", "epochs=3").cells
    free = ("method", "lifter", "inputs", "seed")
    assert (
        len({json.dumps({k: v for k, v in vars(c.config).items() if k not in free}, default=str) for c in cells}) == 1
    )
    assert {c.config.lifter["width"] for c in cells} == {64}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], {"pool": "local", "threads": "1"}),
        (["pool=ray"], {"threads": "1"}),
        (["threads=3"], {"pool": "local"}),
        (["address=auto"], {"pool": "ray", "threads": "1"}),
        (["address=auto", "pool=local", "threads=2"], {}),
    ],
)
def test_a_cell_is_one_process_of_one_thread_unless_told_otherwise(words, expected):
    assert default_args(words) == expected


def test_windows_of_one_frame_keep_their_name_and_longer_ones_carry_theirs():
    words = ["methods=[erm]", "lifters=[video_pose_3d]", "inputs=[xy]"]
    cells = plan(*words, "frames=[1,27]").cells
    assert [c.name for c in cells] == ["erm-video_pose_3d-xy-s0", "erm-video_pose_3d-xy-f27-s0"]
    assert [c.config.frames for c in cells] == [1, 27]
    assert plan(*words).cells[0].name == plan(*words, "frames=1").cells[0].name == cells[0].name
    assert plan(*words).base == plan(*words, "frames=[1,27]").base, "more lengths may be added to a grid"
    assert "(in erm video_pose_3d xy frames 8)" in refusal(*words, "frames=[9,8]")


def test_adaptation_reaches_the_methods_alone_that_adapt():
    options, shared = read_grid(["methods=[erm,poseda]", "adapt_to=synthetic:near", "adapt_part=train"])
    erm, adapting = make_cells(options, shared, frozenset({"poseda"}))
    assert {"adapt_to=synthetic:near", "adapt_part=train"} <= set(adapting.args)
    assert not [w for w in erm.args if w.startswith("adapt_")]
    with pytest.raises(ConfigError, match="none of the methods adapts"):
        make_cells(options, shared, frozenset())
    with pytest.raises(ConfigError, match=r"\['poseda'\] are domain adaptation.*adapt_to=NAME:ARGUMENT"):
        make_cells(options, [], frozenset({"poseda"}))


def test_inputs_may_differ_in_their_reference_depth():
    cells = plan("methods=[erm]", "inputs=[xyd?dscale2d=paper&d_ref=3,xyd?dscale2d=paper&d_ref=6]").cells
    assert [planned.config.d_ref for planned in cells] == [3.0, 6.0]
    assert len({planned.config.digest() for planned in cells}) == 2
    assert [str(planned.cell.inputs) for planned in cells] == [f"xyd?dscale2d=paper&d_ref={d}" for d in (3, 6)]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "say which methods to compare"),
        (["methods=[erm,emr]"], "unknown method 'emr'"),
        (["methods=[erm]", "lifters=[simple_base]"], "did you mean 'simple_baseline'"),
        (["methods=[erm]", "inputs=[xyz]"], "inputs must be one of"),
        (
            ["methods=[erm]", "inputs=[xy?epochs=3]"],
            "['dscale2d', 'd_ref', 'f_ref', 'depth'], not 'epochs'",
        ),
        (["methods=[erm?epochs=3]"], "no option 'epochs'"),
        (["methods=[erm]", "inputs=[xyd?dscale2d=focal]", "dscale2d=off"], "give it once"),
        (
            ["methods=[erm]", "lifters=[simple_baseline?width=8]", "lifter.width=9"],
            "lifter.width is given for every run",
        ),
        (["methods=[erm]", "method=erm"], "use methods="),
        (["methods=[erm]", "seed=1"], "seeds=[0,1,2]"),
        (["methods=[erm]", "resume=auto"], "same command again"),
        (["methods=[erm]", "tracking.parent_run_id=x"], "parent run"),
        (["methods=[erm,erm]"], "methods must differ"),
        (["methods=[erm]", "seeds=[0,0]"], "seeds must differ"),
        (["methods=[erm]", "seeds=[x]"], "seeds expects a whole number"),
        (["methods=[erm]", "frames=[x]"], "frames expects a whole number"),
        (["methods=[erm]", "frames=[9,9]"], "frames must differ"),
        (["methods=[erm]", "frames=[8]"], "frames must be odd"),
        (["methods=[erm]", "parallel=-1"], "parallel must not be negative"),
        (["methods=[erm]", "parralel=2"], "did you mean 'parallel'"),
        (["methods=[erm]", "epochs=0"], "epochs must be positive"),
        (["methods=[erm]", "inputs=[xyd,xyd?dscale2d=auto]"], "one and the same run twice"),
        (["methods=[erm]", "inputs=[xyd,xyd?dscale2d=focal]"], "one and the same run twice"),
        (["methods=[erm]", "out"], "expected key=value"),
    ],
)
def test_wrong_words_are_refused_and_told_what_is_possible(words, said):
    assert said in refusal(*words)


def test_every_problem_is_listed_once_with_the_cells_that_have_it():
    text = refusal("methods=[erm,random_rigid?nope=1]", "inputs=[xy,xyd]", "data.clips=many")
    lines = text.splitlines()
    assert len(lines) == 2
    assert "data.clips expects a whole number (int), got 'many'" in lines
    assert any("'nope'" in line and "(in random_rigid?nope=1 simple_baseline xy; " in line for line in lines)


# -- the folder -------------------------------------------------------------------------------------------------------

WORDS = ["methods=[erm]", "inputs=[xy]", "tracking.uri=off"]


def recorded(folder, *words):
    made = plan(*words)
    check_folder(folder, made)
    write_record(folder, made, "id", "parent")
    for planned in made.cells:
        mark_cell(folder, planned)
    return made


def test_a_cell_is_finished_by_its_summary_under_its_own_settings(tmp_path):
    (cell,) = recorded(tmp_path, *WORDS).cells
    own = tmp_path / cell.name
    assert finished(tmp_path, cell) is None
    (own / "summary.json").write_text('{"interrupted": true}')
    assert finished(tmp_path, cell) is None
    (own / "summary.json").write_text('{"interrupted": false, "wall_s": 3}')
    assert finished(tmp_path, cell) == {"interrupted": False, "wall_s": 3}
    assert finished(tmp_path, replace(cell, config=replace(cell.config, epochs=99))) is None
    assert not begun(tmp_path, cell)
    (own / "latest").touch()
    assert begun(tmp_path, cell)


def test_a_folder_takes_more_cells_but_no_other_settings(tmp_path):
    recorded(tmp_path, *WORDS)
    recorded(tmp_path, "methods=[random_rigid]", "seeds=[0,1]", "tracking.uri=off", "inputs=[xyd]")
    assert [c["frames"] for c in load_record(tmp_path)["cells"]] == [1, 1, 1]
    assert [c["name"] for c in load_record(tmp_path)["cells"]] == [
        "erm-simple_baseline-xy-s0",
        "random_rigid-simple_baseline-xyd-s0",
        "random_rigid-simple_baseline-xyd-s1",
    ]
    for words, said in (
        (["epochs=9"], "epochs: 12 then, 9 now"),
        (["tracking.experiment=other"], "tracking.experiment: dg then, other now"),
    ):
        with pytest.raises(ConfigError, match=said):
            check_folder(tmp_path, plan(*WORDS, *words))
    check_folder(tmp_path, plan(*WORDS, "threads=2", "render.actors=5"))  # where it runs changes no number


def test_a_run_of_other_settings_is_not_taken_for_a_cell(tmp_path):
    recorded(tmp_path, *WORDS)
    (tmp_path / "grid.json").unlink()
    check_folder(tmp_path, plan(*WORDS))
    with pytest.raises(ConfigError, match="holds a run with other settings"):
        check_folder(tmp_path, plan(*WORDS, "epochs=9"))


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"cells": 3}', '{"cells": [], "base": "x"}'])
def test_a_damaged_record_is_none(tmp_path, content):
    (tmp_path / "grid.json").write_text(content)
    assert load_record(tmp_path) is None
    recorded(tmp_path, *WORDS)
    assert load_record(tmp_path)["parent_run_id"] == "parent"


def test_without_a_folder_the_newest_grid_of_these_very_cells_goes_on(tmp_path):
    made = plan(*WORDS)
    fresh = choose_folder("", made, tmp_path)
    assert fresh.parent == tmp_path
    assert fresh.name.startswith("grid-")
    for name, words in (
        ("grid-1", WORDS),
        ("grid-2", WORDS),
        ("grid-3", [*WORDS, "seeds=[0,1]"]),
        ("grid-4", [*WORDS, "lr=0.1"]),
    ):
        recorded(tmp_path / name, *words)
    assert choose_folder("", made, tmp_path) == tmp_path / "grid-2"
    assert choose_folder(str(tmp_path / "own"), made, tmp_path) == tmp_path / "own"


def test_options_are_what_the_words_say():
    options, shared = read_grid(["methods=erm", "parallel=3", "out=o", "render.actors=4", "seeds=[1]"])
    assert options == GridOptions(methods=("erm",), parallel=3, out="o", seeds=(1,))
    assert shared == ["render.actors=4"]


def test_sources_are_an_axis_with_a_table_each():
    made = plan("methods=[erm]", "inputs=[xy]", "sources=[synthetic?clips=4,synthetic?clips=8]", "seeds=[0,1]")
    assert [(cell.config.data["clips"], cell.config.seed) for cell in made.cells] == [(4, 0), (8, 0), (4, 1), (8, 1)]
    assert len({cell.name for cell in made.cells}) == 4
    assert "unknown data 'nothing'" in refusal("methods=[erm]", "sources=[nothing]")
    assert "leave data.clips out" in refusal("methods=[erm]", "sources=[synthetic]", "data.clips=3")
