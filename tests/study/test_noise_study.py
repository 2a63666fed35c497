"""Gain of depth against noise: what is left is a share of exact depth's, and every level is its own depth source."""

import pytest

from dg.grid import session as grid_session
from dg.grid.cells import parse_spec
from dg.settings.errors import ConfigError
from dg.study import noise
from dg.study.__main__ import main
from dg.study.results import frame_of
from tests.in_this_process import InThisProcess
from tests.pictures import shows_something
from tests.stores import new_store

SMALL = [
    "seeds=[0]", "epochs=1", "max_steps=2", "batch_size=64", "data.clips=6", "data.frames=12", "lifter.width=16",
    "targets=['synthetic:near?clips=3&frames=12']", "device=cpu", "parallel=2", "out=study",
]  # fmt: skip


def points(sees, errors):
    labels = {"target": "near", "method": "erm", "lifter": "simple_baseline", "input": sees}
    return [labels | {"protocol": "near", "x": x, "seed": "0", "error": error} for x, error in errors.items()]


def test_the_share_of_the_gain_is_all_of_it_without_noise_and_nothing_at_the_blind_error():
    lines = frame_of(
        points("xy", dict.fromkeys((0, 100, 400), 180.0)) + points("xyd", {0: 120.0, 100: 135.0, 400: 180.0})
    )
    kept = noise.gains_kept(lines)
    assert dict(zip(kept["x"], kept["error"], strict=True)) == {0: 100.0, 100: 75.0, 400: 0.0}
    assert kept["line"].nunique() == 1


def test_there_is_no_share_without_exact_depth_or_without_the_blind_lifter():
    assert noise.gains_kept(frame_of(points("xyd", {0: 120.0, 100: 135.0}))).empty
    assert noise.gains_kept(frame_of(points("xy", {100: 180.0}) + points("xyd", {100: 135.0}))).empty


def test_levels_scale_every_error_of_the_default_but_the_edges():
    blind, exact, *noisy = map(parse_spec, noise.inputs_of((0, 100, 200)))
    assert (str(blind), str(exact)) == ("xy", "xyd?depth=zbuffer")
    once, twice = ({k: float(v) for k, v in spec.options if k != "depth"} for spec in noisy)
    assert once == {"depth.log_scale": 0.06, "depth.shift_m": 0.05, "depth.warp": 0.02, "depth.white_m": 0.01}
    assert twice == {name: 2 * value for name, value in once.items()}


@pytest.mark.parametrize("arg", ["levels=[x]", "levels=[100,100]", "levels=[-1]", "levels=[]"])
def test_levels_that_make_no_sense_are_refused(arg):
    with pytest.raises(ConfigError, match="levels"):
        noise.read_options([arg])


@pytest.mark.parametrize("arg", ["inputs=[xy]", "depth=zbuffer", "depth.shift_m=1", "metric=mm"])
def test_what_the_study_chooses_cannot_be_given(arg):
    with pytest.raises(ConfigError):
        noise.read_options([arg])


def test_the_lists_of_the_question_are_there_unless_others_are_given():
    options, shared = noise.read_options(["seeds=[4]", "epochs=3"])
    assert (options.methods, options.lifters, options.seeds, shared) == (
        ("erm",),
        ("simple_baseline",),
        (4,),
        ["epochs=3"],
    )


@pytest.mark.long
def test_the_study_goes_from_its_runs_to_table_and_figure(tmp_path, monkeypatch, capsys, pictures):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(grid_session, "ChildRun", InThisProcess)
    new_store(tmp_path)
    assert main(["noise", "levels=[0,100]", *SMALL]) == 0
    said = capsys.readouterr().out
    assert "3 runs" in said
    assert "Share of exact depth's gain" in said
    assert shows_something(tmp_path / "study" / "noise.png")
    rows = (tmp_path / "study" / "noise.csv").read_text().splitlines()
    assert len(rows) == 1 + 2 * 2  # two inputs at two levels
    # A further level is added to what is there.
    assert main(["noise", "levels=[0,100,300]", *SMALL]) == 0
    assert "3 finished runs kept, 1 to start" in capsys.readouterr().out
