from dataclasses import replace

import pytest

from dg.compare.published import published_results
from dg.compare.published_rows import ALL, OFF, SIMILAR, add_published
from dg.datasets.protocols import BENCHMARKS
from dg.tracking.names import METRICS
from tests.compare.make_results import benchmark_id, benchmark_run, run, tables


def beside(*runs, which=SIMILAR, metric="mpjpe_mm"):
    (table,) = tables(*runs, metric=metric)
    add_published(table, published_results(), which)
    return table


def with_id(**changes):
    return benchmark_run(80.0, protocols={"3DHP-2929": benchmark_id("3DHP-2929", **changes)})


def test_the_papers_numbers_stand_below_ours_where_the_protocols_agree():
    table = beside(benchmark_run(80.0))
    assert table.head() == ["method", "input", "lifter", "source", "3DHP-2929"]
    body = table.body()
    assert body[0] == ["ERM", "xy", "SimpleBaseline", "ours", "80.0 (1)"]
    assert ["baseline", "xy", "SimpleBaseline", "PoseAug, Table 4; ORACLE selection", "85.3"] in body
    assert ["baseline", "xy", "SimpleBaseline", "PoseDA, Table 4; selection not stated", "81.2"] in body


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"frames": 2875}, "frames 2,875 against 2,929"),
        ({"flavour": "annot3"}, "ground truth annot3 against univ_annot3"),
        ({"joints": "h36m_17"}, "joints h36m_17 against h36m_16"),
        ({"source_2d": "hrnet"}, "2D hrnet against gt"),
        ({"tta": "none"}, "TTA none against flip"),
    ],
)
def test_one_part_that_differs_keeps_all_of_them_out_and_is_named(change, reason):
    table = beside(with_id(**change), which=ALL)
    assert table.published == []
    assert any(f"not beside ours: {reason} (" in remark for remark in table.remarks)


def test_numbers_about_another_data_set_are_only_said_to_be_absent():
    table = beside(run())
    assert table.published == []
    assert table.remarks == ["no published number of this metric is about near"]


def test_a_number_with_another_depth_source_stays_out_and_one_without_depth_is_shown_by_ours_with_depth():
    depth = "rendered-zbuffer(oracle)"
    ours = benchmark_run(
        60.0, "3DPW-PB", inputs="xyd", depth="zbuffer", protocols={"3DPW-PB": benchmark_id("3DPW-PB", depth)}
    )
    table = beside(ours)
    shown = {row.labels[0] for row in table.published}
    assert "PoseAug MLP" in shown
    assert not any("AugLift" in name for name in shown)
    assert any(f"depth {depth} against images (4 of AugLift, Table 4, Table 16)" in r for r in table.remarks)
    images = replace(ours, depth="images", protocols={"3DPW-PB": benchmark_id("3DPW-PB", "images")})
    (xyd,) = [row for row in beside(images).published if row.labels[0].endswith("dscale2d)") and "4;" in row.source]
    assert xyd.labels[1] == "xyd+dscale2d=paper, images"
    assert list(xyd.cells.values()) == [92.6]


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("regime", ["DG", "DA"])
def test_a_table_never_holds_a_published_number_of_another_regime_or_metric(regime, metric):
    table = beside(*(benchmark_run(80.0, name, regime=regime) for name in BENCHMARKS), which=ALL, metric=metric)
    by_value = {(r.method, r.value): r.meaning for r in published_results() if r.meaning.metric == metric}
    cells = [(row.labels[0], value) for row in table.published for value in row.cells.values()]
    assert {by_value[cell].regime for cell in cells} <= {regime}
    assert (regime, metric, bool(cells)) != ("DG", "mpjpe_mm", False)
    if regime == "DG":
        assert not {"PoseDA", "GPA", "AdaptPose", "BOA"} & {method for method, _ in cells}


def test_whose_poses_a_published_adaptation_saw_is_shown_as_not_stated():
    table = beside(benchmark_run(80.0, regime="DA", adapted_to="3DHP-2929:test"))
    assert table.head()[3] == "adapted to"
    assert {row.labels[3] for row in table.published} == {"3DHP, train or test not stated"}
    assert table.body()[0][3] == "3DHP-2929:test"


def test_other_lifters_and_training_detections_are_counted_or_shown_on_demand():
    few, many, none = (beside(benchmark_run(80.0), which=which) for which in (SIMILAR, ALL, OFF))
    assert {row.labels[2] for row in few.published} == {"SimpleBaseline"}
    assert {"SemGCN", "ST-GCN 1-frame"} <= {row.labels[2] for row in many.published}
    assert any("2d_train=hrnet" in row.settings for row in many.published)
    assert not any("2d_train" in row.settings for row in few.published)
    counted = len([c for row in many.published for c in row.cells]) - len([c for r in few.published for c in r.cells])
    assert f"{counted} more published numbers fit, of other lifters or training 2D: published=all" in few.remarks
    assert (none.published, none.remarks) == ([], [])


def test_another_training_set_is_said():
    small = [r for r in beside(benchmark_run(80.0, lifter="video_pose_3d"), which=ALL).published if r.settings]
    assert "train=Human3.6M S1" in {r.settings for r in small}
