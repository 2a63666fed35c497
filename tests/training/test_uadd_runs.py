"""Training and evaluation on what a detector sees: whole runs, their labels, their cache, and what they resume to."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from dg.body.open_body import OpenBody
from dg.files.checkpoint import load_file
from dg.pose.boxes import box_size
from dg.pose.windows import Windows
from dg.settings.command_line import check_plugins, parse
from dg.settings.config import ConfigError, TrainConfig
from dg.train import run
from dg.trained.description import LifterDescription, parse_description
from dg.trained.stored import load_checkpoint
from dg.training.live_depth import LiveDepth
from dg.training.problem import load_problem, prepared
from dg.training.rendering import make_live_depth, worker_spec
from render_workers.cache import DepthCache
from render_workers.pool import LocalPool
from render_workers.pool_options import PoolOptions
from tests.cases import mostly_long
from tests.training.test_trainer import SMALL, last_weights, same, stopped_after

TINY = ["batch_size=16", "max_steps=12", "evaluate_every=2", "targets=['synthetic:near?clips=2&frames=20']"]
METHODS = {
    "erm": ["method=erm"],
    "random_rigid": ["method=random_rigid"],
    "poseaug": ["method=poseaug", "pretrain_epochs=0", "method.warmup_iterations=1"],
}


def tiny(folder, *words: str, method: str = "erm") -> TrainConfig:
    """Its cache is that of all tests; those that count what is drawn have one of their own."""
    cache = folder.parent / "cache"
    return parse([*SMALL, *TINY, f"cache={cache}", f"out={folder / 'run'}", *METHODS[method], *words])


def problem_of(config):
    return load_problem(config, check_plugins(config))


def detected(config, poses, digest="data"):
    """Poses as the run's workers see them."""
    live = make_live_depth(config, check_plugins(config), 0.0)
    with live.pool:
        return live.of_dataset(poses, digest)


@pytest.mark.parametrize("method", METHODS)
def test_every_kind_of_method_trains_on_uadd_and_says_what_it_saw(tmp_path, method):
    summary = run(tiny(tmp_path, "inputs=uadd", method=method), quiet=True)
    assert (summary["inputs"], summary["dscale2d"]) == ("uadd", "box")
    assert all("/2d=synthetic-detections/" in row["protocol"] for row in summary["results"])
    assert all(np.isfinite(row["mpjpe_mm"]) for row in summary["results"])
    assert summary["ledger"]["quarantined"] == 0


ABLATIONS = [
    ["inputs=xyc"],
    ["inputs=xycd", "dscale2d=focal"],
    ["inputs=uadd", "dscale2d=off", "detection.radius_mode=scale", "detection.background_m=0"],
    ["inputs=xy", "detection.source=synthetic"],
    ["inputs=xyd", "detection.source=synthetic", "depth=noisy_zbuffer"],
    ["inputs=uadd", "frames=3", "lifter=video_pose_3d", "lifter.width=16"],
]


@pytest.mark.parametrize("words", mostly_long(ABLATIONS, ABLATIONS[:3]), ids=" ".join)
def test_the_ablations_run_under_the_same_detections(tmp_path, words):
    config = [w for w in SMALL if not w.startswith("lifter.")] if "frames=3" in words else SMALL
    places = [f"cache={tmp_path.parent / 'cache'}", f"out={tmp_path / 'run'}"]
    config = parse([*config, *TINY, *places, "method=random_rigid", "max_steps=2", *words])
    results = run(config, quiet=True)["results"]
    assert all("/2d=synthetic-detections/" in row["protocol"] for row in results)


@pytest.mark.long
def test_a_run_that_is_stopped_and_resumed_equals_one_that_is_not(tmp_path):
    words = ["inputs=uadd", "depth=noisy_zbuffer"]
    whole = tiny(tmp_path, *words, f"out={tmp_path / 'whole'}", method="poseaug")
    run(whole, quiet=True)
    cut = replace(whole, out=str(tmp_path / "cut"), resume="auto")
    assert stopped_after(cut, 3)["interrupted"]
    assert not run(cut, quiet=True)["interrupted"]
    assert same(last_weights(whole.out), last_weights(cut.out))


def test_checkpoints_carry_the_training_sets_mean_box(tmp_path):
    config = tiny(tmp_path, "inputs=uadd", "max_steps=2")
    run(config, quiet=True)
    train = problem_of(config).train.poses
    mean = float(box_size(train.joints_2d).mean())
    stored = load_checkpoint(tmp_path / "run")
    assert stored.inputs.box_ref == stored.config.box_ref == pytest.approx(mean, abs=1e-5)
    assert load_file(next((tmp_path / "run").glob("checkpoint-*.pt")))["config"]["box_ref"] == stored.config.box_ref


def test_true_2d_stays_what_it_is_and_the_lifter_sees_its_detection(tmp_path):
    config = tiny(tmp_path, "inputs=uadd")
    poses = problem_of(config).train.poses[:40]
    seen = detected(config, poses)
    assert torch.equal(seen.joints_2d, poses.joints_2d)
    torch.testing.assert_close(seen.camera.project(seen.joints_3d), seen.joints_2d)
    assert ((seen.seen_2d - poses.joints_2d).norm(dim=-1) > 0).all()
    assert (seen.depth_spread[..., 0] <= 0).all()
    assert (seen.depth_spread[..., 1] >= 0).all()


