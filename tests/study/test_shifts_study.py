"""The study of shifts: which runs it makes of its words, and what its tables say of their results."""

import csv
import io
from types import SimpleNamespace

import pytest

from dg.grid import session as grid_session
from dg.grid.cells import parse_specs
from dg.settings.errors import ConfigError
from dg.study import shifts
from dg.study.__main__ import main
from dg.study.shift_tables import Entry, sheets_of, to_csv

WORDS = ["data=h36m", "data.root=PLACE", "data.stride=60", "few=[60_*]", "same=[61_*]"]
TARGETS = ["camera=['npz:a.npz','npz:b.npz']", "dataset=['npz:c.npz']"]


@pytest.fixture(autouse=True)
def a_source_of_1024_poses(monkeypatch):
    monkeypatch.setattr(shifts, "steps_per_epoch", lambda words: 2 if any("S1" in w for w in words) else 4)


def summary(errors, selection="virtual_cameras", **more):
    rows = [{"target": t, "selection": selection, "mpjpe_mm": e} for t, e in errors.items()]
    return {
        "results": rows, "val": {"mpjpe_mm": 80.0}, "virtual_cameras": {"mpjpe_mm": 120.0}, "seconds": 90.0,
        "views": {},
        "made_of": {"lifter_steps": 100.0, "source_poses": 25_600.0, "augmented_poses": 0.0, "generator_steps": 0.0},
    } | more  # fmt: skip


def entries(gain, seeds=5):
    made = []
    for seed in range(seeds):
        for method, less in (("erm", 0.0), ("random_rigid", gain)):
            errors = {"a": 110.0 + seed - less - 0.1 * seed * (less > 0), "c": 150.0 + seed}
            made.append(Entry("shifts", "across", method, "xy", str(seed), summary(errors)))
    return made


def parts(*words):
    return shifts.parts_of(*shifts.read_options([*WORDS, *TARGETS, *words]))


def test_each_source_is_a_grid_of_its_own_with_its_targets():
    found = {part.name: part for part in parts("kinds=[camera,dataset,motion,limited]")}
    assert list(found) == ["shifts", "half", "motion", "limited-S1", "limited-S1+S5"]
    assert found["shifts"].targets == ("npz:a.npz", "npz:b.npz", "npz:c.npz")
    assert (found["half"].methods, found["half"].steps) == (("erm",), 2720)
    assert found["motion"].targets == (
        "h36m:PLACE?label=same_motion&stride=6&actions=61_*", "h36m:PLACE?label=new_motion&stride=6&without=61_*",
    )  # fmt: skip
    assert found["limited-S1+S5"].words == ("data.subjects_train=[S1,S5]",)


@pytest.fixture
def grids_of(monkeypatch):
    """The grids that a study asks for: folder -> options and shared arguments. None is run."""
    asked = {}

    def run_grid(options, shared, program, args, introduce, finish):
        asked[options.out] = (options, dict(word.split("=", 1) for word in shared))
        finish(SimpleNamespace(plan=SimpleNamespace(cells=[]), done={}, failed={}))
        return 0

    def run(*words):
        with pytest.raises(shifts.StudyError):
            shifts.Shifts().run([*WORDS, *TARGETS, *words, "steps=100", "out=o"])
        return asked

    monkeypatch.setattr(grid_session, "run_grid", run_grid)
    return run


def test_every_run_has_the_same_steps_whatever_its_source(grids_of):
    asked = grids_of("kinds=[camera,limited]")
    assert {out: (shared["epochs"], shared["max_steps"]) for out, (_, shared) in asked.items()} == {
        "o/shifts": ("25", "100"), "o/half": ("13", "50"),
        "o/limited-S1": ("50", "100"), "o/limited-S1+S5": ("50", "100"),
    }  # fmt: skip
    options, _ = asked["o/shifts"]
    assert list(options.methods) == ["erm", "random_rigid", "poseaug", "evoskeleton"]
    assert options.seeds == (0, 1, 2)


