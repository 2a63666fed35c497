import random

import pytest
from PIL import Image

from sweeps.objective import Objective
from sweeps.outcome import FinishedTrial, Outcome, PrunedTrial, front_of
from sweeps.pictures import draw_front, draw_history, draw_slices
from sweeps.report import importances_table, trials_table
from sweeps.space import Choice, Range, Space

PICTURES_ARE_DRAWN = True  # see tests/conftest.py

SPACE = Space({"lr": Range(1e-4, 1e-1, log=True), "d_ref": Range(3.5, 6.0), "method": Choice(("erm", "poseaug"))})
SECONDS = Objective("seconds", None, "seconds")
PCK = Objective("source_val:pck150", None, "pck150")


MPJPE = Objective()


def make(objectives=(MPJPE,), trials=9, seeds=2, seed=0):
    draw = random.Random(seed)
    points = []
    for trial in range(trials):
        params = {
            "lr": 10 ** draw.uniform(-4, -1),
            "d_ref": draw.uniform(3.5, 6),
            "method": draw.choice(["erm", "poseaug"]),
        }
        values = tuple(tuple(draw.uniform(50, 60) for _ in range(seeds)) for _ in objectives)
        points.append(FinishedTrial(params, trial, values, values[0], {"near": values[0]}, 12.0, 0.5))
    pruned = [PrunedTrial({"lr": 0.05, "d_ref": 4.0, "method": "erm"}, trials, 3, 99.0)]
    return Outcome(SPACE, tuple(objectives), points, pruned)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("second", [SECONDS, PCK])
def test_the_front_is_what_no_other_trial_beats(seed, second):
    outcome = make((Objective(), second), trials=30, seed=seed)
    sign = -1 if second.maximise else 1
    costs = {p.trial: (p.means[0], sign * p.means[1]) for p in outcome.finished}
    expected = {
        t for t, (a, b) in costs.items() if not any((c, d) != (a, b) and c <= a and d <= b for c, d in costs.values())
    }
    front = front_of(outcome.finished, outcome.objectives)
    assert {p.trial for p in front} == expected
    assert [p.means[0] for p in front] == sorted(p.means[0] for p in front)
    assert [sign * p.means[1] for p in front] == sorted((sign * p.means[1] for p in front), reverse=True)


def test_equal_trials_are_both_on_the_front():
    points = [FinishedTrial({}, n, ((1.0,), (2.0,)), (), {}) for n in (0, 1)]
    assert front_of(points, (Objective(), SECONDS)) == points


def test_the_table_marks_the_best_and_says_what_was_only_reported():
    outcome = make()
    lines = trials_table(outcome).splitlines()
    best = min(outcome.finished, key=lambda p: p.means[0])
    assert lines[1].split()[:2] == ["*", str(best.trial)]
    assert sum(line.startswith("*") for line in lines) == 1
    assert "source_val (mm, selected on)" in lines[0]
    assert "near (mm, reported)" in lines[0]
    assert "50%" in lines[1]
    assert lines[-1] == "  pruned: trial 9 at epoch 3 with 99.0: lr=0.05 d_ref=4 method=erm"


def test_the_table_of_an_oracle_calls_it_so_and_reports_the_source():
    head = trials_table(make((Objective("oracle:near", 0),))).splitlines()[0]
    assert "oracle:near (mm, ORACLE: selected on this target)" in head
    assert "source_val (mm, reported)" in head
    assert "near (mm, reported)" not in head.replace("oracle:near", "")


@pytest.mark.parametrize("objectives", [(Objective(),), (PCK,), (Objective(), SECONDS)])
def test_pictures_are_there_and_not_blank(objectives, tmp_path):
    outcome = make(objectives)
    shares = {o.name: {"lr": 0.7, "d_ref": 0.2, "method": 0.1} for o in objectives}
    files = [draw_slices(outcome, tmp_path / "s.png"), draw_history(outcome, tmp_path / "h.png")]
    if len(objectives) == 2:
        files.append(draw_front(outcome, tmp_path / "f.png"))
    for file in files:
        with Image.open(file) as image:
            assert len(image.convert("RGB").getcolors(1 << 20)) > 30
    assert importances_table(shares, outcome).splitlines()[1].split() == ["lr", *["0.70"] * len(objectives)]


def test_pictures_take_one_trial_and_equal_values(tmp_path):
    point = FinishedTrial({"lr": 1e-3, "d_ref": 4.0, "method": "erm"}, 0, ((60.0,),), (60.0,), {"near": (90.0,)})
    outcome = Outcome(SPACE, (Objective(),), [point])
    for path in (draw_slices(outcome, tmp_path / "s.png"), draw_history(outcome, tmp_path / "h.png")):
        with Image.open(path) as image:
            assert len(image.convert("RGB").getcolors(1 << 20)) > 30
    assert trials_table(outcome).splitlines()[1].split()[:2] == ["*", "0"]
