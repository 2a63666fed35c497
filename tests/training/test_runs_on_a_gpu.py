"""Whole runs with `device=cuda` and workers on a GPU, which is simulated: no device is mixed, no step waits."""

import pytest

from dg.settings.command_line import parse
from dg.train import run
from tests.render_workers.depth_anything_maker import save_depth_anything
from tests.render_workers.vitpose_maker import save_vitpose
from tests.simulated_gpu import simulated_gpu

QUICK = [
    "pool=local", "tracking.uri=off", "cache=off", "data.clips=4", "data.frames=8", "batch_size=16", "max_steps=4",
    "evaluate_every=9", "targets=['synthetic:near?clips=1&frames=8']", "render.resolution=32",
    "render.subject_span_px=28", "lifter.dropout=0", "graphs=off",
]  # fmt: skip
POSEAUG = ["method=poseaug", "pretrain_epochs=0", "method.warmup_iterations=1"]


def errors_of(out, device, *words):
    config = parse([*QUICK, f"out={out / device}", f"device={device}", f"render.device={device}", *words])
    return {(r["target"], r["selection"]): r["mpjpe_mm"] for r in run(config, quiet=True)["results"]}


@pytest.mark.parametrize("method", [pytest.param(["method=erm"]), pytest.param(POSEAUG, marks=pytest.mark.long)])
def test_a_run_on_a_gpu_ends_as_on_the_cpu(tmp_path, method):
    expected = errors_of(tmp_path, "cpu", *method)
    with simulated_gpu() as waits:
        found = errors_of(tmp_path, "cuda", *method)
    assert found == pytest.approx(expected, rel=0.02)
    print(waits)


def test_net(tmp_path):
    save_depth_anything(tmp_path / "depth")
    save_vitpose(tmp_path / "pose")
    words = ["depth=depth_anything_v2", f"depth.checkpoint={tmp_path / 'depth'}", "depth.input_px=28",
             f"pose_network={tmp_path / 'pose'}", "inputs=uadd+depth_features+image_features", *POSEAUG]
    expected = errors_of(tmp_path, "cpu", *words)
    with simulated_gpu() as waits:
        found = errors_of(tmp_path, "cuda", *words)
    print(found, expected)
    assert found == pytest.approx(expected, rel=0.02)
    print(waits)