def test_the_control_adapts_to_nobody(grids_of):
    asked = grids_of("kinds=[camera]", "methods=[poseda]", "adapt_to=npz:a.npz", "adapt_part=test")
    assert asked["o/shifts"][1]["adapt_to"] == "npz:a.npz"
    assert not asked["o/half"][1].keys() & {"adapt_to", "adapt_part"}


def test_the_full_part_has_every_dg_method_and_noisy_depth():
    options, _ = shifts.read_options([*WORDS, "part=full"])
    assert options.methods[0] == "erm"
    assert "poseda" not in {spec.name for spec in parse_specs(options.methods)}
    assert "noisy_zbuffer" in options.inputs[-1]
    assert len(options.seeds) == 5


def test_a_folder_of_sets_is_told_apart_by_the_sources_label(tmp_path):
    for name in ("cmu_3dhp", "uiprmd_3dhp"):
        (tmp_path / f"{name}.npz").touch()
    options, shared = shifts.read_options([*WORDS, "data.label=cmu", f"cross={tmp_path}"])
    assert shifts.targets_of(options, shared) == (
        (f"npz:{tmp_path}/cmu_3dhp.npz",),
        (f"npz:{tmp_path}/uiprmd_3dhp.npz",),
    )


@pytest.mark.parametrize(
    "word", ["epochs=3", "targets=[npz:a]", "kinds=[]", "kinds=[weather]", "steps=x", "part=half", "selection=best"]
)
def test_what_makes_no_sense_is_refused(word):
    with pytest.raises(ConfigError):
        shifts.read_options([*WORDS, word])


def test_kinds_without_targets_are_refused_by_the_command_line(capsys):
    assert main(["shifts", "data=h36m"]) == 2
    assert "give camera=[NAME:PLACE] and dataset=[NAME:PLACE]" in capsys.readouterr().err


def sheet(found, start):
    return next(s for s in found if s.title.startswith(start))


def test_kinds_have_tables_of_their_own_and_differences_are_paired_by_seed():
    found = sheets_of(entries(14.0), {"camera": ["a"], "dataset": ["c"]}, "mpjpe_mm", "virtual_cameras")
    camera, dataset = sheet(found, "Camera shift"), sheet(found, "Data set shift")
    assert (camera.frame.columns[2], dataset.frame.columns[2]) == ("a", "c")
    assert camera.lines[0][2].startswith("112.0")
    assert sheet(found, "Difference to erm · Camera").lines[0][2].startswith("-14.2")
    assert sheet(found, "Difference to erm · Camera").lines[0][2].endswith("(5)*")
    assert not sheet(found, "Difference to erm · Data set").lines[0][2].endswith("*")


def test_fewer_than_five_seeds_are_no_claim():
    found = sheets_of(entries(14.0, seeds=3), {"camera": ["a"], "dataset": ["c"]}, "mpjpe_mm", "virtual_cameras")
    assert any("no claim" in note for note in sheet(found, "Camera shift").notes)
    assert not sheet(found, "Difference to erm · Camera").lines[0][2].endswith("*")


def test_a_number_says_what_it_is_made_of():
    made = {"lifter_steps": 10.0, "source_poses": 5.0, "augmented_poses": 7.0, "generator_steps": 3.0}
    views = {f"views/proposals/elevation_deg_p{p}": float(p) for p in (5, 50, 95)} | {
            "warnings": ["collapsed"], "views/posture_deg": 4.4,
        }  # fmt: skip
    one = Entry("shifts", "across", "poseaug", "xy", "0", summary(
        {"a": 1.0}, made_of=made | {"loss_change_last_fifth_percent": -9.0}, views=views
    ))  # fmt: skip
    table = sheet(sheets_of([one], {"camera": ["a"]}, "mpjpe_mm", "virtual_cameras"), "What the numbers are made of")
    assert table.lines == [
        ["shifts", "poseaug", "xy", "10", "5", "7", "3", "-9.0", "5, 50, 95", "-", "4", "collapsed", "1.5"]
    ]
    assert any("not converged" in note for note in table.notes)
    (row,) = csv.DictReader(io.StringIO(to_csv([one], "mpjpe_mm")))
    assert (row["target"], float(row["mpjpe_mm"]), float(row["augmented_poses"])) == ("a", 1.0, 7.0)
