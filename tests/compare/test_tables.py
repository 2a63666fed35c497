from dataclasses import fields, replace

import pytest

from dg.compare.differences import add_differences
from dg.settings.config import RenderConfig, TrainConfig
from tests.compare.make_results import run, tables


def test_seeds_are_averaged_with_their_standard_deviation():
    (table,) = tables(run(100.0, 0), run(104.0, 1), run(102.0, 2), run(90.0, method="poseaug"))
    assert table.body() == [
        ["ERM", "xyd+dscale2d=focal, zbuffer", "SimpleBaseline", "102.0 ± 2.0 (3)"],
        ["PoseAug", "xyd+dscale2d=focal, zbuffer", "SimpleBaseline", "90.0 (1)"],
    ]
    assert table.best(table.columns[0]).method == "poseaug"


def test_a_newer_run_of_the_same_seed_replaces_the_older_in_either_order():
    old, new = run(100.0, started=1), run(50.0, started=2)
    for runs in ((old, new), (new, old)):
        (table,) = tables(*runs)
        assert table.body()[0][-1] == "50.0 (1)"


def test_budgets_never_share_a_table():
    for change in ({"epochs": "40"}, {"batch_size": "64"}, {"data.stride": "5"}, {"max_steps": "100"}):
        two = tables(run(), run(method="poseaug", params=change))
        assert len(two) == 2, change
        (name,) = change
        assert all(f"{name}=" in t.title for t in two)


def test_domain_adaptation_never_shares_a_table_with_generalisation():
    dg, da = tables(run(method="poseda", regime="DA"), run())
    assert (dg.title[:4], da.title[:4]) == ("DG ·", "DA ·")
    assert [r.method for r in dg.rows + da.rows] == ["erm", "poseda"]


def test_protocols_and_depth_sources_never_share_a_column():
    other = run(
        80.0, method="dh_aug", protocols={"near": "near/other-truth/n10/h36m_16/2d=gt/depth=zbuffer/tta=none/data=0a1b"}
    )
    (table,) = tables(run(100.0), run(90.0, method="poseaug", depth="noisy_zbuffer"), other)
    assert table.headers() == ["near (1)", "near (2)", "near (3)"]
    assert [row[-3:].count("-") for row in table.body()] == [2, 2, 2]
    assert all(c.protocol in " ".join(table.legend()) for c in table.columns)


def test_equal_protocols_with_another_training_depth_do_not_share_a_column_either():
    protocol = {"near": "near/x/depth=rendered/tta=none"}
    (table,) = tables(run(protocols=protocol), run(depth="noisy_zbuffer", protocols=protocol))
    assert len(table.columns) == 2


def test_a_run_without_depth_stands_beside_every_depth_source():
    (table,) = tables(run(100.0), run(90.0, depth="noisy_zbuffer"), run(150.0, depth="none"))
    assert len(table.columns) == 2
    assert [row[-2:] for row in table.body() if row[1] == "xy"] == [["150.0 (1)"] * 2]
    (alone,) = tables(run(150.0, depth="none"))
    assert [c.depth for c in alone.columns] == ["none"]


def test_configurations_that_differ_are_never_averaged_and_the_difference_is_shown():
    (table,) = tables(run(100.0), run(80.0, seed=1, params={"d_ref": "5.0"}))
    assert table.head()[3] == "settings"
    assert [row[3:] for row in table.body()] == [["d_ref=4.5", "100.0 (1)"], ["d_ref=5.0", "80.0 (1)"]]


@pytest.mark.parametrize(
    "change",
    [
        {"render.actors": "9"}, {"render.min_actors": "2"}, {"render.max_actors": "8"}, {"render.service": "s/render"},
        {"tracking.uri": "x"}, {"targets": "[]"}, {"pool": "local"}, {"submit": "True"},
    ],
)  # fmt: skip
def test_what_cannot_change_a_number_does_not_split_a_row(change):
    (table,) = tables(run(100.0), run(80.0, seed=1, params=change))
    assert len(table.rows) == 1


def test_a_row_is_split_by_exactly_those_keys_that_the_digest_of_a_configuration_looks_at():
    """But for what varies between the runs of one row: the seed, the columns, the machine and the disk."""
    base = TrainConfig(data={"name": "h36m"}, method={"name": "erm"})
    for field in fields(RenderConfig):
        other = {"max_actors": "9", "service": "a/b", "rasterizer": "slow", "device": "cpu", "watchdog_s": 7.0}
        value = other.get(field.name, 5)
        changed = replace(base, render=replace(base.render, **{field.name: value}))
        params = {f"render.{field.name}": str(value)}
        found = tables(run(100.0), run(80.0, seed=1, params=params))[0].rows
        assert len(found) == (1 if changed.digest() == base.digest() else 2), field.name


def test_depth_settings_do_not_split_runs_without_depth():
    change = {"depth.name": "noisy_zbuffer", "d_ref": "6.0", "body.name": "smpl"}
    (table,) = tables(run(100.0, depth="none"), run(80.0, seed=1, depth="none", params=change))
    assert table.body()[0][-1] == "90.0 ± 14.1 (2)"


def test_the_best_is_the_highest_where_high_is_good_and_oracle_says_so():
    (table,) = tables(run(100.0), run(80.0, method="poseaug"), selection="oracle", metric="auc")
    assert table.best(table.columns[0]).method == "erm"
    assert "ORACLE" in table.title


