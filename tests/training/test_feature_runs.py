"""Training and evaluation with features at the joints: whole runs, what they resume to, and what they refuse."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from dg import evaluate
from dg.body.open_body import OpenBody
from dg.files.checkpoint import load_file
from dg.methods import METHODS
from dg.pose.windows import Windows
from dg.settings.command_line import check_plugins, parse
from dg.settings.config import ConfigError
from dg.settings.errors import exit_code
from dg.settings.plugins import resolve
from dg.train import run
from dg.trained.description import LifterDescription, parse_description
from dg.trained.evaluation_run import EvaluateOptions, evaluate_lifter, load_lifter
from dg.trained.exporting import ExportOptions, export
from dg.trained.stored import load_checkpoint, load_weights
from dg.training.build import make_method
from dg.training.live_depth import LiveDepth
from dg.training.problem import load_problem
from dg.training.rendering import make_live_depth, with_feature_sizes
from lifters.feature_fusion import FusedLifter
from tests.render_workers.depth_anything_maker import save_depth_anything
from tests.render_workers.vitpose_maker import save_vitpose
from tests.training.test_live_depth import CountingPool, data
from tests.training.test_trainer import QUICK, SMALL, last_weights, same, stopped_after

TINY = [
    "data.clips=4", "data.frames=8", "batch_size=16", "max_steps=4", "evaluate_every=9",
    "targets=['synthetic:near?clips=1&frames=8']", "render.resolution=32", "render.subject_span_px=28",
]  # fmt: skip
POSEAUG = ["method=poseaug", "pretrain_epochs=0", "method.warmup_iterations=1"]
BOTH = "uadd+depth_features+image_features"
DEPTH_WIDTH, POSE_WIDTH = 16, 12


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Both networks; and a cache that tests share, which spares most of the drawing."""
    folder = tmp_path_factory.mktemp("networks")
    save_depth_anything(folder / "depth")
    save_depth_anything(folder / "other", seed=1)
    save_vitpose(folder / "pose")
    return folder


def tiny(place, out, *words, method=("method=erm",)):
    network = ["depth=depth_anything_v2", f"depth.checkpoint={place / 'depth'}", "depth.input_px=28"]
    network = [] if any(word.startswith("depth=") for word in words) else network
    return parse([*SMALL, *TINY, *network, f"pose_network={place / 'pose'}", f"cache={place / 'cache'}",
                  f"out={out}", *method, *words])  # fmt: skip


def rows_of(summary, selection):
    return {r["target"]: (r["protocol"], r["mpjpe_mm"]) for r in summary["results"] if r["selection"] == selection}


@pytest.fixture(scope="module")
def trained(place, tmp_path_factory):
    """A run with both features, and its summary."""
    torch.manual_seed(0)
    out = tmp_path_factory.mktemp("trained") / "run"
    return out, run(tiny(place, out, f"inputs={BOTH}", method=POSEAUG), quiet=True)


def test_a_run_learns_from_both_features_and_says_so(trained, place):
    out, summary = trained
    assert summary["inputs"] == BOTH
    assert summary["ledger"]["quarantined"] == 0
    assert all(np.isfinite(row["mpjpe_mm"]) for row in summary["results"])
    assert all("depth=rendered-depth_anything_v2(oracle)" in row["protocol"] for row in summary["results"])
    before = load_problem_and_method(place, out)
    weights = last_weights(str(out))
    for name, value in before.lifter.embeddings.state_dict().items():
        assert not torch.equal(weights[f"lifter.embeddings.{name}"], value), name


def load_problem_and_method(place, out):
    config = tiny(place, out, f"inputs={BOTH}", method=POSEAUG)
    return make_method(config, check_plugins(config), load_problem(config, check_plugins(config)))


