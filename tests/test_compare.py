import csv
import io
import subprocess
import sys
from dataclasses import replace

import pytest

from dg import compare
from dg.comparison import RunResult, build_tables
from dg.comparison_text import to_csv, to_latex, to_markdown
from dg.metrics import PoseErrors
from dg.plugins import OptionError
from dg.tracking import METRICS, final_metric, make_tracker, prepare, protocol_tag, run_tags

PARAMS = {
    "method.name": "erm",
    "lifter.name": "simple_baseline",
    "inputs": "xyd",
    "dscale2d": "focal",
    "depth.name": "zbuffer",
    "data.name": "h36m",
    "data.stride": "10",
    "epochs": "20",
    "batch_size": "1024",
    "d_ref": "4.5",
    "lr": "0.001",
}


def run(value=100.0, seed=0, started=1, target="near", depth="zbuffer", params=None, **changes):
    protocol = f"{target}/camera-frame/n10/h36m_16/2d=gt/depth={depth}/tta=none"
    made = RunResult(
        method="erm",
        regime="DG",
        lifter="simple_baseline",
        inputs="xyd",
        dscale2d="focal",
        depth=depth,
        seed=str(seed),
        started=started,
        params=PARAMS | {"seed": str(seed), "out": f"runs/{seed}-{started}"} | (params or {}),
        values={target: value},
        protocols={target: protocol},
    )
    if depth == "none":
        made = replace(made, inputs="xy", dscale2d="off")
    return replace(made, **changes)


def tables(*runs, selection="source_val", metric="mpjpe_mm"):
    return build_tables(runs, selection, metric)


def test_seeds_are_averaged_with_their_standard_deviation():
    (table,) = tables(run(100.0, 0), run(104.0, 1), run(102.0, 2), run(90.0, method="poseaug"))
    assert table.body() == [
        ["erm", "xyd+dscale2d=focal, zbuffer", "simple_baseline", "102.0 ± 2.0 (3)"],
        ["poseaug", "xyd+dscale2d=focal, zbuffer", "simple_baseline", "90.0 (1)"],
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
    other = run(80.0, method="dh_aug", protocols={"near": "near/other-truth/n10/h36m_16/2d=gt/depth=zbuffer/tta=none"})
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
    "change", [{"render.actors": "9"}, {"tracking.uri": "x"}, {"targets": "[]"}, {"pool": "local"}]
)
def test_what_cannot_change_a_number_does_not_split_a_row(change):
    (table,) = tables(run(100.0), run(80.0, seed=1, params=change))
    assert len(table.rows) == 1


def test_depth_settings_do_not_split_runs_without_depth():
    change = {"depth.name": "noisy_zbuffer", "d_ref": "6.0", "body.name": "smpl"}
    (table,) = tables(run(100.0, depth="none"), run(80.0, seed=1, depth="none", params=change))
    assert table.body()[0][-1] == "90.0 ± 14.1 (2)"


def test_the_best_is_the_highest_where_high_is_good_and_oracle_says_so():
    (table,) = tables(run(100.0), run(80.0, method="poseaug"), selection="oracle", metric="auc")
    assert table.best(table.columns[0]).method == "erm"
    assert "ORACLE" in table.title


def test_markdown_has_one_row_a_line_and_marks_the_best():
    text = to_markdown(tables(run(100.0), run(80.0, method="poseaug")))
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len(lines) == 4
    assert len({line.count("|") for line in lines}) == 1
    assert len({len(line) for line in lines}) == 1
    assert "**80.0 (1)**" in lines[-1]


def test_csv_is_read_back_with_full_precision():
    text = to_csv(tables(run(100.123456, 0), run(101.0, 1)))
    (row,) = csv.DictReader(io.StringIO(text))
    assert float(row["mean"]) == pytest.approx(100.561728)
    assert (row["n"], row["seeds"], row["target"], row["regime"]) == ("2", "0 1", "near", "DG")


def test_latex_escapes_names_and_uses_rules():
    text = to_latex(tables(run(100.0, 0), run(102.0, 1), run(80.0, method="dh_aug")))
    assert r"dh\_aug" in text
    assert r"$\pm$" in text
    assert r"\textbf{80.0 (1)}" in text
    assert text.count(r"\toprule") == text.count(r"\bottomrule") == 1


# -- the command ----------------------------------------------------------------------------------------------------


def test_wrong_options_are_all_named_with_what_is_possible():
    with pytest.raises(OptionError) as wrong:
        compare.parse_options(["selction=last", "format=pdf", "stray"])
    assert all(word in str(wrong.value) for word in ("'selection'", "latex", "key=value"))
    assert compare.main(["selction=last"]) == 2
    assert compare.parse_options(["tracking.uri=off"]).tracking_uri == "off"


def test_a_missing_database_is_not_created(tmp_path, capsys):
    assert compare.main([f"tracking_uri=sqlite:///{tmp_path / 'no.db'}"]) == 4
    assert "train first" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_help_is_short_work():
    code = (
        "import sys, dg.compare; assert dg.compare.main(['--help']) == 0;"
        "assert not {'torch', 'mlflow'} & set(sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert all(f"  {option}=" in shown for option in vars(compare.CompareOptions()))


def test_every_metric_of_an_evaluation_has_a_place():
    assert set(METRICS) == set(PoseErrors.__dataclass_fields__) - {"action"}


def track(uri, folder, method, seed, value, status="FINISHED", tags=None):
    tracker = make_tracker(uri, "dg", folder)
    params = {"method": {"name": method}, "seed": seed, "epochs": 2, "batch_size": 8, "data": {"name": "synthetic"}}
    identity = run_tags(
        method=method, regime="DG", lifter="simple_baseline", inputs="xyd", dscale2d="focal", depth_source="zbuffer",
        selection="source_val", oracle=("depth",), protocols={"near": "near/x/n5"},
    )  # fmt: skip
    tracker.start(f"{method}-{seed}", params, identity | (tags or {}))
    tracker.log_metrics({final_metric("source_val", t, "mpjpe_mm"): value for t in ("near", "unlabelled")}, step=2)
    tracker.finish(status)


def test_runs_that_the_tracker_wrote_become_a_table(tmp_path, capsys):
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    prepare(uri, "dg")
    assert compare.main([f"tracking_uri={uri}"]) == 4
    assert "no run at all" in capsys.readouterr().err
    for seed, value in ((0, 90.0), (1, 94.0)):
        track(uri, tmp_path / f"e{seed}", "erm", seed, value)
    track(uri, tmp_path / "p", "poseaug", 0, 80.0)
    track(uri, tmp_path / "k", "poseaug", 1, 1.0, status="KILLED")
    track(uri, tmp_path / "s", "poseaug", 2, 2.0, tags={"sweep.id": "s1"})
    assert compare.main([f"tracking_uri={uri}"]) == 0
    shown = capsys.readouterr().out
    assert "92.0 ± 2.8 (2)" in shown
    assert "zbuffer (oracle)" in shown
    assert "Left out: 1 killed runs, 1 sweep trials." in shown
    assert "unlabelled" not in shown, "a result without a protocol is no result"
    assert protocol_tag("near") == "protocol.near"
    out = tmp_path / "deep" / "table.csv"
    assert compare.main([f"tracking_uri={uri}", "format=csv", f"out={out}"]) == 0
    assert [row["method"] for row in csv.DictReader(out.open())] == ["erm", "poseaug"]
    assert compare.main([f"tracking_uri={uri}", "experiment=dgg"]) == 4
    assert "did you mean 'dg'" in capsys.readouterr().err
    assert compare.main([f"tracking_uri={uri}", "selection=last"]) == 4
