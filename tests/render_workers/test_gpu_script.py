"""The script that waits for a GPU: what it needs, and that a stage that fails does not cost the others."""

import io
import json
import subprocess
import sys

import pytest
import torch

from tests.bench.gpu import STAGES, Bench, graphs, run
from tests.simulated_gpu import GPU, simulated_gpu

WITHOUT = """
import sys
for package in ("ray", "mlflow", "optuna", "transformers", "pandas", "matplotlib"):
    sys.modules[package] = None
import torch
from tests.bench.gpu import Bench, environment, metrics, network, rasteriser, run
stages = (environment, rasteriser, network, metrics)
sys.exit(run(Bench(torch.device("cpu"), True), sys.stdout, stages))
"""


@pytest.mark.long
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
    assert len(STAGES) == 10


@pytest.mark.long
def test_graphs_are_held_against_plain_steps_by_a_stand_in_where_there_is_no_gpu():
    found = graphs(Bench(torch.device("cpu"), True))
    assert found.pop("stand_in") is True
    assert set(found) == {"8_default_float32", "8_released_float32"}
    for line in found.values():
        assert (line["tensors_that_differ"], line["largest_difference"], line["notes"]) == (0, 0.0, [])
        assert line["replayed"]["augmentor"] == 2
        assert line["replayed"]["proposal"] == 8
        assert line["replayed"]["lifter"] > 8
        assert not any("_s" in name for name in line), "a stand-in tells no time"


@pytest.mark.long
def test_its_stages_run_on_a_simulated_gpu():
    """All but the start in a process of its own, the four comparisons of graphs and the long look at the pool."""
    out = io.StringIO()
    with simulated_gpu():
        stages = [stage for stage in STAGES if stage.__name__ not in ("poseaug", "graphs", "pool", "start")]
        failed = run(Bench(GPU, True), out, tuple(stages))
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [line.get("error") for line in lines] == [None] * len(lines)
    assert (failed, lines[0]["gpu"], lines[0]["device"]) == (0, "simulated", "cuda:0")