def test_a_checkpoint_carries_its_sizes_and_evaluates_to_the_same_number(trained, place, tmp_path):
    out, summary = trained
    stored = load_checkpoint(out)
    assert stored.config.feature_sizes == [DEPTH_WIDTH, POSE_WIDTH]
    assert isinstance(stored.lifter, FusedLifter)
    networks = (f"depth.checkpoint={place / 'depth'}", f"pose_network={place / 'pose'}")
    done = evaluate.main([str(out), "weights=last", "tracking.uri=off", *networks, f"out={tmp_path / 'result.json'}"])
    assert done == 0
    results = evaluate_lifter(load_lifter(EvaluateOptions(checkpoint=str(out), weights="last", args=networks)))
    last = rows_of(summary, "last")
    for result in results:
        assert result.row("last", None)["mpjpe_mm"] == pytest.approx(last[result.target][1], abs=1e-9)


def test_evaluation_refuses_networks_of_another_width_and_sources_without_features(trained, place, tmp_path):
    out, _ = trained
    assert evaluate.main([str(out), "depth=zbuffer", "tracking.uri=off", f"out={tmp_path / 'r.json'}"]) == 2
    wider = replace(load_checkpoint(out).config, feature_sizes=[DEPTH_WIDTH, POSE_WIDTH + 1])
    with pytest.raises(ConfigError, match=r"takes features of \[16, 13\] channels, .* have \[16, 12\]"):
        make_live_depth(wider, check_plugins(wider), 0.0)


def test_weights_that_carry_no_configuration_can_be_described(trained, place):
    out, _ = trained
    config = replace(load_checkpoint(out).config, feature_sizes=[])
    again = load_weights(out / "best.pt", config)
    features = torch.randn(2, 1, 16, again.lifter.channels)
    assert torch.equal(again.lifter(features), load_checkpoint(out).lifter(features))


def test_a_lifter_file_tells_its_features_and_computes_the_same(trained, tmp_path):
    out, _ = trained
    path = export(ExportOptions(checkpoint=str(out), out=str(tmp_path / "lifter.pt")))
    description = parse_description((tmp_path / "lifter.pt.json").read_text(), "file")
    assert description.inputs == load_checkpoint(out).inputs
    document = LifterDescription.of_config(load_checkpoint(out).config).document(slice(None))
    assert document["input"]["channels"][-2:] == ["depth_features[16]", "image_features[12]"]
    assert document["input"]["shape"] == ["batch", 16, 6 + DEPTH_WIDTH + POSE_WIDTH]
    assert path.is_file()


@pytest.mark.parametrize("inputs", ["xyd+depth_features", BOTH])
@pytest.mark.long
def test_a_run_that_is_stopped_and_resumed_equals_one_that_is_not(place, tmp_path, inputs):
    whole = tiny(place, tmp_path / "whole", f"inputs={inputs}", method=POSEAUG)
    run(whole, quiet=True)
    cut = replace(whole, out=str(tmp_path / "cut"), resume="auto")
    assert stopped_after(cut, 2)["interrupted"]
    saved = load_file(next((tmp_path / "cut").glob("checkpoint-*.pt")))["pending"]
    pending = [p["poses"]["joint_features"] for p in saved if p["poses"] is not None]
    assert pending
    assert all(p.dtype == torch.float16 and (p != 0).any() for p in pending)
    assert not run(cut, quiet=True)["interrupted"]
    assert same(last_weights(whole.out), last_weights(cut.out))


@pytest.mark.parametrize(
    ("words", "method"),
    [
        (["inputs=xy+image_features", "depth=zbuffer"], ["method=random_rigid"]),
        (["inputs=xyc+depth_features"], ["method=erm"]),
        (["inputs=xycd+image_features", "depth=noisy_zbuffer"], ["method=random_rigid"]),
        (["inputs=uadd+depth_features", "frames=3", "lifter=video_pose_3d", "lifter.widths=[3]", "lifter.width=16"],
         ["method=random_rigid"]),
    ],
    ids=lambda words: " ".join(words[:2]),
)  # fmt: skip
def test_features_go_with_every_input_source_and_window(place, tmp_path, words, method):
    summary = run(tiny(place, tmp_path / "run", *words, method=method), quiet=True)
    assert all(np.isfinite(row["mpjpe_mm"]) for row in summary["results"])


