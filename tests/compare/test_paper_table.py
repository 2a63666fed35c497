import csv
import io
from dataclasses import replace

import pytest

from dg.compare.paper_table import ABSENT, DIFFERENT, EMPTY, FILLED, OTHER, UNSTATED, fill, paper_csv, paper_sheets
from dg.compare.papers import find_table
from dg.compare.published import published_results
from dg.compare.results import training_set
from dg.compare.sheets import to_markdown
from tests.compare.make_results import HUMAN36M, benchmark_id, benchmark_run


def cells(paper, table, *runs, metric="mpjpe_mm"):
    return fill(find_table(paper, table), {metric: runs}, "source_val")


def cell(found, value):
    (one,) = [c for c in found if c.published.value == value]
    return one


def test_a_cell_is_filled_by_the_seeds_of_the_same_method_lifter_training_and_protocol():
    runs = [benchmark_run(84.0 + seed, seed=seed) for seed in (0, 1, 2)]
    found = cells("poseaug", "4", *runs)
    filled = [c for c in found if c.state == FILLED]
    assert [c.published.value for c in filled] == [85.3]
    assert filled[0].ours[0].values == [84.0, 85.0, 86.0]
    assert filled[0].text().replace("\x01", "").replace("\x02", "").replace("\x03", "±") == "85.3 / 85.0 ± 1.0 (3)"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"protocols": {"3DHP-2929": benchmark_id("3DHP-2929", frames=2875)}}, "frames 2,875 against 2,929"),
        ({"protocols": {"3DHP-2929": benchmark_id("3DHP-2929", tta="none")}}, "TTA none against flip"),
        ({"params": {"data.name": "synthetic"}}, "trained on synthetic against Human3.6M S1,S5,S6,S7,S8"),
        (
            {"params": HUMAN36M | {"data.name": "h36m", "data.stride": "10"}},
            "trained on Human3.6M S1,S5,S6,S7,S8, one frame in 10 against Human3.6M S1,S5,S6,S7,S8",
        ),
        ({"params": HUMAN36M | {"data.name": "h36m", "data.label": "cmu"}}, "trained on cmu against"),
        ({"params": HUMAN36M | {"data.name": "h36m", "data.keypoints": "cpn"}}, "training 2D cpn against gt"),
    ],
)
def test_a_run_that_differs_does_not_fill_it_and_the_reason_is_given(change, reason):
    one = cell(cells("poseaug", "4", replace(benchmark_run(84.0), **change)), 85.3)
    assert one.state == DIFFERENT
    assert any(reason in why for why in one.why)
    assert one.text() == "85.3 / ≠"


@pytest.mark.parametrize(
    "change",
    [{"method": "poseaug"}, {"lifter": "video_pose_3d"}, {"regime": "DA"}, {"inputs": "xyd"}],
)
def test_another_method_lifter_regime_or_input_is_no_candidate(change):
    one = cell(cells("poseaug", "4", replace(benchmark_run(84.0), **change)), 85.3)
    assert one.state == EMPTY


def test_a_lifter_of_many_frames_is_not_one_of_a_single_frame():
    many = benchmark_run(
        84.0, lifter="video_pose_3d", params=HUMAN36M | {"data.name": "h36m", "lifter.widths": "[3, 3]"}
    )
    single = replace(many, params=many.params | {"lifter.widths": "[1, 1, 1]"})
    assert cell(cells("poseaug", "4", many), 86.6).state == EMPTY
    for frames in ({"frames": "27"}, {"lifter.frames": "27"}):
        assert replace(single, params=single.params | frames).lifter_frames == 27
    assert cell(cells("poseaug", "4", single), 86.6).state == FILLED


def test_the_depth_rows_are_filled_by_depth_from_images_only():
    def xyd(depth, scale="paper"):
        return benchmark_run(
            95.0, "3DPW-PB", method="poseaug", inputs="xyd", dscale2d=scale, depth="images",
            protocols={"3DPW-PB": benchmark_id("3DPW-PB", depth)},
        )  # fmt: skip

    assert cell(cells("auglift", "4", xyd("images")), 92.6).state == FILLED
    oracle = cell(cells("auglift", "4", xyd("rendered-zbuffer(oracle)")), 92.6)
    assert oracle.state == DIFFERENT
    assert oracle.why == ["poseaug xyd simple_baseline on 3DPW-PB: depth rendered-zbuffer(oracle) against images"]
    focal = cell(cells("auglift", "4", xyd("images", "focal")), 92.6)
    assert focal.why == ["poseaug xyd simple_baseline on 3DPW-PB: dscale2d focal against paper"]


