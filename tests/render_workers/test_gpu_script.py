"""The script that waits for a GPU: what it needs, and that a stage that fails does not cost the others."""

import io
import json
import subprocess
import sys

import torch

from tests.bench.gpu import STAGES, Bench, run

WITHOUT = """
import sys
for package in ("ray", "mlflow", "optuna", "transformers", "pandas", "matplotlib"):
    sys.modules[package] = None
import torch
from tests.bench.gpu import Bench, environment, metrics, network, rasteriser, run
stages = (environment, rasteriser, network, metrics)
sys.exit(run(Bench(torch.device("cpu"), True), sys.stdout, stages))
"""


def test_it_needs_neither_ray_nor_a_tracker_nor_transformers():
    ended = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr + ended.stdout
    lines = [json.loads(line) for line in ended.stdout.splitlines()]
    assert [line["stage"] for line in lines] == ["environment", "rasteriser", "network", "metrics"]
    assert lines[1]["16"] > 0
    assert "transformers" in lines[2]["left_out"]


def test_a_stage_that_fails_says_so_and_one_that_comes_too_late_is_left_out():
    def broken(bench):
        raise RuntimeError("no such device")

    def well(bench):
        return {"found": 1}

    out = io.StringIO()
    bench = Bench(torch.device("cpu"), True)
    assert run(bench, out, (broken, well)) == 1
    assert run(bench, out, (well,), minutes=-1.0) == 0
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert "no such device" in lines[0]["error"]
    assert lines[1]["found"] == 1
    assert "left_out" in lines[2]
    assert len(STAGES) == 9
