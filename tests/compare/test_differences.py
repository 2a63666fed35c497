import pytest

from dg.compare.differences import add_differences, differences_sheet
from tests.compare.make_results import run, tables

SEED_EFFECT = {0: 0.0, 1: 40.0, 2: -30.0, 3: 15.0, 4: -5.0}


def compared(*runs, baseline="erm", metric="mpjpe_mm"):
    (table,) = tables(*runs, metric=metric)
    add_differences(table, baseline)
    return table


def pair(shift, seeds=5, method="poseaug"):
    ours = [run(100.0 + SEED_EFFECT[s] + shift, s, method=method) for s in range(seeds)]
    return [run(100.0 + SEED_EFFECT[s], s) for s in range(seeds)] + ours


def test_what_a_seed_does_to_both_methods_does_not_widen_the_interval():
    (found,) = compared(*pair(-7.0)).differences
    assert (found.interval.low, found.interval.high) == pytest.approx((-7.0, -7.0))
    assert found.interval.certain
    (equal,) = compared(*pair(0.0)).differences
    assert (equal.interval.low, equal.interval.high) == (0.0, 0.0)


def test_only_seeds_that_both_have_are_paired():
    runs = [run(100.0, 0), run(100.0, 1), run(90.0, 1, method="poseaug"), run(1.0, 2, method="poseaug")]
    (found,) = compared(*runs).differences
    assert (found.interval.mean, found.interval.seeds) == (-10.0, 1)
    (none,) = compared(run(100.0, 0), run(90.0, 1, method="poseaug")).differences
    assert none.interval is None


def test_one_seed_makes_no_claim_and_the_sheet_says_so():
    sheet = differences_sheet(compared(*pair(-50.0, seeds=1)))
    assert sheet.lines == [["PoseAug", "xyd+dscale2d=focal, zbuffer", "SimpleBaseline", "-50.0 (1)"]]
    assert "fewer than 5 seeds" in " ".join(sheet.notes)
    assert "*" not in sheet.lines[0][-1]


def test_five_seeds_that_agree_are_called_certain():
    sheet = differences_sheet(compared(*pair(-7.0)))
    assert sheet.lines[0][-1] == "-7.0 [-7.0, -7.0] (5)*"
    assert "fewer" not in " ".join(sheet.notes)
    assert "negative is better" in sheet.notes[0]
    assert "positive is better" in differences_sheet(compared(*pair(-7.0), metric="auc")).notes[0]


def test_rows_are_compared_within_their_input_and_lifter_only():
    runs = [run(100.0), run(90.0, method="poseaug", lifter="video_pose_3d"), run(80.0, method="poseaug", inputs="xy")]
    table = compared(*runs)
    assert table.differences == []
    assert differences_sheet(table) is None
    assert "no row of erm" in table.remarks[0]


def test_a_baseline_of_two_configurations_is_told_by_the_settings_or_not_at_all():
    two = [run(100.0), run(50.0, params={"d_ref": "5.0"})]
    (found,) = compared(*two, run(90.0, method="poseaug", params={"method.noise": "48"})).differences
    assert found.interval.mean == -10.0
    assert compared(*two, run(90.0, method="poseaug", params={"d_ref": "6.0"})).differences == []


def test_another_baseline_and_none():
    assert compared(*pair(-7.0), baseline="poseaug").differences[0].interval.mean == pytest.approx(7.0)
    assert compared(*pair(-7.0), baseline="").differences == []
