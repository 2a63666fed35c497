"""What a run says of itself while it runs, and what is told of one that has died."""

import json
import os
import socket
import subprocess
import sys
import time

import pytest

from dg.cluster.versions import NodeVersions, differences, versions_here
from dg.runs.status_file import RunStatus, StatusFile, is_dead, read_status
from dg.settings.config import RunInfo, TrainConfig
from dg.status import describe, main
from tests.train_process import start, status_of, wait_for

POOL = {"actors": 4, "live": 3, "starting": 1, "suspect": 0, "backlog": 6, "in_flight": 5, "retried": 2,
        "quarantined": 1, "deaths": 1, "done": 0.0}  # fmt: skip


@pytest.fixture(autouse=True)
def _no_clusters(monkeypatch):
    """Of others, on a machine that has some."""
    for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("dg.status.clusters_here", list)


def make_status(tmp_path, pool=lambda: (POOL, "")) -> RunStatus:
    config = TrainConfig(batch_size=100)
    return RunStatus(config, RunInfo(str(tmp_path), "sqlite:///runs.db", "quiet-river", "erm + net"), pool)


def train_a_little(status: RunStatus, steps: int) -> None:
    status.note({"kind": "start", "run_id": "abc"})
    status.note({"kind": "step", "lifter_steps": steps, "total_steps": 200, "loss": 0.25, "pool": {}})


def test_a_run_that_goes_on_is_told_with_all_that_was_asked(tmp_path, capsys):
    status = make_status(tmp_path, lambda: (POOL, "CUDA out of memory on node-3"))
    with StatusFile(status, tmp_path):
        wait_for((tmp_path / "status.json").exists)  # its thread's first words come before ours
        train_a_little(status, 50)
        status.note({"kind": "epoch", "epoch": 2, "epochs": 8.0, "lifter_steps": 50, "total_steps": 200, "losses": {}})
        status._seen.clear()
        (tmp_path / "status.json").write_text(json.dumps(status.snapshot()))
        assert main([f"run={tmp_path}"]) == 0
    told = capsys.readouterr().out
    for part in (
        f"quiet-river on {socket.gethostname()}: training", "erm + net", "step 50 of 200 (25 %), epoch 2 of 8 done",
        "3 live, 1 starting, 0 suspect of 4; backlog 6, in flight 5; 2 retried, 1 quarantined poses, 1 deaths",
        "last error: CUDA out of memory on node-3", "MLflow run abc in sqlite:///runs.db", f"results in {tmp_path}",
    ):  # fmt: skip
        assert part in told


def test_rates_are_of_the_last_seconds(tmp_path, monkeypatch):
    pool, now = dict(POOL), [1000.0]
    monkeypatch.setattr(time, "time", lambda: now[0])
    status = make_status(tmp_path, lambda: (pool, ""))
    train_a_little(status, 0)
    seen = []
    for second in range(0, 61, 5):
        now[0] = 1000.0 + second
        speed = 0 if second <= 30 else 1
        pool["done"] += 5 * 400 * speed
        status._state["lifter_steps"] += 5 * 2 * speed
        seen.append(status.snapshot())
    assert "rendered_poses_per_s" not in seen[0]
    assert seen[6]["rendered_poses_per_s"] == 0
    assert seen[-1]["rendered_poses_per_s"] == pytest.approx(400)
    assert seen[-1]["trained_poses_per_s"] == pytest.approx(2 * 100)


def test_a_run_that_never_trained_leaves_no_file(tmp_path):
    status = make_status(tmp_path)
    with StatusFile(status, tmp_path):
        wait_for(lambda: (tmp_path / "status.json").is_file(), 10)
        assert read_status(tmp_path)["state"] == "starting"
        status.end("failed", "DataError: no such file")
    assert not list(tmp_path.iterdir())


def test_how_a_run_ended_is_told(tmp_path, capsys):
    status = make_status(tmp_path)
    with StatusFile(status, tmp_path):
        train_a_little(status, 50)
        status.end("failed", "DivergedError: loss is not a number")
    assert main([f"run={tmp_path}"]) == 0
    told = capsys.readouterr().out
    assert "quiet-river" in told
    assert ": failed\n" in told
    assert "last error: DivergedError: loss is not a number" in told
    assert "poses/s" not in told, "nothing goes on"


def test_a_run_without_a_process_is_dead(tmp_path):
    mine = {"state": "training", "host": socket.gethostname(), "pid": os.getpid(), "started": time.time()}
    assert not is_dead(mine)
    assert is_dead(mine | {"started": 1.0}), "the number has been given to another process since"
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert is_dead(mine | {"pid": ended.pid})
    assert not is_dead(mine | {"pid": ended.pid, "state": "done"})
    elsewhere = mine | {"host": "another", "updated": time.time()}
    assert not is_dead(elsewhere)
    assert is_dead(elsewhere | {"updated": time.time() - 3600})


def test_no_run_there_and_wrong_words_have_their_codes(tmp_path, capsys):
    assert main([f"run={tmp_path}"]) == 4
    assert main(["runs=x"]) == 2
    assert "did you mean 'run'" in capsys.readouterr().err
    assert main(["run=x", "address=y"]) == 2
    (tmp_path / "status.json").write_text("[]")
    assert main([f"run={tmp_path}"]) == 4
    assert main(["--help"]) == 0


def test_help_loads_neither_torch_nor_ray():
    code = "import sys; from dg.status import main; main(['--help']); assert not {'torch', 'ray'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


@pytest.mark.reliability
def test_a_run_on_this_machine_is_found_without_being_named_and_not_when_it_is_dead(tmp_path, capsys):
    driver = start(tmp_path, "tracking.uri=off", "epochs=4000", "pool=local", "inputs=xy")
    try:
        wait_for(lambda: status_of(tmp_path).get("state") == "training")  # the file is written every few seconds
        assert main([]) == 0
        told = capsys.readouterr().out
        assert f"results in {tmp_path / 'run'}" in told
        assert "training" in told
    finally:
        driver.kill()
        driver.communicate()
    assert main([]) == 0
    assert str(tmp_path) not in capsys.readouterr().out
    assert main([f"run={tmp_path / 'run'}"]) == 0
    assert "dead since 20" in capsys.readouterr().out


def test_a_trainer_that_does_not_answer_is_told():
    assert "does not answer: GetTimeoutError" in describe(
        {"run": "trainer-x", "out": "", "state": "does not answer: GetTimeoutError", "cluster": "10.0.0.1:6379"}
    )


def test_nodes_that_differ_are_named_with_what_differs():
    here = NodeVersions("3.11.7", "2.60.0", "2.13.0", "0.1.0", "abcdef")
    other = NodeVersions("3.11.7", "2.60.0", "2.12.0", "0.1.0", "fedcba")
    lines = differences(here, {"b": other, "a": here, "c": "cannot be reached"})
    assert lines == [
        "b: torch 2.12.0 (driver: 2.13.0), source fedcba (driver: abcdef)", "c: cannot be reached",
    ]  # fmt: skip
    assert "+" not in versions_here().torch, "nodes with and without a GPU have other builds"
