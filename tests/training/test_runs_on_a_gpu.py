"""Whole runs with `device=cuda` and their workers on the same GPU, which is simulated: they end as on the CPU."""

import pytest

from dg.settings.command_line import parse
from dg.train import run
from tests.cases import mostly_long
from tests.render_workers.depth_anything_maker import save_depth_anything
from tests.render_workers.vitpose_maker import save_vitpose
from tests.simulated_gpu import simulated_gpu

QUICK = [
    "pool=local", "tracking.uri=off", "cache=off", "data.clips=4", "data.frames=16", "data.stride=1", "batch_size=16",
    "epochs=4", "evaluate_every=9", "targets=['synthetic:near?clips=1&frames=16']", "render.resolution=32",
    "render.subject_span_px=28",
]  # fmt: skip
POSEAUG = ["method=poseaug", "pretrain_epochs=0", "method.warmup_iterations=1"]
RUNS = {
    "poseaug": [*POSEAUG, "max_steps=10", "lifter.dropout=0"],
    "windows": ["method=random_rigid", "lifter=video_pose_3d", "lifter.dropout=0", "frames=9", "max_steps=3"],
    "networks": [
        *POSEAUG, "max_steps=4", "lifter.dropout=0", "depth=depth_anything_v2", "depth.input_px=28",
        "inputs=uadd+depth_features+image_features",
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", mostly_long(RUNS, []))
def test_a_run_on_a_gpu_ends_as_on_the_cpu(name, tmp_path):
    save_depth_anything(tmp_path / "depth")
    save_vitpose(tmp_path / "pose")
    words = [*QUICK, *RUNS[name]]
    if name == "networks":
        words += [f"depth.checkpoint={tmp_path / 'depth'}", f"pose_network={tmp_path / 'pose'}"]

    def errors(device):
        given = [f"out={tmp_path / device}", f"device={device}", f"render.device={device}"]
        summary = run(parse([*words, *given]), quiet=True)
        assert summary["ledger"]["quarantined"] == 0
        return {(row["target"], row["selection"]): row["mpjpe_mm"] for row in summary["results"]}

    expected = errors("cpu")
    with simulated_gpu() as waits:
        found = errors("cuda")
    assert found == pytest.approx(expected, rel=0.02)
    # What waits in a method's step is counted by the tests of the methods. Around it batches are gathered and sent
    # without a wait; which source poses can be used is asked once a run.
    around = {call: count for call, count in waits.items() if "trainer.py" in call or "pending.py" in call}
    assert sum(around.values()) <= 1, around
