"""Errors of runs against the length of the window: their lines, tables, CSV and figure."""

import io

import pytest
from PIL import Image

from dg.compare.sheets import to_markdown
from dg.study.figures import error_figure
from dg.study.frames import IN_DOMAIN, depth_changes, in_domain_first
from dg.study.motion import changes_of
from dg.study.results import csv_of, frame_of, shared_labels, shown_labels, table, twins


def row(target, sees, frames, seed, error, **more):
    labels = {"target": target, "lifter": "l", "input": sees, **more}
    return labels | {"protocol": f"{target}/depth={sees}", "x": frames, "seed": str(seed), "error": error}


ROWS = [
    row("a", "xy", 1, 0, 100.0), row("a", "xy", 1, 1, 104.0), row("a", "xy", 27, 0, 90.0),
    row("a", "xyd", 1, 0, 51.0), row("a", "xyd", 27, 0, 90.0),
    row("b", "xy", 1, 0, 200.0), row("b", "xyd", 1, 0, 150.0), row("b", "xy", 27, 0, 10.0),
    row("c" + IN_DOMAIN, "xy", 1, 0, 10.0), row("c" + IN_DOMAIN, "xyd", 1, 0, 9.0),
]  # fmt: skip


def test_runs_that_differ_in_window_and_seed_alone_are_one_line():
    frame = frame_of(ROWS)
    assert frame["line"].tolist() == [0, 0, 0, 1, 1, 2, 3, 2, 4, 5]
    assert shown_labels(frame) == ["target", "input"]
    assert shared_labels(frame) == "l"


def test_a_newer_run_of_a_seed_replaces_an_older_one_and_other_protocols_never_mix():
    older, newer = row("a", "xy", 1, 0, 1.0), row("a", "xy", 1, 0, 2.0)
    assert frame_of([older, newer])["error"].tolist() == [2.0]
    assert frame_of([older, newer | {"protocol": "another"}])["line"].tolist() == [0, 1]


def test_differences_to_the_recorded_time_are_taken_seed_by_seed():
    recorded = [row("a", "x", 1, 1, 4.0, time="recorded"), row("a", "x", 1, 2, 7.0, time="recorded")]
    moved = [row("a", "x", 1, 0, 5.0, time="back"), row("a", "x", 1, 1, 9.0, time="back")]
    changes = changes_of(frame_of(recorded + moved + [row("a", "x", 9, 1, 1.0, time="back")]), "recorded")
    assert changes[["x", "seed", "error"]].to_numpy().tolist() == [[1, "1", 5.0]]
    same = [r | {"time": "back"} for r in recorded]
    assert changes_of(frame_of(recorded + same), "recorded")["error"].tolist() == [0.0, 0.0]


def test_what_depth_changes_is_in_percent_and_its_mean_over_the_other_domains():
    frame = in_domain_first(frame_of(ROWS))
    assert frame["target"].tolist()[0] == "c" + IN_DOMAIN
    assert sorted(twins(frame, "input", "xy")["target"].unique()) == ["a", "b", "c" + IN_DOMAIN]
    changes = depth_changes(frame)
    assert dict(zip(zip(changes["target"], changes["x"], strict=True), changes["error"], strict=True)) == {
        ("c" + IN_DOMAIN, 1): pytest.approx(-10.0),
        ("a", 1): pytest.approx(-50.0),
        ("a", 27): pytest.approx(0.0),
        ("b", 1): pytest.approx(-25.0),
        ("mean across domains", 1): pytest.approx(-37.5),
    }
    assert depth_changes(frame_of(frame[frame["input"] == "xy"])).empty
    alone = frame_of(frame[frame["target"] != "b"])
    assert "mean across domains" not in set(depth_changes(alone)["target"]), "one domain has no mean"


def test_the_table_has_a_column_for_each_length_and_a_row_for_each_line():
    sheet = table("errors", frame_of(ROWS), ["a note"])
    assert sheet.title == "errors · l"
    assert list(sheet.frame) == ["target", "input", "T=1", "T=27"]
    text = to_markdown([sheet])
    assert "| a             | xy    | 102.0 ± 2.8 (2) | 90.0 (1) |" in text
    assert "| b             | xyd   | 150.0 (1)       | -        |" in text
    assert "- a note" in text


def test_the_csv_says_all_of_a_number():
    text = csv_of(frame_of(ROWS), "mpjpe_mm").splitlines()
    assert text[0] == "target,lifter,input,protocol,frames,metric,mean,std,n,seeds"
    assert text[1].startswith("a,l,xy,a/depth=xy,1,mpjpe_mm,102.0,2.82")
    assert text[1].endswith(",2,0 1")
    assert text[2] == "a,l,xy,a/depth=xy,27,mpjpe_mm,90.0,,1,0"


def test_the_figure_is_the_same_for_the_same_errors_and_another_for_others(pictures):
    def figure(frame):
        return error_figure(frame, "mpjpe_mm", "errors", "frames", shown_labels(frame), shared_labels(frame))

    frame = frame_of(ROWS)
    assert figure(frame) == figure(frame)
    assert figure(frame) != figure(frame_of(frame[frame["target"] == "a"]))
    wide, high = Image.open(io.BytesIO(figure(frame))).size
    assert wide > 800
    assert high > 500
