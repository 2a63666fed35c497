"""Training on windows of several frames: clips move as one, each frame is rendered once a pass, runs resume exactly."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dg.evaluation.predictions import predict_all
from dg.files.checkpoint import load_file
from dg.methods.base import training_anchors
from dg.pose.windows import Windows
from dg.settings.command_line import check_plugins, parse
from dg.settings.config import ConfigError
from dg.train import run
from dg.training.build import make_method
from dg.training.problem import load_problem
from tests.training.test_trainer import SMALL, last_weights, same, stopped_after

WINDOWS = ["frames=9", "lifter=video_pose_3d", "lifter.width=16", "method=random_rigid"]


def small(folder: Path, *words: str):
    """Its depth cache is that of all tests."""
    return parse([
        *[w for w in SMALL if not w.startswith("lifter.")], *WINDOWS, f"cache={folder.parent / 'cache'}",
        f"out={folder / 'run'}", *words,
    ])  # fmt: skip


def test_each_frame_is_rendered_once_a_pass_however_many_windows_hold_it(tmp_path):
    config = small(tmp_path, "epochs=2", "evaluate_every=2", f"cache={tmp_path / 'cache'}")
    summary = run(config, quiet=True)
    problem = load_problem(config, check_plugins(config))
    assert problem.virtual is not None
    unmoved = len(problem.train) + len(problem.val) + len(problem.virtual) + sum(map(len, problem.targets))
    assert summary["ledger"]["done"] == unmoved + 2 * len(problem.train)


def test_inputs_without_depth_train_on_windows_too(tmp_path):
    assert run(small(tmp_path, "inputs=xy", "epochs=1"), quiet=True)["results"]


@pytest.mark.long
def test_a_run_on_windows_that_is_stopped_and_resumed_equals_one_that_is_not(tmp_path):
    whole = small(tmp_path, f"out={tmp_path / 'whole'}")
    run(whole, quiet=True)
    cut = replace(whole, out=str(tmp_path / "cut"), resume="auto")
    assert stopped_after(cut, 3)["interrupted"]
    assert not run(cut, quiet=True)["interrupted"]
    assert same(last_weights(whole.out), last_weights(cut.out))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["method=evoskeleton"], "augments single frames"),
        (["frames=15"], "cannot see frames=15"),
        (["lifter=pose_former", "lifter.frames=3"], "leave lifter.frames out"),
    ],
)
def test_windows_are_refused_by_what_cannot_take_them(tmp_path, words, message):
    config = small(tmp_path, "inputs=xy", *words)
    options = check_plugins(config)
    with pytest.raises(ConfigError, match=message):
        make_method(config, options, load_problem(config, options))


def test_many_to_many_lifters_take_overlapping_windows_and_answer_for_every_frame(tmp_path):
    words = ["frames=9", "lifter=motion_bert", "lifter.width=32", "lifter.depth=1", "lifter.heads=2"]
    words += ["lifter.representation=32", "method=erm", "inputs=xy"]
    config = parse([*[w for w in SMALL if not w.startswith("lifter.")], *words])
    options = check_plugins(config)
    problem = load_problem(config, options)
    method = make_method(config, options, problem)
    clip = problem.train.clip
    anchors = training_anchors(clip, method.lifter, 9)
    assert len(anchors) == sum(-(-int(n) // 3) for n in clip.unique_consecutive(return_counts=True)[1])
    predicted = predict_all(method, problem.train.poses, windows=Windows.over(clip, 9))
    assert predicted.shape == problem.train.poses.joints_3d[:, 0].shape
    # A frame in the middle of a clip, by hand: the tile that answers for it, lifted alone.
    windows = Windows.over(clip, 9)
    tiles = windows.tiles(slice(0, 9))
    batch = windows.gather(problem.train.poses, tiles.anchor[1:2], tiles.ahead)
    torch.testing.assert_close(method.predict(batch)[0], predicted[tiles.answers[1]], atol=1e-5, rtol=1e-5)


def test_the_best_checkpoint_says_how_many_frames_it_sees(tmp_path):
    run(small(tmp_path, "epochs=1"), quiet=True)
    assert load_file(tmp_path / "run" / "best.pt")["config"]["frames"] == 9