def test_detections_are_drawn_once_and_found_again_and_plain_depth_beside_them(tmp_path):
    cache = f"cache={tmp_path / 'cache'}"
    config = tiny(tmp_path, "inputs=uadd", cache)
    poses = problem_of(config).train.poses[:40]
    first, again = detected(config, poses), detected(config, poses)
    files = len(list((tmp_path / "cache").glob("*.npz")))
    plain = tiny(tmp_path, "inputs=xyd", cache)
    depth = detected(plain, poses)
    assert files == 1
    assert len(list((tmp_path / "cache").glob("*.npz"))) == 2
    for name in ("depth", "depth_spread", "confidence", "detection_error"):
        assert torch.equal(getattr(first, name), getattr(again, name)), name
    assert depth.confidence is depth.depth_spread is depth.detection_error is None


def test_pieces_of_a_request_come_back_as_one_and_poses_that_were_not_drawn_stay_finite(tmp_path):
    config = tiny(tmp_path, "inputs=uadd")
    poses = problem_of(config).train.poses[:9]
    behind = torch.arange(9) == 4
    poses = poses.replace(joints_3d=poses.joints_3d - behind[:, None, None, None] * torch.tensor([0.0, 0.0, 20.0]))
    spec, body = worker_spec(config), OpenBody()
    with LocalPool(spec.build, PoolOptions(actors=1)) as pool:
        seen = LiveDepth(body, pool, DepthCache(tmp_path / "c", spec.digest()), detect=True).of_dataset(poses, "d")
    assert seen.valid.tolist() == (~behind).tolist()
    drawn, z = seen.valid, poses.joints_3d[..., 2]
    assert torch.allclose(seen.depth[4] - z[4], (seen.depth - z)[drawn].mean((0, 1)), atol=1e-6)
    assert torch.allclose(seen.depth_spread[4, 0], seen.depth_spread[drawn].mean((0, 1)), atol=1e-6)
    assert all((part[4] == 0).all() for part in (seen.confidence, seen.detection_error))
    none = LiveDepth(body, pool, None, detect=True).submit(poses.replace(valid=torch.zeros(9).bool()), 0).result()
    assert (none.confidence == 0).all()


def test_windows_of_frames_hold_the_detections_of_their_frames(tmp_path):
    config = tiny(tmp_path, "inputs=uadd")
    data = problem_of(config).train
    seen = detected(config, data.poses[:20])
    window = Windows.over(data.clip[:20], 3).gather(seen, torch.tensor([5, 9]))
    assert torch.equal(window.depth_spread[0], seen.depth_spread[4:7, 0])
    assert torch.equal(window.seen_2d[1], seen.seen_2d[8:11, 0])


def test_a_real_detectors_2d_is_taken_as_it_is_if_it_has_a_confidence(tmp_path):
    config = tiny(tmp_path, "inputs=uadd")
    data = problem_of(tiny(tmp_path, "inputs=xy")).train
    found = replace(data, source_2d="hrnet", poses=data.poses.replace(confidence=torch.rand(len(data), 1, 16)))
    assert prepared(found, config).source_2d == "hrnet"
    seen = detected(config, found.poses[:8])
    assert torch.equal(seen.confidence, found.poses.confidence[:8])
    assert (seen.detection_error == 0).all()
    with pytest.raises(ConfigError, match="needs the confidence of detected 2D"):
        prepared(replace(data, source_2d="hrnet"), config)
    assert prepared(data, tiny(tmp_path, "inputs=xyd")).source_2d == "gt"


@pytest.mark.parametrize(
    ("inputs", "resolved", "detects"),
    [("xy", "off", False), ("xyd", "focal", False), ("xyc", "box", True), ("xycd", "box", True), ("uadd", "box", True)],
)
def test_detected_inputs_are_rescaled_by_their_box_unless_said(inputs, resolved, detects):
    config = parse([f"inputs={inputs}"])
    assert (config.dscale2d_resolved, config.detects) == (resolved, detects)
    assert config.needs_depth == (inputs != "xy")


@pytest.mark.parametrize(
    "word",
    [
        "box_ref=0.3",
        "detection.radius_mode=scale",
        "detection.r_min=4",
        "detection.r_max=15",
        "detection.background_m=0",
        "detection.source=auto",
    ],
)
def test_keys_that_decide_nothing_are_no_part_of_a_run(word):
    plain, uadd = parse([]), parse(["inputs=uadd"])
    assert parse([word]).digest() == plain.digest()
    assert word.partition("=")[0] not in plain.flat()
    if word != "detection.source=auto":
        assert parse(["inputs=uadd", word]).digest() != uadd.digest()


@pytest.mark.parametrize(
    ("word", "message"),
    [("detection.r_max=2", "must not be below detection.r_min"), ("detection.r_min=0", "r_min must be positive"),
     ("detection.source=openpose", "detection.source must be one of"),
     ("detection.radius_mode=log", "radius_mode must be one of"),
     ("detection.background_m=-1", "background_m must not be negative"), ("dscale2d=boxes", "dscale2d must be one of")],
)  # fmt: skip
def test_impossible_settings_are_named(word, message):
    with pytest.raises(ConfigError, match=message):
        parse([word])


def test_a_lifter_files_description_keeps_the_box_and_names_the_channels():
    import json

    config = parse(["inputs=uadd", "box_ref=0.31"])
    document = LifterDescription.of_config(config).document(slice(None))
    assert document["input"]["channels"] == ["x", "y", "c", "d", "dmin", "dmax"]
    assert parse_description(json.dumps(document), "file").inputs == LifterDescription.of_config(config).inputs
    plain = LifterDescription.of_config(parse([])).document(slice(None))
    assert plain["input"]["channels"] == ["x", "y", "d"]
    assert "box_ref" not in plain["settings"]