def test_what_a_paper_does_not_state_is_never_filled():
    one = cell(cells("auglift", "4"), 62.4)
    assert one.state == UNSTATED
    assert one.why == ["MPI-INF-3DHP test: the paper does not state ground truth, frames, TTA"]
    tried = cell(cells("auglift", "4", benchmark_run(60.0, "3DHP-all", method="poseaug")), 73.0)
    assert tried.state == DIFFERENT


def test_configurations_are_never_averaged():
    two = [benchmark_run(84.0), replace(benchmark_run(80.0, seed=1), params=benchmark_run(1).params | {"lr": "0.1"})]
    assert [c.values for c in cell(cells("poseaug", "4", *two), 85.3).ours] == [[84.0], [80.0]]


def test_every_published_number_gets_a_cell_in_its_sheet():
    total = 0
    for state in (fill([r], {}, "last")[0].state for r in published_results()):
        assert state in (EMPTY, UNSTATED, ABSENT, OTHER)
        total += 1
    assert total == 880
    for paper, table in (("auglift", "7"), ("poseda", "4"), ("poseaug", "2"), ("poseaug-repo", "notebook")):
        found = cells(paper, table)
        printed = [
            text for sheet in paper_sheets(found, "last") for line in sheet.lines for text in line[sheet.labels :]
        ]
        assert len([text for text in printed if text]) == len(found)


def test_the_sheet_of_auglift_table_4():
    # dg compare paper=auglift table=4, without a store
    (sheet,) = paper_sheets(cells("auglift", "4"), "source_val", ["no runs"])
    lines = to_markdown([sheet]).splitlines()
    assert lines[0] == (
        "### AugLift (arXiv 2508.07112 v4), Table 4 · trained on Human3.6M S1,S5,S6,S7,S8 · 2D gt · "
        "paper: selection not stated · ours: best by source validation"
    )
    assert lines[2].split("|")[4:6] == [" MPI-INF-3DHP test, MPJPE (mm) ", " 3DPW test, MPJPE (mm) "]
    assert [part.strip() for part in lines[-10].split("|")][1:] != []
    row = next(line for line in lines if line.startswith("| AugLift + PoseAug (XYD + dscale2d)"))
    assert [part.strip() for part in row.split("|")][1:-1] == [
        "AugLift + PoseAug (XYD + dscale2d)", "unstated (PoseAug MLP family)", "DG", "62.4 / ?", "92.6 / -",
    ]  # fmt: skip
    assert "- no runs" in lines


def test_oracle_selection_and_regime_are_marked():
    (poseaug,) = paper_sheets(cells("poseaug", "4"), "oracle")
    assert "paper: ORACLE selection" in poseaug.title
    assert "ours: ORACLE" in poseaug.title
    (poseda,) = paper_sheets(cells("poseda", "4"), "last")
    regimes = {line[0]: line[2] for line in poseda.lines}
    assert regimes == {"baseline": "DG", "LPA": "DG", "GPA": "DA", "PoseDA": "DA"}


def test_csv_holds_every_number_as_printed_and_ours():
    found = cells("poseaug", "4", benchmark_run(84.25))
    rows = list(csv.DictReader(io.StringIO(paper_csv(found))))
    assert [(row["id"], float(row["value"])) for row in rows] == [(c.published.id, c.published.value) for c in found]
    (ours,) = [row for row in rows if row["state"] == "filled"]
    assert (float(ours["ours_mean"]), ours["value"]) == (84.25, "85.3")


def test_a_training_set_is_named_by_what_decides_it():
    assert training_set({"data.name": "h36m", **HUMAN36M}) == "Human3.6M S1,S5,S6,S7,S8"
    assert training_set({"data.name": "h36m", **HUMAN36M, "data.subjects_train": "('S1',)"}) == "Human3.6M S1"
    assert training_set({"data.name": "synthetic"}) == "synthetic"
