"""Lines of errors against the length of the window, their tables, CSV and picture."""

import io

import pytest
from PIL import Image

from dg.compare.sheets import to_markdown
from dg.study.figures import error_figure
from dg.study.frames_results import IN_DOMAIN, depth_changes, in_domain_first
from dg.study.lines import Point, lines_of, shared_labels, shown_labels, table, ticks, to_csv, twins


def point(target, sees, frames, seed, error, lifter="l"):
    labels = {"target": target, "lifter": lifter, "input": sees}
    return Point(labels, f"{target}/depth={sees}", frames, str(seed), error)


POINTS = [
    point("a", "xy", 1, 0, 100.0), point("a", "xy", 1, 1, 104.0), point("a", "xy", 27, 0, 90.0),
    point("a", "xyd", 1, 0, 51.0), point("a", "xyd", 27, 0, 90.0),
    point("b", "xy", 1, 0, 200.0), point("b", "xyd", 1, 0, 150.0), point("b", "xy", 27, 0, 10.0),
    point("c" + IN_DOMAIN, "xy", 1, 0, 10.0), point("c" + IN_DOMAIN, "xyd", 1, 0, 9.0),
]  # fmt: skip


def test_runs_that_differ_in_window_and_seed_alone_are_one_line():
    lines = lines_of(POINTS)
    assert len(lines) == 6
    assert lines[0].values == {1: {"0": 100.0, "1": 104.0}, 27: {"0": 90.0}}
    assert lines[0].mean(1) == 102.0
    assert lines[0].spread(1) == pytest.approx(8**0.5)
    assert lines[0].spread(27) == 0.0
    assert lines[0].mean(9) is None
    assert ticks(lines) == [1, 27]
    assert shown_labels(lines) == ["target", "input"]
    assert shared_labels(lines) == "l"


def test_a_newer_run_of_a_seed_replaces_an_older_one_and_other_protocols_never_mix():
    (line,) = lines_of([point("a", "xy", 1, 0, 1.0), point("a", "xy", 1, 0, 2.0)])
    assert line.values == {1: {"0": 2.0}}
    other = Point(line.labels, "another", 1, "1", 3.0)
    assert len(lines_of([point("a", "xy", 1, 0, 1.0), other])) == 2


def test_differences_are_taken_seed_by_seed():
    one = lines_of([point("a", "x", 1, 0, 5.0), point("a", "x", 1, 1, 9.0), point("a", "x", 9, 0, 1.0)])[0]
    other = lines_of([point("a", "x", 1, 1, 4.0), point("a", "x", 1, 2, 7.0)])[0]
    assert one.less(other).values == {1: {"1": 5.0}}
    assert one.less(one).values == {1: {"0": 0.0, "1": 0.0}, 9: {"0": 0.0}}


def test_what_depth_changes_is_in_percent_and_its_mean_over_the_other_domains():
    lines = in_domain_first(lines_of(POINTS))
    assert lines[0].labels["target"] == "c" + IN_DOMAIN
    assert [(a.labels["target"], b.labels["input"]) for a, b in twins(lines, "input", "xy")] == [
        ("c" + IN_DOMAIN, "xy"), ("a", "xy"), ("b", "xy"),
    ]  # fmt: skip
    found = {line.labels["target"]: {t: v[""] for t, v in line.values.items()} for line in depth_changes(lines)}
    assert found == {
        "c" + IN_DOMAIN: {1: pytest.approx(-10.0)},
        "a": {1: pytest.approx(-50.0), 27: pytest.approx(0.0)},
        "b": {1: pytest.approx(-25.0)},
        "mean across domains": {1: pytest.approx(-37.5)},
    }
    assert depth_changes([line for line in lines if line.labels["input"] == "xy"]) == []


def test_the_table_has_a_column_for_each_length_and_a_row_for_each_line():
    sheet = table("errors", lines_of(POINTS), ["a note"])
    assert sheet.title == "errors · l"
    assert sheet.head == ["target", "input", "T=1", "T=27"]
    text = to_markdown([sheet])
    assert "| a             | xy    | 102.0 ± 2.8 (2) | 90.0 (1) |" in text
    assert "| b             | xyd   | 150.0 (1)       | -        |" in text
    assert "- a note" in text


def test_the_csv_says_all_of_a_number():
    text = to_csv(lines_of(POINTS), "mpjpe_mm").splitlines()
    assert text[0] == "target,lifter,input,protocol,frames,metric,mean,std,n,seeds"
    assert text[1].startswith("a,l,xy,a/depth=xy,1,mpjpe_mm,102.0,2.82")
    assert text[1].endswith(",2,0 1")
    assert text[2] == "a,l,xy,a/depth=xy,27,mpjpe_mm,90.0,,1,0"


def test_the_picture_is_the_same_for_the_same_lines_and_another_for_others():
    lines = lines_of(POINTS)
    picture = error_figure(lines, "mpjpe_mm", "errors")
    assert picture == error_figure(lines, "mpjpe_mm", "errors")
    assert picture != error_figure(lines[:4], "mpjpe_mm", "errors")
    wide, high = Image.open(io.BytesIO(picture)).size
    assert wide > 800
    assert high > 500
