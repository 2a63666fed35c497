"""Trials that share a cluster and its render workers train as they would alone."""

import json
import os
import subprocess
import sys
import time
from dataclasses import replace

import psutil
import pytest
import ray
import torch

from dg.files.checkpoint import load_file
from dg.settings.command_line import parse
from dg.train import run
from sweeps.shared_rendering import SharedRendering
from tests.fakes import ROOT

pytestmark = pytest.mark.reliability

WORDS = [
    "method=random_rigid", "data.clips=4", "data.frames=30", "batch_size=64", "lifter.width=32", "epochs=3",
    "evaluate_every=3", "device=cpu", "threads=1", "cache=off", "tracking.uri=off", "render.micro_batch=64",
]  # fmt: skip


def weights(folder):
    newest = sorted(folder.glob("checkpoint-*.pt"), key=lambda path: path.stat().st_mtime)[-1]
    return load_file(newest)["method"]["networks"]


@pytest.mark.parametrize("words", [["inputs=xy"], ["pool=local"], ["render.service=mine/render"]])
def test_nothing_is_started_where_there_is_nothing_to_share(words):
    with SharedRendering(parse([*WORDS, *words]), 2) as rendering:
        assert rendering.args() == {}
        assert rendering.status() == {}
        assert not ray.is_initialized()


def test_two_trials_at_once_share_the_workers_and_train_as_they_would_alone(tmp_path):
    alone = []
    for d_ref in (4.0, 5.0):
        config = parse([*WORDS, f"d_ref={d_ref}", "pool=local", f"out={tmp_path / f'alone-{d_ref}'}"])
        run(config, quiet=True)
        alone.append(weights(tmp_path / f"alone-{d_ref}"))

    config = replace(parse([*WORDS, "render.actors=1"]), out=str(tmp_path))
    with SharedRendering(config, 2) as rendering:
        words = [f"{key}={value}" for key, value in rendering.args().items()]
        cluster = psutil.Process().children(recursive=True)
        trials = [
            subprocess.Popen(
                [sys.executable, "-m", "dg.train", *WORDS, *words, f"d_ref={d}", f"out={tmp_path / f'trial-{d}'}"],
                cwd=tmp_path, env=os.environ | {"PYTHONPATH": ROOT}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                text=True,
            )
            for d in (4.0, 5.0)
        ]  # fmt: skip
        owners = 0
        while any(trial.poll() is None for trial in trials):
            owners = max(owners, rendering.status().get("owners", 0))
            time.sleep(0.2)
        for trial in trials:
            said = trial.communicate()[0]
            assert trial.returncode == 0, said
        status = rendering.status()
    assert rendering.args() == {}
    assert not ray.is_initialized()
    assert not psutil.wait_procs(cluster, timeout=180)[1]

    assert owners == 2
    drawn = 0
    for d_ref, expected in zip((4.0, 5.0), alone, strict=True):
        ours = weights(tmp_path / f"trial-{d_ref}")
        assert all(torch.equal(ours[name], expected[name]) for name in expected)
        ledger = json.loads((tmp_path / f"trial-{d_ref}" / "summary.json").read_text())["ledger"]
        assert ledger["submitted"] == ledger["done"] > 0
        drawn += ledger["done"]
    assert status["done"] == drawn
    assert status["live"] == 1