def test_runs_adapted_to_train_and_to_test_poses_never_share_a_row():
    da = [run(v, s, method="poseda", regime="DA", adapted_to=f"near:{part}")
          for part, v, s in (("test", 60.0, 0), ("train", 70.0, 1), ("test", 62.0, 2))]  # fmt: skip
    (table,) = tables(*da)
    assert table.head() == ["method", "input", "lifter", "adapted to", "near"]
    assert [row[3:] for row in table.body()] == [["near:test", "61.0 ± 1.4 (2)"], ["near:train", "70.0 (1)"]]


def test_every_title_names_regime_and_selection():
    for regime in ("DG", "DA"):
        for selection, words in (("last", "last epoch"), ("source_val", "source validation"), ("oracle", "ORACLE")):
            (table,) = tables(run(regime=regime), selection=selection)
            assert table.title.startswith(f"{regime} · ")
            assert words in table.title


def test_a_depth_source_that_is_an_oracle_says_so_in_its_row():
    (table,) = tables(run(oracle="depth"))
    assert table.body()[0][1] == "xyd+dscale2d=focal, zbuffer (oracle)"


def test_answers_that_the_true_root_brought_to_metres_have_a_row_of_their_own_that_says_so():
    (table,) = tables(run(depth="none"), run(90.0, depth="none", oracle="root", params={"answers": "image"}))
    assert {row[1] for row in table.body()} == {"xy", "xy, true root (oracle)"}


def test_one_name_on_different_data_is_two_columns_and_no_difference():
    """`a/test.npz` and `b/test.npz` in two runs: 91.5 mm between them say nothing of the methods."""
    ids = [f"test/camera-frame/n10/h36m_16/2d=gt/depth=zbuffer/tta=none/data={data}" for data in ("aa", "bb")]
    runs = [
        run(200.0, method="erm", target="test", protocols={"test": ids[0]}),
        run(108.5, method="poseaug", target="test", protocols={"test": ids[1]}),
    ]
    (table,) = tables(*runs)
    add_differences(table, "erm")
    assert table.headers() == ["test (1)", "test (2)"]
    assert table.differences == []
    assert [[len(row.values(c)) for c in table.columns] for row in table.rows] == [[1, 0], [0, 1]]
    assert any("different data under one name" in remark for remark in table.remarks)


def test_results_from_before_data_were_identified_stand_apart_and_say_so():
    old = "near/camera-frame/n10/h36m_16/2d=gt/depth=zbuffer/tta=none"
    (table,) = tables(run(100.0), run(90.0, method="poseaug", protocols={"near": old}))
    assert len(table.columns) == 2
    (remark,) = table.remarks
    assert remark.startswith(f"near ({1 + [c.protocol for c in table.columns].index(old)}): stored by a version")
    assert tables(run(100.0), run(90.0, method="poseaug"))[0].remarks == []


def test_a_run_without_depth_stands_only_beside_runs_on_its_own_data():
    other = run(1.0).protocols["near"].replace("data=0a1b", "data=ffff")
    (table,) = tables(run(100.0, protocols={"near": other}), run(90.0, depth="none"))
    blind = next(row for row in table.rows if row.inputs == "xy")
    assert [len(blind.values(column)) for column in table.columns if column.depth == "zbuffer"] == [0]


def test_runs_trained_on_different_data_of_one_path_never_share_a_table():
    made = tables(run(params={"data_content": "aa"}), run(params={"data_content": "bb"}), run())
    assert len(made) == 3
    moved = [run(seed=seed, params={"data_content": "aa", "data.path": f"{seed}/x.npz"}) for seed in (0, 1)]
    assert len(tables(*moved)) == 1, "the same data at another place"


def test_depth_of_two_files_is_two_columns_and_a_run_without_depth_stands_in_both():
    made = "near/camera-frame/n10/h36m_16/2d=gt/depth=images/depth_data={}/tta=none/data=0a1b"
    runs = [run(v, depth="images", protocols={"near": made.format(d)}) for v, d in ((90.0, "aa"), (80.0, "bb"))]
    (table,) = tables(*runs, run(100.0, depth="none"))
    assert [c.depth for c in table.columns] == ["images", "images"]
    blind = next(row for row in table.rows if row.inputs == "xy")
    assert [blind.values(c) for c in table.columns] == [[100.0], [100.0]]


def test_rows_without_depth_stand_under_no_rendered_depth():
    drawn = run(90.0, protocols={"near": "near/x/depth=rendered-zbuffer(oracle)/tta=none"})
    blind = run(80.0, depth="none", protocols={"near": "near/x/depth=none/tta=none"})
    (mixed,) = tables(drawn, blind)
    assert mixed.legend() == [
        "near: near/x/tta=none; depth rendered-zbuffer(oracle) where the input has depth, else none"
    ]
    (alone,) = tables(blind)
    assert alone.legend() == ["near: near/x/depth=none/tta=none"]


def test_titles_name_the_source_by_its_label_and_the_metric_with_its_unit():
    (table,) = tables(run(params={"data.name": "h36m", "data.label": "cmu"}))
    assert "trained on CMU" in table.title
    assert "h36m" not in table.title
    assert "MPJPE (mm)" in table.title
