"""The main job on a real Ray cluster of this machine: the same weights as in one process, whoever dies."""

import json
import os
import signal

import psutil
import pytest

from tests.train_process import cluster_folder, family, has_checkpoint, lives, same_weights, start, wait_for

pytestmark = pytest.mark.reliability
SHORT = ["epochs=5", "evaluate_every=5"]


def command_line(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def render_actors(pid: int) -> list[psutil.Process]:
    return [process for process in family(pid) if "RenderActor" in " ".join(command_line(process))]


def test_a_killed_render_actor_changes_nothing_and_nothing_is_left_behind(tmp_path):
    (tmp_path / "local").mkdir()
    (tmp_path / "ray").mkdir()
    local = start(tmp_path / "local", "pool=local", "tracking.uri=off", *SHORT)
    assert local.wait(600) == 0, local.communicate()

    driver = start(tmp_path / "ray", "pool=ray", "render.actors=2", *SHORT)
    wait_for(lambda: has_checkpoint(tmp_path / "ray"))  # training goes on
    everyone = family(driver.pid)
    daemons = " ".join(word for process in everyone for word in command_line(process))
    assert "raylet" in daemons
    assert "monitor.py" not in daemons, "neither the autoscaler's nor that of the logs"
    logs = cluster_folder(tmp_path / "ray" / "run").glob("r/session_2*/logs/dashboard_agent*.log")
    assert "Loaded 0 modules" in "".join(log.read_text() for log in logs)
    victim = render_actors(driver.pid)[0]
    os.kill(victim.pid, signal.SIGKILL)
    out, err = driver.communicate(timeout=600)
    assert driver.returncode == 0, out + err

    summary = json.loads((tmp_path / "ray" / "run" / "summary.json").read_text())
    ledger = summary["ledger"]
    assert ledger["submitted"] == ledger["done"] > 0
    assert ledger["quarantined"] == 0
    assert same_weights(tmp_path / "local", tmp_path / "ray")
    assert out.startswith("dg train on this machine, in a Ray cluster of its own: random_rigid")
    assert "asked for a trainer with 1 CPU and 2 render actors with 1 CPU each; found 1 node with " in out
    assert "/#/experiments/1/runs?workflowType=machine_learning" in out
    assert "synthetic_near" in out
    assert not [p for p in everyone if lives(p)]