@pytest.mark.parametrize("name", ["poseaug", "poseda"])  # all of them: tests/contracts/test_every_method.py
def test_methods_that_learn_to_augment_train_on_features(place, tmp_path, name):
    method = resolve(METHODS, "method", name)
    known = {f.name for f in fields(method.Options)}
    words = [f"method={name}", "pretrain_epochs=0"]
    words += [f"method.{option}={value}" for option, value in QUICK.items() if option in known]
    words += ["adapt_to=synthetic:wide"] if method.regime == "DA" else []
    summary = run(tiny(place, tmp_path / "run", "inputs=xyd+depth_features", method=words), quiet=True)
    assert all(np.isfinite(row["mpjpe_mm"]) for row in summary["results"])


def test_depth_features_without_a_network_are_one_clear_error(place, tmp_path, capsys):
    config = tiny(place, tmp_path / "run", "inputs=xyd+depth_features", "depth=zbuffer")
    with pytest.raises(ConfigError, match="needs depth=depth_anything_v2; zbuffer has no features") as error:
        run(config, quiet=True)
    assert exit_code(error.value) == 2
    missing = replace(config, inputs="xyd+image_features", pose_network=str(tmp_path / "none"))
    with pytest.raises(Exception, match=r"pose_network=.*none: expected a folder or a hub id") as error:
        run(missing, quiet=True)
    assert exit_code(error.value) == 4


def test_a_data_set_is_drawn_once_for_its_features_and_anew_for_other_networks(place, tmp_path):
    config = tiny(place, tmp_path / "run", "inputs=xyd+depth_features", f"cache={tmp_path / 'cache'}")
    poses = load_problem(config, check_plugins(config)).train.poses[:30]
    drawn = []
    for checkpoint in ("depth", "depth", "other"):
        changed = replace(config, depth=config.depth | {"checkpoint": str(place / checkpoint)})
        live = make_live_depth(changed, check_plugins(changed), 0.0)
        with live.pool:
            drawn.append((live.of_dataset(poses, "data").joint_features, live.pool.ledger.done))
    assert [count for _, count in drawn] == [30, 0, 30]
    assert drawn[0][0].shape == (30, 1, 16, DEPTH_WIDTH)
    assert drawn[0][0].dtype == torch.float16
    assert torch.equal(drawn[0][0], drawn[1][0])
    assert not torch.equal(drawn[0][0], drawn[2][0])


def test_windows_hold_the_features_of_their_frames(place, tmp_path):
    config = with_feature_sizes(tiny(place, tmp_path / "run", "inputs=xyd+depth_features"))
    dataset = load_problem(config, check_plugins(config)).train
    live = make_live_depth(config, check_plugins(config), 0.0)
    windows, rows = Windows.over(dataset.clip[:20], 3), torch.tensor([0, 7])
    with live.pool:
        single = live.submit(dataset.poses[:20], 5).result()
        drawn = live.submit(windows.gather(dataset.poses[:20], rows), 5).result()
    torch.testing.assert_close(
        drawn.joint_features.float(), windows.gather(single, rows).joint_features.float(), atol=5e-3, rtol=0
    )


def test_poses_that_were_not_drawn_have_features_of_zero_and_workers_without_any_are_found_out():
    poses = data().replace(valid=torch.zeros(20, dtype=torch.bool))
    answer = LiveDepth(OpenBody(), CountingPool(), None, features=4).submit(poses, 0).result()
    assert answer.joint_features.shape == (20, 1, 17, 4)
    assert (answer.joint_features == 0).all()
    with pytest.raises(RuntimeError, match="answered without any"):
        LiveDepth(OpenBody(), CountingPool(), None, features=4).submit(data(), 0).result()
    assert LiveDepth(OpenBody(), CountingPool(), None).submit(data(), 0).result().joint_features is None
