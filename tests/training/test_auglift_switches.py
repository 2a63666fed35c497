"""AugLift's switches: coarse ordinal depth as a training input, and confidence that is withheld in training."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from dg import evaluate
from dg.api import load_lifter
from dg.files.checkpoint import CheckpointError
from dg.pose.answers import target_answers
from dg.pose.input_spec import InputSpec
from dg.pose.ordinal_depth import DepthBins
from dg.settings.command_line import parse
from dg.settings.config import ConfigError, TrainConfig
from dg.train import run
from dg.trained.exporting import export
from dg.trained.settings import ExportOptions
from tests.contracts.test_every_method import make, source_batch

SMALL = [
    "pool=local", "device=cpu", "threads=1", "data.clips=6", "data.frames=10", "batch_size=16", "lifter.width=16",
    "epochs=1", "tracking.uri=off", "cache=off", "targets=['synthetic:near?clips=1&frames=10']", "virtual_cameras=0",
]  # fmt: skip


@pytest.mark.parametrize("bins", ["1cm", "25cm", "three"])
def test_the_depth_channel_is_the_coarse_depth_of_the_true_joints(bins):
    source = source_batch(make("erm").context.skeleton)
    seen = source.features(InputSpec("xyd", "off", depth_bins=bins))[..., 2]
    z, root = source.joints_3d[..., 2], source.skeleton.root
    coarse = DepthBins.parse(bins).quantise(z, root) - z[..., root : root + 1]
    torch.testing.assert_close(seen, (coarse / 2).clamp(-1, 1))
    assert (seen[..., root] == 0).all()


def test_a_run_with_bins_renders_nothing_and_is_labelled_an_oracle(tmp_path):
    config = parse([*SMALL, "inputs=xyd", "depth_bins=10cm", "method=random_rigid", f"out={tmp_path}/run"])
    assert not config.needs_depth
    assert config.dscale2d_resolved == "off"
    summary = run(config, quiet=True)
    assert summary["ledger"] == {} or summary["ledger"]["submitted"] == 0
    assert summary["depth"] == "ordinal-10cm"
    for result in summary["results"]:
        assert "/depth=ordinal-10cm(oracle)/" in result["protocol"]
        assert np.isfinite(result["mpjpe_mm"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["depth_bins=10"], "depth_bins must be"),
        (["depth_bins=0cm"], "depth_bins must be"),
        (["depth_bins=10cm", "inputs=uadd"], "goes with inputs=xyd"),
        (["depth_bins=10cm", "dscale2d=focal"], "goes with inputs=xyd"),
        (["confidence_dropout=0.5"], "needs inputs with a confidence"),
        (["confidence_dropout=1", "inputs=uadd"], "confidence_dropout"),
    ],
)
def test_what_does_not_go_together_is_refused(words, message):
    with pytest.raises(ConfigError, match=message):
        parse(words)


def test_switches_that_are_off_change_no_digest():
    assert (
        parse([]).digest()
        == TrainConfig.from_plain(
            {k: v for k, v in parse([]).plain().items() if k not in ("depth_bins", "confidence_dropout")}
        ).digest()
    )
    assert parse(["depth_bins=10cm"]).digest() != parse(["dscale2d=off"]).digest()


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_withheld_confidence_is_zero_in_training_and_whole_in_prediction(share, monkeypatch):
    method = make("erm", channels="uadd")
    object.__setattr__(method.context, "confidence_dropout", share)
    source = source_batch(method.context.skeleton, channels="uadd")
    torch.manual_seed(1)
    whole, seen = source.features(method.context.inputs), method.training_features(source)
    channel = method.context.inputs.names.index("c")
    withheld = (seen[..., channel] == 0).all(-1).all(-1)
    assert bool(withheld.any()) == (share > 0)
    assert not bool(withheld.all())
    kept = [n for n in range(whole.shape[-1]) if n != channel]
    assert torch.equal(seen[..., kept], whole[..., kept])
    assert torch.equal(seen[~withheld], whole[~withheld])
    taken = []
    monkeypatch.setattr(method.lifter, "forward", lambda x: taken.append(x) or x[..., :3])
    method.predict(source)
    assert torch.equal(taken[0], whole)


def test_a_lifter_that_answers_in_the_image_is_trained_so_and_measured_in_metres(tmp_path):
    words = [*SMALL, "inputs=xy", "answers=image", "method=erm", "frames=3", "lifter=motion_bert", "lifter.depth=1",
             "lifter.heads=2", "lifter.representation=16", "skeleton=h36m_17", f"out={tmp_path}/run"]  # fmt: skip
    config = parse(words)
    summary = run(config, quiet=True)
    assert all(np.isfinite(result["mpjpe_mm"]) for result in summary["results"])
    again = tmp_path / "again.json"
    given = [f"{tmp_path}/run", "targets=['synthetic:near?clips=1&frames=10']", f"out={again}", "tracking.uri=off"]
    assert evaluate.main(given) == 0
    best = next(r for r in summary["results"] if r["selection"] == "source_val")
    assert json.loads(again.read_text())["results"][0]["mpjpe_mm"] == pytest.approx(best["mpjpe_mm"], abs=1e-3)
    assert config.oracles == ("root",)
    with pytest.raises(ConfigError, match="the true root brings to metres"):
        export(ExportOptions(checkpoint=f"{tmp_path}/run", out=f"{tmp_path}/x.pt"))
    with pytest.raises(CheckpointError, match="lifts nothing whose root is unknown"):
        load_lifter(f"{tmp_path}/run").lift(np.zeros((1, 17, 2)) + np.arange(17)[:, None], width=100, height=100)


def test_the_lifter_learns_what_it_should_answer_and_predicts_metres():
    method = make("erm", channels="xy")
    method.context = replace(method.context, inputs=InputSpec("xy", "off", answers="image"))
    source = source_batch(method.context.skeleton)
    wanted = target_answers(source, slice(0, 1), "image")
    torch.testing.assert_close(method.lifter_target(source), wanted)
    method.lifter.forward = lambda features: wanted
    torch.testing.assert_close(method.predict(source), source.root_relative, atol=1e-5, rtol=0)


def test_a_method_that_measures_its_lifter_in_metres_refuses_other_answers(tmp_path):
    config = parse([*SMALL, "inputs=xy", "answers=image", "method=poseaug", f"out={tmp_path}/run"])
    with pytest.raises(ConfigError, match="answers in metres, got answers=image"):
        run(config, quiet=True)
