"""What a table tells of a run: poses counted by where they came from, and whether the loss still fell."""

import pytest

from dg.pose.skeleton import H36M_16
from dg.settings.command_line import parse
from dg.train import run
from dg.training.made_of import made_of, relative_change
from tests.contracts.test_every_method import make, source_batch
from tests.pictures import shows_something
from tests.training.test_trainer import SMALL

PICTURES_ARE_DRAWN = True  # see tests/conftest.py


def test_a_line_is_fitted_to_the_last_fifth():
    steps = list(range(10, 1010, 10))
    assert relative_change(steps, [5.0] * 100) == pytest.approx(0)
    falling = [2.0 - 0.001 * s for s in steps]
    assert relative_change(steps, falling) == pytest.approx(100 * (falling[-1] - falling[79]) / falling[79])
    # What came before does not count.
    assert relative_change(steps, [9.0] * 79 + falling[79:]) == relative_change(steps, falling)
    assert relative_change([10, 20], [1.0, 2.0]) is None
    assert relative_change([], []) is None


def test_poses_count_as_what_they_are():
    method = make("erm", H36M_16, "xy")
    poses = source_batch(H36M_16)
    method.step_lifter(poses.replace(valid=poses.index > 3))
    assert made_of(method, [])["source_poses"] == 20
    assert made_of(method, [])["augmented_poses"] == 0


@pytest.mark.parametrize(
    ("words", "augmented"),
    [
        (["method=erm"], 0.0),
        (["method=random_rigid"], 0.5),
        pytest.param(
            ["method=poseaug", "pretrain_epochs=0", "method.warmup_iterations=1", "method.rigid=random"],
            0.5,
            marks=pytest.mark.long,
        ),
    ],
    ids=["erm", "random_rigid", "poseaug"],
)
def test_a_run_tells_what_it_is_made_of(tmp_path, words, augmented):
    config = parse([*SMALL, "inputs=xy", "cache=off", f"out={tmp_path / 'run'}", *words])
    summary = run(config, quiet=True)
    parts = summary["made_of"]
    seen = parts["source_poses"] + parts["augmented_poses"]
    assert seen == pytest.approx(config.batch_size * parts["lifter_steps"])
    assert parts["augmented_poses"] / seen == pytest.approx(augmented, abs=0.08)
    assert (parts["generator_steps"] > 0) == ("method=poseaug" in words)
    assert bool(summary["views"]) == (augmented > 0)
    assert [shows_something(path) for path in (tmp_path / "run").glob("views.png")] == [True] * (augmented > 0)
    assert summary["virtual_cameras"]["mpjpe_mm"] > 0
