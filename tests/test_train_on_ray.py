"""The main job on a real Ray cluster of this machine: the same weights as in one process, whoever dies."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import torch

from dg.checkpoint import load_file

WORDS = [
    "method=random_rigid", "data.clips=8", "data.frames=40", "batch_size=64", "lifter.width=64", "epochs=12",
    "evaluate_every=12", "device=cpu", "threads=1", "cache=off",
]  # fmt: skip


def start(folder: Path, *words: str) -> "subprocess.Popen[str]":
    environment = os.environ | {"RAY_USAGE_STATS_ENABLED": "0", "MLFLOW_DISABLE_TELEMETRY": "true"}
    return subprocess.Popen(
        [sys.executable, "-m", "dg.train", *WORDS, f"out={folder / 'run'}", *words],
        cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def weights(folder: Path) -> dict[str, torch.Tensor]:
    newest = sorted((folder / "run").glob("checkpoint-*.pt"))[-1]
    return load_file(newest)["method"]["networks"]


def family(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


def render_actors(pid: int) -> list[psutil.Process]:
    found = []
    for process in family(pid):
        try:
            if "RenderActor" in " ".join(process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return found


def wait_for(what, seconds: float = 120.0):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := what():
            return found
        time.sleep(0.05)
    raise AssertionError("it did not happen in time")


def test_a_killed_render_actor_changes_nothing_and_nothing_is_left_behind(tmp_path):
    (tmp_path / "local").mkdir()
    (tmp_path / "ray").mkdir()
    local = start(tmp_path / "local", "pool=local", "tracking.uri=off")
    assert local.wait(240) == 0, local.communicate()

    driver = start(tmp_path / "ray", "pool=ray", "render.actors=2")
    wait_for(lambda: list((tmp_path / "ray" / "run").glob("checkpoint-*.pt")))  # training goes on
    everyone = family(driver.pid)
    victim = render_actors(driver.pid)[0]
    os.kill(victim.pid, signal.SIGKILL)
    out, err = driver.communicate(timeout=240)
    assert driver.returncode == 0, out + err

    summary = json.loads((tmp_path / "ray" / "run" / "summary.json").read_text())
    ledger = summary["ledger"]
    assert ledger["submitted"] == ledger["done"] > 0
    assert ledger["quarantined"] == 0
    a, b = weights(tmp_path / "local"), weights(tmp_path / "ray")
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert "mlflow ui --backend-store-uri sqlite:///" in out
    assert "synthetic_near" in out
    _, alive = psutil.wait_procs(everyone, timeout=20)
    assert not alive, [p.name() for p in alive]


def test_killing_the_driver_leaves_no_trainer_and_no_render_actor(tmp_path):
    driver = start(tmp_path, "epochs=4000", "tracking.uri=off")
    wait_for(lambda: list((tmp_path / "run").glob("checkpoint-*.pt")))
    everyone = family(driver.pid)
    # Ray's own two agents outlive a killed driver (they wait for their raylet); they hold no pose, GPU or file of ours.
    agents = [p for p in everyone if "Agent" in p.name()]
    ours = [p for p in everyone if p not in agents]
    assert len(ours) >= 5  # gcs, raylet, the trainer and two render actors
    driver.kill()
    driver.communicate()
    _, alive = psutil.wait_procs(ours, timeout=60)
    for agent in agents:
        agent.kill()
    assert not alive, [p.name() for p in alive]
